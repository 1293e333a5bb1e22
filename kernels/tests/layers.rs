//! The layers of this crate: no module imports one of a layer above it, and modules that import
//! each other in a circle stand in one folder. Tests inside a module may import anything.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The modules of each layer, from the lowest: files and folders of `src`, the longest name
/// counts.
const LAYERS: [&[&str]; 6] = [
    &["aligned", "error", "output", "packed", "rng"],
    &["simd"],
    &[
        "dense", "grouped", "kv", "ops", "pack", "quantize", "sparse", "ternary", "trits5",
    ],
    &["isa"],
    &["dispatch", "entry"],
    &["checks", "self_test"],
];

/// Each module's path, such as `isa::avx2::sparse`, with its text.
type Sources = BTreeMap<String, String>;

#[test]
fn no_import_runs_up_a_layer_or_in_a_circle_beyond_a_folder() {
    let mut sources = Sources::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        "",
        &mut sources,
    );
    assert!(sources.len() > 50, "src was not read");
    let faults = faults(&sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn read(folder: &Path, module: &str, sources: &mut Sources) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = match (module, stem) {
            (_, "mod") => module.to_owned(),
            ("", _) => stem.to_owned(),
            _ => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            read(&path, &name, sources);
        } else {
            sources.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// A sentence for each import that must not be.
fn faults(sources: &Sources) -> Vec<String> {
    let exported = exported(&sources["lib"]);
    let mut faults = Vec::new();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, text) in sources.iter().filter(|(module, _)| *module != "lib") {
        let Some(from) = layer(module) else {
            faults.push(format!("{module} belongs to no layer"));
            continue;
        };
        for import in imports(module, text, sources) {
            let Some(to) = resolve(&import, &exported, sources) else {
                faults.push(format!("{module} imports {import}, which was not found"));
                continue;
            };
            if to != module && edges.entry(module).or_default().insert(to) && layer(to) > Some(from)
            {
                faults.push(format!("{module} imports {to}, of a layer above its own"));
            }
        }
    }
    faults.extend(circles(&edges));
    faults
}

fn layer(module: &str) -> Option<usize> {
    let top = module.split("::").next()?;
    LAYERS.iter().position(|names| names.contains(&top))
}

/// The module of each name that `lib.rs` exports.
fn exported(lib: &str) -> BTreeMap<String, String> {
    let mut exported = BTreeMap::new();
    for path in used("lib", &code(lib), &|_| true) {
        if let Some((module, name)) = path.rsplit_once("::") {
            let name = name.rsplit('@').next().unwrap_or(name);
            exported.insert(name.to_owned(), module.to_owned());
        }
    }
    exported
}

/// Without comments, and without the tests at the end.
fn code(text: &str) -> String {
    let lines = text.lines();
    let lines = lines.take_while(|line| !line.starts_with("mod tests"));
    lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The paths from the crate's root that a module names: in its `use` items, after `crate::`, and
/// those that begin with a module of its own.
fn imports(module: &str, text: &str, sources: &Sources) -> Vec<String> {
    let code = code(text);
    let is_child = |name: &str| sources.contains_key(&format!("{module}::{name}"));
    let mut paths = used(module, &code, &is_child);
    let in_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    for path in code.split(|c| !in_path(c)) {
        match path.split_once("::") {
            Some(("crate", rest)) => paths.push(rest.trim_end_matches(':').to_owned()),
            Some((first, _)) if is_child(first) => paths.push(format!("{module}::{first}")),
            _ => {}
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

/// The paths of `use` items that lie in the crate, from its root, with braces taken apart.
fn used(module: &str, code: &str, is_child: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut paths = Vec::new();
    let items = code.split(';').filter_map(|item| {
        let at = item.rfind("use ")?;
        let before = item[..at].trim_end();
        let begins =
            before.is_empty() || before.ends_with(['}', '{', ']', ')']) || before.ends_with("pub");
        begins.then(|| {
            let item = item[at + "use ".len()..].replace(" as ", "@");
            item.split_whitespace().collect::<String>()
        })
    });
    for item in items {
        for path in apart(&item) {
            let parent = || module.rsplit_once("::").map_or("", |(parent, _)| parent);
            let absolute = match path.split_once("::") {
                Some(("crate", rest)) => rest.to_owned(),
                Some(("super", rest)) if parent().is_empty() => rest.to_owned(),
                Some(("super", rest)) => format!("{}::{rest}", parent()),
                Some(_) if module == "lib" => path,
                Some((first, _)) if is_child(first) => format!("{module}::{path}"),
                _ => continue,
            };
            paths.push(absolute);
        }
    }
    paths
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn apart(path: &str) -> Vec<String> {
    let Some(open) = path.find('{') else {
        return vec![path.to_owned()];
    };
    let (prefix, inner) = (&path[..open], &path[open + 1..path.len() - 1]);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts
        .flat_map(apart)
        .map(|part| format!("{prefix}{part}"))
        .collect()
}

/// The module that a path from the crate's root lies in.
fn resolve<'a>(
    path: &str,
    exported: &BTreeMap<String, String>,
    sources: &'a Sources,
) -> Option<&'a str> {
    let mut module = path.split('@').next()?;
    loop {
        if let Some((found, _)) = sources.get_key_value(module) {
            return Some(found);
        }
        match module.rsplit_once("::") {
            Some((parent, _)) => module = parent,
            None => return resolve(exported.get(module)?, &BTreeMap::new(), sources),
        }
    }
}

/// Of modules that import each other in a circle, those that do not stand in one folder.
fn circles(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let reached = |from: &str| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = edges.get(from).into_iter().flatten().copied().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(edges.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|from| (*from, reached(from))).collect();
    let mut faults = Vec::new();
    for (from, others) in &reached {
        for other in others.iter().filter(|other| from < other) {
            let back = reached.get(other).is_some_and(|back| back.contains(from));
            if back && folder(from, edges) != folder(other, edges) {
                faults.push(format!("{from} and {other} import each other in a circle"));
            }
        }
    }
    faults
}

/// The folder of a module: that of an instruction set, or else the one below `src`. Files in `src`
/// itself share none.
fn folder<'a>(module: &'a str, edges: &BTreeMap<&str, BTreeSet<&str>>) -> &'a str {
    let mut colons = module.match_indices("::").map(|(at, _)| at);
    let (first, second) = (colons.next(), colons.next());
    let top = &module[..first.unwrap_or(module.len())];
    let below = &module[..second.unwrap_or(module.len())];
    let holds = |module: &&str| {
        let rest = module.strip_prefix(below);
        rest.is_some_and(|rest| rest.starts_with("::"))
    };
    if top == "isa" && edges.keys().any(holds) {
        below
    } else {
        top
    }
}

#[test]
fn wrong_imports_are_found() {
    let of = |files: &[(&str, &str)]| {
        let mut sources: Sources = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let lib = "pub use dispatch::Isa;\npub use dense::{Dense, encode::{row as r}};";
        for (name, text) in [
            ("lib", lib),
            ("dispatch", ""),
            ("dense", ""),
            ("dense::encode", ""),
        ] {
            sources.entry(name.to_owned()).or_insert(text.to_owned());
        }
        faults(&sources)
    };
    assert!(
        of(&[(
            "isa::avx2",
            "use crate::{Dense, r};\nfn f() { crate::dense::g() }"
        )])
        .is_empty()
    );
    let up = [
        "use crate::Isa;",
        "pub(crate) use crate::{Dense, dispatch::Isa};",
        "fn f() {\n    crate::dispatch::g();\n}",
        "use super::dispatch::{self, Isa as I};",
    ];
    for text in up {
        assert_eq!(of(&[("dense", text)]).len(), 1, "{text}");
    }
    let allowed = "// crate::dispatch\n#[cfg(test)]\nmod tests {\n    use crate::Isa;\n}";
    assert!(of(&[("dense", allowed)]).is_empty());
    let circle = [
        ("isa::avx2", "fn e() {\n    sparse::e();\n}"),
        ("isa::avx2::sparse", "use crate::isa::avx512::f;"),
        ("isa::avx512", "use super::avx2::g;"),
        ("isa::avx512::sparse", "use crate::Dense;"),
    ];
    assert_eq!(of(&circle).len(), 2);
    let within = [
        ("isa::avx2", "use crate::isa::avx2::sparse::f;"),
        ("isa::avx2::sparse", "use super::g;"),
    ];
    assert!(of(&within).is_empty());
    assert_eq!(
        of(&[("new_module", "")]),
        ["new_module belongs to no layer"]
    );
}

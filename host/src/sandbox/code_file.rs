//! Which files hold code: said by name and content together, since a model is data to everybody who
//! downloads one.
//!
//! A file named .gguf that turned out to be a program would run with all rights of the server. So
//! code is only what says in its name that it is: `.wasm` for a component, which runs in a sandbox,
//! and `.cwasm` for one that is compiled to machine code, which needs a word of the operator
//! besides. Every command that takes a model asks here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// The option that lets precompiled files run, and its variable in the environment.
const ALLOW: &str = "--allow-precompiled (or STERNA_ALLOW_PRECOMPILED=true)";

/// Code in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A WebAssembly component.
    Component,
    /// One compiled to machine code.
    Precompiled,
}

/// The kind of file, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// A program, or what wasmtime compiled.
    MachineCode,
    WebAssembly,
    Gguf,
    Other,
}

impl Code {
    /// By the name alone.
    pub(super) fn by_name(path: &Path) -> Option<Code> {
        let ends_with = |ending| {
            path.extension()
                .is_some_and(|found| found.eq_ignore_ascii_case(ending))
        };
        match () {
            () if ends_with("wasm") => Some(Code::Component),
            () if ends_with("cwasm") => Some(Code::Precompiled),
            () => None,
        }
    }

    /// The kind of code in the file; `None` for a model, a directory or an absent file.
    ///
    /// # Errors
    /// Name and content contradict each other where one of them says that it is code, or it cannot
    /// be read.
    pub(super) fn of(path: &Path) -> anyhow::Result<Option<Code>> {
        let name = path.display();
        let named = Code::by_name(path);
        match path.metadata() {
            Ok(data) if data.is_file() => {}
            // A directory, or a pipe, which is not to be opened to look.
            Ok(data) if data.is_dir() || named.is_none() => return Ok(None),
            Ok(_) => bail!("{name} is neither a file nor a directory: a baked model is a file"),
            Err(error) if named.is_some() => {
                return Err(error).with_context(|| format!("cannot read {name}"));
            }
            // Whoever loads the model says so.
            Err(_) => return Ok(None),
        }
        let content = match Content::of(path) {
            Ok(content) => content,
            Err(error) if named.is_some() => {
                return Err(error).with_context(|| format!("cannot read {name}"));
            }
            Err(_) => return Ok(None),
        };
        match (named, content) {
            (None, Content::Gguf | Content::Other) => Ok(None),
            (Some(Code::Component), Content::WebAssembly) => Ok(Some(Code::Component)),
            (Some(Code::Precompiled), Content::MachineCode) => Ok(Some(Code::Precompiled)),
            (Some(_), Content::Gguf) => {
                bail!("{name} is a GGUF file, which is data: give it a name that ends in .gguf")
            }
            (_, Content::MachineCode) => bail!(
                "{name} is machine code (ELF), not a model, and is not run: what `sterna bake --aot` wrote is served only under a \
                 name that ends in .cwasm, and with {ALLOW}"
            ),
            (_, Content::WebAssembly) => bail!(
                "{name} is WebAssembly, not data, and is not run: what `sterna bake` wrote is served only under a name that ends in \
                 .wasm"
            ),
            (Some(Code::Component), Content::Other) => {
                bail!("{name} is no WebAssembly component: bake it again")
            }
            (Some(Code::Precompiled), Content::Other) => {
                bail!("{name} is no precompiled engine: bake it again with `sterna bake --aot`")
            }
        }
    }
}

impl Content {
    fn of(path: &Path) -> std::io::Result<Content> {
        let mut head = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut head)?;
        Ok(match head.as_slice() {
            b"\x7fELF" => Content::MachineCode,
            b"\0asm" => Content::WebAssembly,
            b"GGUF" => Content::Gguf,
            _ => Content::Other,
        })
    }
}

/// Refuse machine code that nobody allowed.
///
/// # Errors
/// The sentence that says how to.
pub(super) fn check_allowed(path: &Path, allowed: bool) -> anyhow::Result<()> {
    if allowed {
        return Ok(());
    }
    bail!(
        "{} is machine code that runs with the rights of this process, outside any sandbox: if it comes from your own `sterna bake \
         --aot`, say {ALLOW}; else serve the .wasm file, which stays in its sandbox",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn code_is_what_its_name_and_its_content_say() {
        let folder = tempfile::tempdir().unwrap();
        let contents: [(&str, &[u8]); 5] = [
            ("elf", b"\x7fELF\x02\x01\x01\0"),
            ("wasm", b"\0asm\x0d\0\x01\0"),
            ("gguf", b"GGUF\x03\0\0\0"),
            ("other", b"version https://git-lfs"),
            ("nothing", b""),
        ];
        for (name, expected) in [
            (
                "model.gguf",
                ["machine code", "WebAssembly", "none", "none", "none"],
            ),
            (
                "model",
                ["machine code", "WebAssembly", "none", "none", "none"],
            ),
            (
                "app.wasm",
                [
                    "machine code",
                    "Component",
                    "GGUF",
                    "no WebAssembly component",
                    "no WebAssembly component",
                ],
            ),
            (
                "app.CWASM",
                [
                    "Precompiled",
                    "WebAssembly",
                    "GGUF",
                    "no precompiled",
                    "no precompiled",
                ],
            ),
        ] {
            let path = folder.path().join(name);
            for ((content, bytes), expected) in contents.iter().zip(expected) {
                std::fs::write(&path, bytes).unwrap();
                let found = match Code::of(&path) {
                    Ok(None) => "none".to_owned(),
                    Ok(Some(code)) => format!("{code:?}"),
                    Err(error) => error.to_string(),
                };
                assert!(found.contains(expected), "{name} with {content}: {found}");
            }
        }
    }

    #[test]
    fn a_link_is_what_it_is_called_and_points_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("app.cwasm"), b"\x7fELF").unwrap();
        symlink(at("app.cwasm"), at("model.gguf")).unwrap();
        let error = Code::of(&at("model.gguf")).unwrap_err().to_string();
        assert!(error.contains("machine code"), "{error}");
        // A volume of Kubernetes: every name in it is a link.
        std::fs::write(at("..data"), b"\x7fELF").unwrap();
        symlink(at("..data"), at("linked.cwasm")).unwrap();
        assert_eq!(
            Code::of(&at("linked.cwasm")).unwrap(),
            Some(Code::Precompiled)
        );
        assert_eq!(Code::of(&at("absent.gguf")).unwrap(), None);
        assert_eq!(Code::of(folder.path()).unwrap(), None);
        let error = Code::of(&at("absent.wasm")).unwrap_err().to_string();
        assert!(error.contains("absent.wasm"), "{error}");
        assert_eq!(Code::of(Path::new("/dev/null")).unwrap(), None);
        symlink("/dev/null", at("null.cwasm")).unwrap();
        let error = Code::of(&at("null.cwasm")).unwrap_err().to_string();
        assert!(error.contains("neither a file nor"), "{error}");
    }
}

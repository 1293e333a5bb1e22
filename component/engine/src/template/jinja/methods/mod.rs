//! Methods of Python's `str`, `dict` and `list`, as far as they change nothing:
//! `apply_chat_template` refuses those that do.

use std::sync::Arc;

use super::args::{Arguments, wanted};
use super::error::{Result, fail, shown};
use super::format;
use super::limits::{Budget, Text};
use super::value::Value;

mod case;
mod split;
mod strip;

const OF_TEXTS: [&str; 40] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];
const OF_DICTS: [&str; 5] = ["get", "items", "keys", "values", "copy"];
const OF_LISTS: [&str; 3] = ["index", "count", "copy"];
const OF_LOOPS: [&str; 2] = ["cycle", "changed"];
/// The methods that change a list or a dict.
const CHANGING: [&str; 12] = [
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
    "add",
];

/// True if `value.name` is a method.
pub(super) fn exists(value: &Value, name: &str) -> bool {
    let names: &[&str] = match value {
        Value::Str(_) => &OF_TEXTS,
        Value::Dict(_) => &OF_DICTS,
        Value::List(_) => &OF_LISTS,
        Value::Tuple(_) => &OF_LISTS[..2],
        Value::Loop(_) => &OF_LOOPS,
        _ => &[],
    };
    names.contains(&name) || (matches!(value, Value::List(_)) && CHANGING.contains(&name))
}

pub(super) fn call(of: &Value, name: &str, args: Arguments, budget: &Budget) -> Result<Value> {
    budget.work(1)?;
    match of {
        Value::Str(text) => of_text(text, name, args, budget),
        Value::Dict(dict) => match name {
            "get" => {
                let [key, default] = args.bind(name, ["key", "default"])?;
                let found = dict.get(&wanted(key, name, "key")?, budget)?.cloned();
                Ok(found.or(default).unwrap_or(Value::None))
            }
            "copy" => {
                args.bind::<0>(name, [])?;
                Ok(of.clone())
            }
            _ => {
                args.bind::<0>(name, [])?;
                entries(of, name, budget)
            }
        },
        Value::List(items) | Value::Tuple(items) => match name {
            "copy" => Ok(of.clone()),
            "index" | "count" => {
                let [value] = args.bind(name, ["value"])?;
                let value = wanted(value, name, "value")?;
                let mut n = 0;
                for (at, item) in items.iter().enumerate() {
                    if item.equals(&value, budget)? {
                        if name == "index" {
                            return Ok(Value::Int(at as i64));
                        }
                        n += 1;
                    }
                }
                if name == "index" {
                    return fail("list.index: the value is not in the list");
                }
                Ok(Value::Int(n))
            }
            _ => fail(format!(
                "`{}` changes a list, which chat templates may not; use `+`",
                shown(name)
            )),
        },
        other => fail(format!(
            "'{}' object has no method `{}`",
            other.type_name(),
            shown(name)
        )),
    }
}

/// `items`, `keys` or `values` of a dict.
pub(super) fn entries(of: &Value, name: &str, budget: &Budget) -> Result<Value> {
    let Value::Dict(dict) = of else {
        return fail(format!("`{name}` wants a dict, not {}", of.type_name()));
    };
    let mut list = Vec::new();
    budget.slots(dict.len())?;
    for (key, value) in dict.iter() {
        list.push(match name {
            "keys" => key.clone(),
            "values" => value.clone(),
            _ => Value::tuple(vec![key.clone(), value.clone()], budget)?,
        });
    }
    Value::list(list, budget)
}

fn of_text(text: &Arc<str>, name: &str, args: Arguments, budget: &Budget) -> Result<Value> {
    budget.read(text.len())?;
    match name {
        "format" => return format::braces(text, args, budget),
        "join" => {
            let [items] = args.bind(name, ["iterable"])?;
            let items = wanted(items, name, "iterable")?.items(budget)?;
            return join(&items, text, budget, true);
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"])?;
            let (old, new) = (wanted(old, name, "old")?, wanted(new, name, "new")?);
            let count = count.map_or(Ok(-1), |count| count.as_int())?;
            return replace(text, old.as_str()?, new.as_str()?, count, budget);
        }
        "startswith" | "endswith" => {
            let [affix] = args.bind(name, ["affix"])?;
            return affixed(text, name, &wanted(affix, name, "affix")?, budget).map(Value::Bool);
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [part, start, end] = args.bind(name, ["sub", "start", "end"])?;
            let part = wanted(part, name, "sub")?;
            let bounds = [start, end].map(|bound| bound.unwrap_or(Value::None));
            return found(text, name, part.as_str()?, bounds, budget);
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = args.bind(name, ["affix"])?;
            let affix = wanted(affix, name, "affix")?;
            let rest = match name {
                "removeprefix" => text.strip_prefix(affix.as_str()?),
                _ => text.strip_suffix(affix.as_str()?),
            };
            return Value::text(rest.unwrap_or(text), budget);
        }
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(name, ["chars"])?;
            return strip::strip(text, name, &chars.unwrap_or(Value::None), budget);
        }
        "split" | "rsplit" | "partition" | "rpartition" | "splitlines" => {
            return split::call(text, name, args, budget);
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            let [width, fill] = args.bind(name, ["width", "fillchar"])?;
            let width = wanted(width, name, "width")?.as_count()?;
            return pad(text, name, width, fill, budget);
        }
        _ => {}
    }
    args.bind::<0>(name, [])?;
    case::call(text, name, budget)
}

/// Items as one text; `strict` as Python, where every item must be a text.
pub(super) fn join(items: &[Value], with: &str, budget: &Budget, strict: bool) -> Result<Value> {
    let mut out = Text::new(budget);
    for (at, item) in items.iter().enumerate() {
        budget.work(1)?;
        if at > 0 {
            out.push(with)?;
        }
        if strict {
            item.as_str()?;
        }
        item.write_str(&mut out)?;
    }
    out.finish()
}

/// The first `count` places of `old` as `new`; all where it is negative.
pub(super) fn replace(
    text: &str,
    old: &str,
    new: &str,
    count: i64,
    budget: &Budget,
) -> Result<Value> {
    budget.read(text.len())?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut out = Text::new(budget);
    let mut done = 0;
    for (at, _) in text.match_indices(old).take(count) {
        budget.work(1)?;
        out.push(&text[done..at])?;
        out.push(new)?;
        done = at + old.len();
    }
    out.push(&text[done..])?;
    out.finish()
}

/// `startswith` and `endswith`, of a text or any of a tuple.
fn affixed(text: &str, name: &str, affix: &Value, budget: &Budget) -> Result<bool> {
    if let Value::Tuple(affixes) = affix {
        for affix in affixes.iter() {
            budget.work(1)?;
            if affixed_by(text, name, affix.as_str()?) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    Ok(affixed_by(text, name, affix.as_str()?))
}

fn affixed_by(text: &str, name: &str, affix: &str) -> bool {
    match name {
        "startswith" => text.starts_with(affix),
        _ => text.ends_with(affix),
    }
}

/// `find`, `rfind`, `index`, `rindex` and `count`, in characters.
fn found(text: &str, name: &str, part: &str, bounds: [Value; 2], budget: &Budget) -> Result<Value> {
    let [start, end] = bounds;
    let all: Value = Value::text(text, budget)?;
    let window = super::slices::slice(&all, &[start.clone(), end, Value::None], budget)?;
    let window = window.as_str()?;
    if name == "count" {
        return Ok(Value::Int(window.matches(part).count() as i64));
    }
    let at = match name {
        "find" | "index" => window.find(part),
        _ => window.rfind(part),
    };
    let Some(at) = at else {
        if name.ends_with("index") {
            return fail("substring not found");
        }
        return Ok(Value::Int(-1));
    };
    let skipped = match start {
        Value::None => 0,
        start => {
            let len = text.chars().count() as i64;
            let start = start.as_int()?;
            let start = if start < 0 {
                start.saturating_add(len)
            } else {
                start
            };
            start.clamp(0, len)
        }
    };
    Ok(Value::Int(skipped + window[..at].chars().count() as i64))
}

/// `center`, `ljust`, `rjust` and `zfill`.
pub(super) fn pad(
    text: &str,
    name: &str,
    width: usize,
    fill: Option<Value>,
    budget: &Budget,
) -> Result<Value> {
    let fill = match &fill {
        None if name == "zfill" => '0',
        None => ' ',
        Some(fill) => {
            let mut chars = fill.as_str()?.chars();
            match (chars.next(), chars.next()) {
                (Some(fill), None) => fill,
                _ => return fail("the fill character must be one character"),
            }
        }
    };
    let missing = width.saturating_sub(text.chars().count());
    let before = match name {
        "ljust" => 0,
        // Python's own rounding.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let signed = name == "zfill" && text.starts_with(['-', '+']);
    let (sign, digits) = text.split_at(usize::from(signed));
    let mut out = Text::new(budget);
    out.push(sign)?;
    out.fill(fill, before)?;
    out.push(digits)?;
    out.fill(fill, missing - before)?;
    out.finish()
}

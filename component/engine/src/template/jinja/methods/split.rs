//! `split`, `rsplit`, `splitlines`, `partition` and `rpartition`.

use super::super::args::{Arguments, wanted};
use super::super::error::{Result, fail};
use super::super::limits::Budget;
use super::super::value::Value;

pub(super) fn call(text: &str, name: &str, args: Arguments, budget: &Budget) -> Result<Value> {
    match name {
        "splitlines" => {
            let [keep] = args.bind(name, ["keepends"])?;
            lines(text, keep.is_some_and(|keep| keep.is_true()), budget)
        }
        "partition" | "rpartition" => {
            let [separator] = args.bind(name, ["sep"])?;
            let separator = wanted(separator, name, "sep")?;
            let separator = not_empty(separator.as_str()?)?;
            let parts = match name {
                "partition" => match text.split_once(separator) {
                    Some((before, after)) => [before, separator, after],
                    None => [text, "", ""],
                },
                _ => match text.rsplit_once(separator) {
                    Some((before, after)) => [before, separator, after],
                    None => ["", "", text],
                },
            };
            let parts = parts.map(|part| Value::text(part, budget));
            Value::tuple(parts.into_iter().collect::<Result<_>>()?, budget)
        }
        _ => {
            let [separator, most] = args.bind(name, ["sep", "maxsplit"])?;
            let most = most.map_or(Ok(-1), |most| most.as_int())?;
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let from_right = name == "rsplit";
            match separator.unwrap_or(Value::None) {
                Value::None => at_blanks(text, most, from_right, budget),
                separator => {
                    let separator = not_empty(separator.as_str()?)?;
                    let most = most.saturating_add(1);
                    if from_right {
                        collect(text.rsplitn(most, separator), true, budget)
                    } else {
                        collect(text.splitn(most, separator), false, budget)
                    }
                }
            }
        }
    }
}

fn not_empty(separator: &str) -> Result<&str> {
    if separator.is_empty() {
        return fail("empty separator");
    }
    Ok(separator)
}

fn collect<'t>(
    parts: impl Iterator<Item = &'t str>,
    reversed: bool,
    budget: &Budget,
) -> Result<Value> {
    let mut list = Vec::new();
    for part in parts {
        list.push(Value::text(part, budget)?);
    }
    if reversed {
        list.reverse();
    }
    Value::list(list, budget)
}

/// Words, at most `most` splits; the rest keeps its blanks at the far end.
fn at_blanks(text: &str, most: usize, from_right: bool, budget: &Budget) -> Result<Value> {
    let mut list = Vec::new();
    let mut rest = trimmed(text, from_right);
    while !rest.is_empty() {
        let cut = if from_right {
            rest.rfind(char::is_whitespace)
        } else {
            rest.find(char::is_whitespace)
        };
        let Some(cut) = cut.filter(|_| list.len() < most) else {
            break;
        };
        let (before, after) = rest.split_at(cut);
        let (word, others) = if from_right {
            (after.trim_start(), before)
        } else {
            (before, after)
        };
        list.push(Value::text(word, budget)?);
        rest = trimmed(others, from_right);
    }
    if !rest.is_empty() {
        let far = trimmed(rest, !from_right);
        let last = if list.len() < most { far } else { rest };
        list.push(Value::text(last, budget)?);
    }
    if from_right {
        list.reverse();
    }
    Value::list(list, budget)
}

/// Without the blanks at the near end.
fn trimmed(text: &str, right: bool) -> &str {
    if right {
        text.trim_end()
    } else {
        text.trim_start()
    }
}

fn lines(text: &str, keep: bool, budget: &Budget) -> Result<Value> {
    const ENDS: [char; 10] = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let mut list = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ENDS) {
        let end = match rest[at..].starts_with("\r\n") {
            true => 2,
            false => rest[at..].chars().next().map_or(0, char::len_utf8),
        };
        let line = &rest[..if keep { at + end } else { at }];
        list.push(Value::text(line, budget)?);
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        list.push(Value::text(rest, budget)?);
    }
    Value::list(list, budget)
}

//! Filters on texts.

use super::super::args::{Arguments, wanted};
use super::super::error::{Result, fail, shown};
use super::super::limits::{Budget, Text};
use super::super::methods;
use super::super::value::Value;

pub(super) fn apply(name: &str, value: &Value, args: Arguments, budget: &Budget) -> Result<Value> {
    let text = value.to_text(budget)?;
    let method = |name: &str| methods::call(&text, name, Arguments::default(), budget);
    match name {
        "trim" => {
            let [chars] = args.bind(name, ["chars"])?;
            let args = Arguments {
                positional: chars.into_iter().collect(),
                keyword: Vec::new(),
            };
            methods::call(&text, "strip", args, budget)
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"])?;
            let old = wanted(old, name, "old")?.to_text(budget)?;
            let new = wanted(new, name, "new")?.to_text(budget)?;
            let count = match count.unwrap_or(Value::None) {
                Value::None => -1,
                count => count.as_int()?,
            };
            methods::replace(text.as_str()?, old.as_str()?, new.as_str()?, count, budget)
        }
        "center" => {
            let [width] = args.bind(name, ["width"])?;
            let width = width.map_or(Ok(80), |width| width.as_count())?;
            methods::pad(text.as_str()?, name, width, None, budget)
        }
        "indent" => {
            let [width, first, blank] = args.bind(name, ["width", "first", "blank"])?;
            let is = |value: Option<Value>| value.is_some_and(|value| value.is_true());
            let width = width.unwrap_or(Value::Int(4));
            indent(text.as_str()?, &width, is(first), is(blank), budget)
        }
        "truncate" => {
            let names = ["length", "killwords", "end", "leeway"];
            let [length, kill, end, leeway] = args.bind(name, names)?;
            let length = length.map_or(Ok(255), |length| length.as_count())?;
            let leeway = leeway.map_or(Ok(5), |leeway| leeway.as_count())?;
            let end = end.unwrap_or_else(|| "...".into());
            let kill = kill.is_some_and(|kill| kill.is_true());
            truncate(text.as_str()?, length, kill, end.as_str()?, leeway, budget)
        }
        "e" | "escape" | "forceescape" => escape(text.as_str()?, budget),
        "upper" | "lower" | "capitalize" => {
            args.bind::<0>(name, [])?;
            method(name)
        }
        "title" => {
            args.bind::<0>(name, [])?;
            title(text.as_str()?, budget)
        }
        "wordcount" => {
            args.bind::<0>(name, [])?;
            let text = text.as_str()?;
            budget.read(text.len())?;
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty());
            Ok(Value::Int(words.count() as i64))
        }
        _ => fail(format!("there is no filter `{}`", shown(name))),
    }
}

/// Each line but the first behind `width` blanks, or a text; blank lines only where `blank`.
fn indent(text: &str, width: &Value, first: bool, blank: bool, budget: &Budget) -> Result<Value> {
    let indention = match width {
        Value::Str(text) => text.to_string(),
        width => {
            let width = width.as_count()?;
            budget.make(width)?;
            " ".repeat(width)
        }
    };
    let mut out = Text::new(budget);
    for (at, line) in text.split('\n').enumerate() {
        budget.work(1)?;
        if at > 0 {
            out.push("\n")?;
        }
        if (at > 0 || first) && (blank || first && at == 0 || !line.is_empty()) {
            out.push(&indention)?;
        }
        out.push(line)?;
    }
    out.finish()
}

/// At most `length` characters, `end` included; whole words unless `kill`.
fn truncate(
    text: &str,
    length: usize,
    kill: bool,
    end: &str,
    leeway: usize,
    budget: &Budget,
) -> Result<Value> {
    if text.chars().count() <= length.saturating_add(leeway) {
        return Value::text(text, budget);
    }
    let kept = length.saturating_sub(end.chars().count());
    let at = text
        .char_indices()
        .nth(kept)
        .map_or(text.len(), |(at, _)| at);
    let cut = &text[..at];
    let cut = if kill {
        cut
    } else {
        cut.rsplit_once(' ').map_or(cut, |(before, _)| before)
    };
    let mut out = Text::new(budget);
    out.push(cut)?;
    out.push(end)?;
    out.finish()
}

fn escape(text: &str, budget: &Budget) -> Result<Value> {
    budget.read(text.len())?;
    let mut out = Text::new(budget);
    for c in text.chars() {
        match c {
            '&' => out.push("&amp;")?,
            '<' => out.push("&lt;")?,
            '>' => out.push("&gt;")?,
            '\'' => out.push("&#39;")?,
            '"' => out.push("&#34;")?,
            c => out.push_char(c)?,
        }
    }
    out.finish()
}

/// Jinja's title: a word begins after a blank, a hyphen or a bracket.
fn title(text: &str, budget: &Budget) -> Result<Value> {
    budget.make(text.len() * 3)?;
    let mut out = String::new();
    let mut begins = true;
    for c in text.chars() {
        if begins {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        begins = c.is_whitespace() || "-({[<".contains(c);
    }
    Ok(out.into())
}

//! `strip`, `lstrip` and `rstrip`.

use super::super::error::Result;
use super::super::limits::Budget;
use super::super::value::Value;

/// `text` without the characters of `chars` at its ends; whitespace where `chars` is none.
pub(in super::super) fn strip(
    text: &str,
    name: &str,
    chars: &Value,
    budget: &Budget,
) -> Result<Value> {
    let rest = match chars {
        Value::None => ends(text, name, char::is_whitespace),
        chars => {
            let chars = chars.as_str()?;
            // Each character of the ends is looked for in all of them; without budget, none is
            // found.
            let is = |c: char| budget.read(chars.len()).is_ok() && chars.contains(c);
            let rest = ends(text, name, is);
            budget.work(1)?;
            rest
        }
    };
    Value::text(rest, budget)
}

fn ends<'t>(text: &'t str, name: &str, is: impl Fn(char) -> bool) -> &'t str {
    let text = match name {
        "rstrip" => text,
        _ => text.trim_start_matches(&is),
    };
    match name {
        "lstrip" => text,
        _ => text.trim_end_matches(&is),
    }
}

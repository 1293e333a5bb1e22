//! Methods without arguments: the case of letters, and what a text consists of.

use super::super::error::{Result, fail, shown};
use super::super::limits::Budget;
use super::super::value::Value;

/// A character in upper or lower case takes at most so many times its bytes.
const GROWTH: usize = 3;

pub(in super::super) fn call(text: &str, name: &str, budget: &Budget) -> Result<Value> {
    if name.starts_with("is") {
        return Ok(Value::Bool(is(text, name)));
    }
    budget.make(text.len() * GROWTH)?;
    Ok(match name {
        "upper" => text.to_uppercase().into(),
        "lower" | "casefold" => text.to_lowercase().into(),
        "capitalize" => {
            let mut chars = text.chars();
            let first = chars.next();
            let upper = first.into_iter().flat_map(char::to_uppercase);
            let mut out: String = upper.collect();
            out.push_str(&chars.as_str().to_lowercase());
            out.into()
        }
        "title" => title(text).into(),
        "swapcase" => {
            let mut out = String::new();
            for c in text.chars() {
                if c.is_uppercase() {
                    out.extend(c.to_lowercase());
                } else {
                    out.extend(c.to_uppercase());
                }
            }
            out.into()
        }
        _ => return fail(format!("'str' object has no method `{}`", shown(name))),
    })
}

/// Python's `title`: a letter is upper where none is before it.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = c.is_alphabetic();
    }
    out
}

fn is(text: &str, name: &str) -> bool {
    let all = |is: fn(char) -> bool| !text.is_empty() && text.chars().all(is);
    match name {
        "isascii" => text.is_ascii(),
        "isspace" => all(char::is_whitespace),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isnumeric" => all(char::is_numeric),
        "isdigit" | "isdecimal" => all(|c| c.is_ascii_digit()),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "istitle" => text.chars().any(char::is_alphabetic) && title(text) == text,
        _ => false,
    }
}

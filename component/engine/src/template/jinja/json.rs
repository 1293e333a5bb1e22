//! The filter `tojson`, as `apply_chat_template` has it: Python's `json.dumps` with its keywords,
//! and `ensure_ascii=False` unless it is asked for.

use super::args::Bound;
use super::error::{Result, fail};
use super::limits::{Budget, Text};
use super::order::sort;
use super::text::float;
use super::value::{Dict, Value};
use crate::tokenizer::TEXT_GUARD;

struct Style<'a> {
    ascii: bool,
    /// The indentation of one level; `None` keeps everything on one line.
    indent: Option<String>,
    item_separator: &'a str,
    key_separator: &'a str,
    sort_keys: bool,
}

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`
pub(super) fn tojson(value: &Value, args: Bound<4>, budget: &Budget) -> Result<Value> {
    let [ascii, indent, separators, sort_keys] = args;
    let indent = match indent.unwrap_or(Value::None) {
        Value::None => None,
        Value::Str(text) => Some(text.to_string()),
        width => {
            let width = width.as_count()?;
            budget.make(width)?;
            Some(" ".repeat(width))
        }
    };
    let pair = match separators.unwrap_or(Value::None) {
        Value::None => None,
        pair => Some(pair.items(budget)?),
    };
    let (item_separator, key_separator) = match pair.as_deref().map(|pair| &**pair) {
        None if indent.is_some() => (",", ": "),
        None => (", ", ": "),
        Some([item, key]) => (item.as_str()?, key.as_str()?),
        Some(_) => return fail("`separators` of tojson are two strings"),
    };
    let style = Style {
        ascii: ascii.is_some_and(|is| is.is_true()),
        indent,
        item_separator,
        key_separator,
        sort_keys: sort_keys.is_some_and(|is| is.is_true()),
    };
    let mut out = Text::new(budget);
    style.value(value, 0, &mut out)?;
    out.finish()
}

impl Style<'_> {
    fn value(&self, value: &Value, level: usize, out: &mut Text<'_>) -> Result<()> {
        out.budget.work(1)?;
        match value {
            Value::Str(text) => self.string(text, out),
            Value::List(items) | Value::Tuple(items) => {
                self.all(["[", "]"], items, level, out, |item, out| {
                    self.value(item, level + 1, out)
                })
            }
            Value::Dict(dict) => {
                let entries = self.entries(dict, out.budget)?;
                let entries = entries.as_deref().unwrap_or(dict);
                self.all(["{", "}"], entries, level, out, |(key, value), out| {
                    self.key(key, out)?;
                    out.push(self.key_separator)?;
                    self.value(value, level + 1, out)
                })
            }
            other => match scalar(other) {
                Some(text) => out.push(&text),
                None => fail(format!(
                    "Object of type {} is not JSON serializable",
                    other.type_name()
                )),
            },
        }
    }

    fn all<T>(
        &self,
        [open, close]: [&str; 2],
        items: &[T],
        level: usize,
        out: &mut Text<'_>,
        write: impl Fn(&T, &mut Text<'_>) -> Result<()>,
    ) -> Result<()> {
        out.push(open)?;
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(self.item_separator)?;
            }
            self.line(level + 1, out)?;
            write(item, out)?;
        }
        if !items.is_empty() {
            self.line(level, out)?;
        }
        out.push(close)
    }

    fn line(&self, level: usize, out: &mut Text<'_>) -> Result<()> {
        let Some(indent) = &self.indent else {
            return Ok(());
        };
        out.push("\n")?;
        for _ in 0..level {
            out.push(indent)?;
        }
        Ok(())
    }

    /// The entries by their keys, where they are to be sorted.
    fn entries(&self, dict: &Dict, budget: &Budget) -> Result<Option<Vec<(Value, Value)>>> {
        if !self.sort_keys {
            return Ok(None);
        }
        budget.slots(2 * dict.len())?;
        let sorted = sort(dict.to_vec(), budget, &mut |a, b| {
            let order = a.0.compare(&b.0, budget)?;
            Ok(order.unwrap_or(std::cmp::Ordering::Equal))
        })?;
        Ok(Some(sorted))
    }

    fn key(&self, key: &Value, out: &mut Text<'_>) -> Result<()> {
        match key {
            Value::Str(text) => self.string(text, out),
            other => match scalar(other) {
                Some(text) => self.string(&text, out),
                None => fail(format!(
                    "keys must be str, int, float, bool or None, not {}",
                    other.type_name()
                )),
            },
        }
    }

    fn string(&self, text: &str, out: &mut Text<'_>) -> Result<()> {
        out.budget.read(text.len())?;
        out.push("\"")?;
        for c in text.chars() {
            match c {
                '"' => out.push("\\\"")?,
                '\\' => out.push("\\\\")?,
                '\n' => out.push("\\n")?,
                '\r' => out.push("\\r")?,
                '\t' => out.push("\\t")?,
                '\u{8}' => out.push("\\b")?,
                '\u{c}' => out.push("\\f")?,
                // Not a part of the user's text.
                TEXT_GUARD => out.push_char(c)?,
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push(&format!("\\u{unit:04x}"))?;
                    }
                }
                c => out.push_char(c)?,
            }
        }
        out.push("\"")
    }
}

fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::None => "null".into(),
        Value::Bool(is) => is.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "NaN".into(),
        Value::Float(number) if number.is_infinite() && *number > 0.0 => "Infinity".into(),
        Value::Float(number) if number.is_infinite() => "-Infinity".into(),
        Value::Float(number) => float(*number),
        _ => return None,
    })
}

//! Values as Python writes them: `str` and `repr`.

use super::error::Result;
use super::limits::{Budget, Text};
use super::value::{Callable, Value};

impl Value {
    /// Python's `str`.
    pub(super) fn write_str(&self, out: &mut Text<'_>) -> Result<()> {
        match self {
            Value::Str(text) => out.push(text),
            Value::Undefined => Ok(()),
            other => other.write_repr(out),
        }
    }

    /// Python's `str` as a value; a text is itself.
    pub(super) fn to_text(&self, budget: &Budget) -> Result<Value> {
        if let Value::Str(_) = self {
            return Ok(self.clone());
        }
        let mut out = Text::new(budget);
        self.write_str(&mut out)?;
        out.finish()
    }

    /// Python's `repr`.
    pub(super) fn write_repr(&self, out: &mut Text<'_>) -> Result<()> {
        out.budget.work(1)?;
        match self {
            Value::Undefined => out.push("Undefined"),
            Value::None => out.push("None"),
            Value::Bool(is) => out.push(if *is { "True" } else { "False" }),
            Value::Int(number) => out.push(&number.to_string()),
            Value::Float(number) => out.push(&float(*number)),
            Value::Str(text) => quoted(text, out),
            Value::List(items) => {
                out.push("[")?;
                write_items(items, out)?;
                out.push("]")
            }
            Value::Tuple(items) => {
                out.push("(")?;
                write_items(items, out)?;
                out.push(if items.len() == 1 { ",)" } else { ")" })
            }
            Value::Dict(dict) => {
                out.push("{")?;
                for (at, (key, value)) in dict.iter().enumerate() {
                    if at > 0 {
                        out.push(", ")?;
                    }
                    key.write_repr(out)?;
                    out.push(": ")?;
                    value.write_repr(out)?;
                }
                out.push("}")
            }
            // Where Python shows addresses, the kind is enough.
            Value::Namespace(_) => out.push("<Namespace>"),
            Value::Loop(state) => out.push(&format!(
                "<LoopContext {}/{}>",
                state.index.get() + 1,
                state.items.len()
            )),
            Value::Callable(callable) => match &**callable {
                Callable::Function(function) => out.push(&format!("<function {function:?}>")),
                Callable::Macro { def, .. } => {
                    out.push("<Macro '")?;
                    out.push(&def.name)?;
                    out.push("'>")
                }
                Callable::Method { name, .. } => {
                    out.push("<method '")?;
                    out.push(name)?;
                    out.push("'>")
                }
            },
        }
    }
}

fn write_items(items: &[Value], out: &mut Text<'_>) -> Result<()> {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(", ")?;
        }
        item.write_repr(out)?;
    }
    Ok(())
}

/// The shortest digits that read back as the same number, as Python's `repr` lays them out.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(power) if (-4..16).contains(&power) => format!("{number:?}"),
        Ok(power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.abs())
        }
        Err(_) => scientific,
    }
}

/// A text in quotes, as Python's `repr` chooses and escapes them.
fn quoted(text: &str, out: &mut Text<'_>) -> Result<()> {
    out.budget.read(text.len())?;
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.push("\\n")?,
            '\r' => out.push("\\r")?,
            '\t' => out.push("\\t")?,
            '\\' => out.push("\\\\")?,
            c if c == quote => {
                out.push("\\")?;
                out.push_char(c)?;
            }
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{ad}' => {
                out.push(&format!("\\x{:02x}", u32::from(c)))?;
            }
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200f}' => {
                out.push(&format!("\\u{:04x}", u32::from(c)))?;
            }
            c => out.push_char(c)?,
        }
    }
    out.push_char(quote)
}

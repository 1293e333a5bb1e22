//! A call of Llama 3's built-in functions: `name.call(argument="...", ...)`, its values Python's
//! literals.

use super::super::Call;
use serde_json::{Map, Value};

/// The call that a text is.
pub(super) fn call(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once(".call(")?;
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(named) {
        return None;
    }
    let mut rest = rest.trim_start();
    let mut arguments = Map::new();
    while !rest.starts_with(')') {
        let (argument, behind) = rest.split_once('=')?;
        let argument = argument.trim();
        if argument.is_empty() || !argument.chars().all(named) {
            return None;
        }
        let (value, behind) = value(behind.trim_start())?;
        arguments.insert(argument.to_owned(), value);
        rest = behind.trim_start();
        if let Some(behind) = rest.strip_prefix(',') {
            rest = behind.trim_start();
        } else if !rest.starts_with(')') {
            return None;
        }
    }
    let is_all = rest
        .strip_prefix(')')?
        .trim_matches([' ', '\n', ';'])
        .is_empty();
    is_all.then(|| Call {
        name: name.to_owned(),
        arguments: Value::Object(arguments).to_string(),
        whole: true,
    })
}

/// A literal, and what follows it.
fn value(text: &str) -> Option<(Value, &str)> {
    if let Some(quote) = text.chars().next().filter(|&c| c == '"' || c == '\'') {
        return string(&text[1..], quote);
    }
    for (word, value) in [
        ("True", Value::Bool(true)),
        ("False", Value::Bool(false)),
        ("None", Value::Null),
    ] {
        if let Some(rest) = text.strip_prefix(word) {
            return Some((value, rest));
        }
    }
    // A number ends where the argument does, which a stream of JSON values would not take for one.
    let scalar = text.find([',', ')']).unwrap_or(text.len());
    if let Ok(number @ Value::Number(_)) = serde_json::from_str(text.get(..scalar)?) {
        return Some((number, text.get(scalar..)?));
    }
    // Lists and dicts as JSON has them.
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    Some((value, &text[values.byte_offset()..]))
}

/// A text up to its quote.
fn string(text: &str, quote: char) -> Option<(Value, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                '\n' => {}
                same @ ('\\' | '\'' | '"') => value.push(same),
                // Python leaves others as they are.
                other => value.extend(['\\', other]),
            },
            c if c == quote => return Some((Value::String(value), &text[at + 1..])),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn literals_become_json() {
        for (text, name, arguments) in [
            (
                r#"f.call(query="a \"b\" é")"#,
                "f",
                json!({"query": "a \"b\" é"}),
            ),
            ("f.call()", "f", json!({})),
            ("f.call(days=3)", "f", json!({"days": 3})),
            ("f.call(a=-1e3 , b=2 )", "f", json!({"a": -1e3, "b": 2})),
            (
                "a_b.call( x = 'it\\'s', n=-1.5, t=True, f=False, z=None, l=[1, \"a\"] ,)",
                "a_b",
                json!({"x": "it's", "n": -1.5, "t": true, "f": false, "z": null, "l": [1, "a"]}),
            ),
            (
                "f.call(s='a\\nb\\d', t=\"(),=\") ; ",
                "f",
                json!({"s": "a\nb\\d", "t": "(),="}),
            ),
        ] {
            let call = call(text).unwrap();
            assert_eq!(call.name, name);
            assert_eq!(
                serde_json::from_str::<Value>(&call.arguments).unwrap(),
                arguments
            );
        }
        for text in [
            "f(1)",
            "f.call(",
            "f.call(1)",
            "f.call(a)",
            "f.call(a=)",
            "f.call(a='x)",
            "x y.call()",
            "f.call(a=1 b=2)",
            "f.call() + 1",
            ".call()",
            "f.call(a=b)",
            "",
        ] {
            assert_eq!(call(text), None, "{text}");
        }
    }
}

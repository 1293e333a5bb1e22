//! JSON as it comes: which bytes may follow, when it is complete, and the beginning of a text made
//! whole.

/// Levels of arrays and objects at most, as `serde_json` has them.
const MAX_LEVELS: usize = 127;

/// The bytes are no JSON, or it is too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Reads the bytes of one array or object.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// What is open; true for an object.
    open: Vec<bool>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value.
    Value,
    /// Right behind `[`.
    ValueOrEnd,
    /// Right behind `{`.
    KeyOrEnd,
    /// Behind a comma within an object.
    Key,
    Colon,
    /// Behind a value.
    CommaOrEnd,
    Text {
        is_key: bool,
        part: Text,
    },
    Number(Number),
    /// Within `true`, `false` or `null`: what is left of it.
    Word(&'static [u8]),
    Complete,
}

/// Where in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Plain,
    Escaped,
    /// So many hexadecimal digits are to come.
    Code(u8),
}

/// Behind what of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Decimals,
    E,
    Sign,
    Exponent,
}

impl Number {
    /// Behind this byte too; `None` where the number has ended before it.
    fn next(self, byte: u8) -> Option<Number> {
        let is_digit = byte.is_ascii_digit();
        match (self, byte) {
            (Number::Minus, b'0') => Some(Number::Zero),
            (Number::Minus | Number::Digits, _) if is_digit => Some(Number::Digits),
            (Number::Zero | Number::Digits, b'.') => Some(Number::Point),
            (Number::Point | Number::Decimals, _) if is_digit => Some(Number::Decimals),
            (Number::Zero | Number::Digits | Number::Decimals, b'e' | b'E') => Some(Number::E),
            (Number::E, b'+' | b'-') => Some(Number::Sign),
            (Number::E | Number::Sign | Number::Exponent, _) if is_digit => Some(Number::Exponent),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        use Number::{Decimals, Digits, Exponent, Zero};
        matches!(self, Zero | Digits | Decimals | Exponent)
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner {
            open: Vec::new(),
            state: State::Value,
        }
    }
}

impl Scanner {
    /// Arrays and objects that are open.
    pub fn levels(&self) -> usize {
        self.open.len()
    }

    /// True once its last bracket has come.
    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// True where a value is to come: behind a colon, or a comma of an array.
    pub fn wants_value(&self) -> bool {
        self.state == State::Value
    }

    /// True behind a value within an array or object, or right behind their beginning: what has
    /// come is whole but for the brackets that end it.
    fn can_be_closed(&self) -> bool {
        use State::{CommaOrEnd, Complete, KeyOrEnd, ValueOrEnd};
        matches!(self.state, CommaOrEnd | KeyOrEnd | ValueOrEnd | Complete)
    }

    /// Read the next byte.
    ///
    /// # Errors
    /// It cannot come here.
    pub fn push(&mut self, byte: u8) -> Result<(), Fault> {
        self.state = match self.state {
            State::Text { is_key, part } => text(is_key, part, byte)?,
            State::Word([next, rest @ ..]) if *next == byte => match rest {
                [] => State::CommaOrEnd,
                rest => State::Word(rest),
            },
            State::Word(_) => return Err(Fault),
            State::Number(number) => match number.next(byte) {
                Some(number) => State::Number(number),
                None if number.may_end() => {
                    self.state = State::CommaOrEnd;
                    return self.push(byte);
                }
                None => return Err(Fault),
            },
            state if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => state,
            State::ValueOrEnd if byte == b']' => self.close(false)?,
            State::Value | State::ValueOrEnd => self.value(byte)?,
            State::KeyOrEnd if byte == b'}' => self.close(true)?,
            State::KeyOrEnd | State::Key if byte == b'"' => State::Text {
                is_key: true,
                part: Text::Plain,
            },
            State::Colon if byte == b':' => State::Value,
            State::CommaOrEnd => match (byte, self.open.last()) {
                (b',', Some(true)) => State::Key,
                (b',', Some(false)) => State::Value,
                (b'}', _) => self.close(true)?,
                (b']', _) => self.close(false)?,
                _ => return Err(Fault),
            },
            State::KeyOrEnd | State::Key | State::Colon | State::Complete => return Err(Fault),
        };
        Ok(())
    }

    fn value(&mut self, byte: u8) -> Result<State, Fault> {
        if self.open.is_empty() && !matches!(byte, b'{' | b'[') {
            return Err(Fault);
        }
        Ok(match byte {
            b'{' | b'[' => {
                if self.open.len() == MAX_LEVELS {
                    return Err(Fault);
                }
                let is_object = byte == b'{';
                self.open.push(is_object);
                if is_object {
                    State::KeyOrEnd
                } else {
                    State::ValueOrEnd
                }
            }
            b'"' => State::Text {
                is_key: false,
                part: Text::Plain,
            },
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            _ => return Err(Fault),
        })
    }

    fn close(&mut self, is_object: bool) -> Result<State, Fault> {
        if self.open.pop() != Some(is_object) {
            return Err(Fault);
        }
        Ok(if self.open.is_empty() {
            State::Complete
        } else {
            State::CommaOrEnd
        })
    }
}

fn text(is_key: bool, part: Text, byte: u8) -> Result<State, Fault> {
    let part = match (part, byte) {
        (Text::Plain, b'"') if is_key => return Ok(State::Colon),
        (Text::Plain, b'"') => return Ok(State::CommaOrEnd),
        (Text::Plain, b'\\') => Text::Escaped,
        (Text::Plain, ..0x20) => return Err(Fault),
        (Text::Plain, _) => Text::Plain,
        (Text::Escaped, b'u') => Text::Code(4),
        (Text::Escaped, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Text::Plain,
        (Text::Code(1), _) if byte.is_ascii_hexdigit() => Text::Plain,
        (Text::Code(n), _) if byte.is_ascii_hexdigit() => Text::Code(n - 1),
        _ => return Err(Fault),
    };
    Ok(State::Text { is_key, part })
}

/// An object of which only the beginning may be there: what of it is complete, and the brackets
/// that end it. Of what is no beginning of an object, an empty one.
#[must_use]
pub fn closed(json: &str) -> String {
    let mut scanner = Scanner::default();
    let (mut whole, mut open) = (0, Vec::new());
    for (at, &byte) in json.as_bytes().iter().enumerate() {
        let before = scanner.levels();
        let was_number = matches!(scanner.state, State::Number(number) if number.may_end());
        if scanner.push(byte).is_err() {
            break;
        }
        if was_number && !matches!(scanner.state, State::Number(_)) {
            // A number ends before what follows it.
            whole = at;
        }
        if scanner.can_be_closed() {
            whole = at + 1;
        }
        if scanner.levels() != before {
            open.clone_from(&scanner.open);
        }
    }
    let mut text = json.get(..whole).unwrap_or_default().trim().to_owned();
    if !text.starts_with('{') {
        return "{}".to_owned();
    }
    for is_object in open.iter().rev() {
        text.push(if *is_object { '}' } else { ']' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn scan(json: &str) -> Result<bool, Fault> {
        let mut scanner = Scanner::default();
        for &byte in json.as_bytes() {
            scanner.push(byte)?;
        }
        Ok(scanner.is_complete())
    }

    #[test]
    fn it_takes_what_a_parser_takes() {
        for json in [
            "{}",
            " [ ] ",
            r#"{"a":[1,-2.5e+3,0,0.1,1E5,true,false,null,"é\n\u00e9\\\""],"b":{"":{}}}"#,
            "[[[]],[]]",
            "{\"a\": 1 , \"b\" : [ ] }\n",
        ] {
            assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
            assert_eq!(scan(json), Ok(true), "{json}");
            for (cut, _) in json.trim_end().char_indices() {
                assert_eq!(scan(&json[..cut]), Ok(false), "{}", &json[..cut]);
            }
        }
        for json in [
            "1",
            "\"a\"",
            "{,",
            "{1",
            "[,",
            "[1,]",
            "{\"a\",",
            "{\"a\":,",
            "{\"a\":1,}",
            "[01",
            "[-a",
            "[1.e",
            "[1e,",
            "[tru,",
            "[\"\n",
            "[\"\\x",
            "[\"\\u00g",
            "[}",
            "{]",
            "{}{",
            "[1 2",
            "nul",
        ] {
            assert_eq!(scan(json), Err(Fault), "{json}");
        }
        assert_eq!(scan(&"[".repeat(MAX_LEVELS)), Ok(false));
        assert_eq!(scan(&"[".repeat(MAX_LEVELS + 1)), Err(Fault));
    }

    #[test]
    fn a_beginning_is_closed_behind_what_is_complete() {
        for (json, whole) in [
            ("", "{}"),
            ("[1", "{}"),
            ("{", "{}"),
            ("{\"a", "{}"),
            ("{\"a\": ", "{}"),
            ("{\"a\": 1", "{}"),
            ("{\"a\": 1,", "{\"a\": 1}"),
            ("{\"a\": 1}", "{\"a\": 1}"),
            (
                "{\"a\": \"x\", \"b\": [1, {\"c\": \"y",
                "{\"a\": \"x\", \"b\": [1, {}]}",
            ),
            ("{\"a\": [[], 12", "{\"a\": [[]]}"),
            ("{\"a\": tru", "{}"),
            ("{\"a\": true, x", "{\"a\": true}"),
        ] {
            assert_eq!(closed(json), whole, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_is_closed_is_an_object(json in "[{}\\[\\],:\"a1.\\\\e -]{0,40}") {
            let whole: Value = serde_json::from_str(&closed(&json)).unwrap();
            prop_assert!(whole.is_object());
            let is_json = serde_json::from_str::<Value>(&json)
                .is_ok_and(|value| value.is_object() || value.is_array());
            prop_assert_eq!(scan(&json) == Ok(true), is_json);
        }
    }
}

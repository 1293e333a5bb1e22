//! The text of values within a JSON text: what a client wrote, its keys in its order.
//!
//! Chat templates show functions and arguments as they were sent, and `serde_json`'s objects sort
//! their keys. So what is passed on is cut from the body rather than written anew.

/// A value of a JSON text that was parsed before, as it is written.
///
/// Of a text that is no JSON some part of it, never a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// The whole text's value.
    pub fn new(json: &'a str) -> Self {
        Raw(json.trim_matches(BLANKS))
    }

    /// The value's text, without blanks around it.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// A field of an object, the last of that name, as parsers have it.
    pub fn field(self, name: &str) -> Option<Raw<'a>> {
        let mut found = None;
        let mut parts = Parts::of(self.0, '{');
        while let Some(key) = parts.next() {
            let value = parts.next()?;
            // A key may be written with escapes.
            if serde_json::from_str::<String>(key.0).is_ok_and(|key| key == name) {
                found = Some(value);
            }
        }
        found
    }

    /// The items of an array; none of anything else.
    pub fn items(self) -> impl Iterator<Item = Raw<'a>> {
        Parts::of(self.0, '[')
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The values of an array, or keys and values of an object by turns.
struct Parts<'a>(&'a str);

impl<'a> Parts<'a> {
    fn of(text: &'a str, open: char) -> Self {
        Parts(text.strip_prefix(open).unwrap_or_default())
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let separator = |c: char| BLANKS.contains(&c) || matches!(c, ',' | ':');
        let rest = self.0.trim_start_matches(separator);
        if rest.starts_with([']', '}']) || rest.is_empty() {
            return None;
        }
        let (value, rest) = rest.split_at(end(rest));
        self.0 = rest;
        Some(Raw(value))
    }
}

/// Where the value at the start of a text ends.
fn end(text: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            if !in_string && depth == 0 {
                return at + 1;
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn values_are_cut_as_they_are_written() {
        let json = r#" {"b" : [1.0, "x,\"]}\\" ,{ "z":1,"a":[] } , null ,-1E5 ], "a":{}, "\u0062b":true} "#;
        let raw = Raw::new(json);
        let items: Vec<_> = raw.field("b").unwrap().items().map(Raw::text).collect();
        assert_eq!(
            items,
            [
                "1.0",
                r#""x,\"]}\\""#,
                r#"{ "z":1,"a":[] }"#,
                "null",
                "-1E5"
            ]
        );
        assert_eq!(raw.field("a").unwrap().text(), "{}");
        assert_eq!(raw.field("bb").unwrap().text(), "true");
        assert_eq!(raw.field("c"), None);
        assert_eq!(raw.items().count(), 0);
        assert_eq!(Raw::new("[]").items().count(), 0);
        assert_eq!(Raw::new("[1]").field("1"), None);
        assert_eq!(Raw::new(r#"{"a":1,"a":2}"#).field("a").unwrap().text(), "2");
    }

    #[test]
    fn what_is_cut_is_the_value_that_is_parsed() {
        let json = r#"{"t":[{"f":{"n":"ä\"","p":{"z":[[],{}],"y":"}"}}},{"f":0}],"u":"\\"}"#;
        let parsed: Value = serde_json::from_str(json).unwrap();
        let same = |raw: Raw<'_>, value: &Value| {
            assert_eq!(serde_json::from_str::<Value>(raw.text()).unwrap(), *value);
        };
        let raw = Raw::new(json);
        same(raw, &parsed);
        same(raw.field("u").unwrap(), &parsed["u"]);
        for (raw, value) in raw
            .field("t")
            .unwrap()
            .items()
            .zip(parsed["t"].as_array().unwrap())
        {
            same(raw, value);
            same(raw.field("f").unwrap(), &value["f"]);
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Few enough digits that any parser gives the same number.
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
            r#"[a-c"\\\{\}\[\],: \n]{0,6}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(r#"[a-c"\\\{:,]{0,3}"#, inner, 0..5)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    fn same(raw: Raw<'_>, value: &Value) {
        assert_eq!(serde_json::from_str::<Value>(raw.text()).unwrap(), *value);
        match value {
            Value::Array(items) => {
                assert_eq!(raw.items().count(), items.len());
                raw.items()
                    .zip(items)
                    .for_each(|(raw, item)| same(raw, item));
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    same(raw.field(name).unwrap(), value);
                }
            }
            _ => assert_eq!((raw.items().count(), raw.field("")), (0, None)),
        }
    }

    proptest! {
        #[test]
        fn every_value_is_found(value in any_json()) {
            same(Raw::new(&value.to_string()), &value);
            same(Raw::new(&serde_json::to_string_pretty(&value).unwrap()), &value);
        }
    }

    #[test]
    fn damaged_text_ends() {
        let json = r#"{"a":[1,{"b":"\""}],"c":{}}"#;
        for from in 0..json.len() {
            for to in from..=json.len() {
                let raw = Raw::new(&json[from..to]);
                let _ = raw.field("a");
                assert!(raw.items().count() <= json.len());
            }
        }
    }
}

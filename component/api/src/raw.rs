//! The text of values within a JSON text: what a client wrote, its keys in its order.
//!
//! Chat templates show functions and arguments as they were sent, and `serde_json`'s objects sort
//! their keys. So what is passed on is cut from the body rather than written anew.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A value of a JSON text, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// The whole text's value. What is no JSON has no fields and no items.
    pub fn new(json: &'a str) -> Self {
        Raw(json.trim_matches([' ', '\t', '\n', '\r']))
    }

    /// The value's text, without blanks around it.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// A field of an object, the last of that name, as parsers have it.
    pub fn field(self, name: &str) -> Option<Raw<'a>> {
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(self.0).ok()?;
        fields.get(name).map(|value| Raw(value.get()))
    }

    /// The items of an array; none of anything else.
    pub fn items(self) -> impl Iterator<Item = Raw<'a>> {
        let items: Vec<&RawValue> = serde_json::from_str(self.0).unwrap_or_default();
        items.into_iter().map(|value| Raw(value.get()))
    }
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
            // What is no number is null.
            any::<f64>().prop_map(Value::from),
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
    fn damaged_text_has_no_parts() {
        let json = r#"{"a":[1,{"b":"\""}],"c":{}}"#;
        for to in 0..json.len() {
            let raw = Raw::new(&json[..to]);
            assert_eq!((raw.field("a"), raw.items().count()), (None, 0), "{to}");
        }
    }
}

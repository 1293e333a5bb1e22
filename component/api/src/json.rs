//! JSON as replies carry it.

use serde::Serialize;

/// `value` as JSON. The types given here have string keys and no fallible parts, so this cannot
/// fail.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// `value` as the text of JSON, as [`to_json`].
pub fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A JSON object that is written field by field, in their order: values, and texts of values that a
/// client wrote.
#[derive(Clone, Debug, Default)]
pub struct Written(String);

impl Written {
    /// An object without fields.
    pub fn new() -> Self {
        Written::default()
    }

    /// Add a field.
    #[must_use]
    pub fn with(self, name: &str, value: &impl Serialize) -> Self {
        self.with_raw(name, &to_text(value))
    }

    /// Add a field if there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<&impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Add a field whose value is the text of JSON.
    #[must_use]
    pub fn with_raw(mut self, name: &str, json: &str) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&to_text(&name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// Add the fields of another object.
    #[must_use]
    pub fn with_all(mut self, other: &Written) -> Self {
        if let Some(fields) = other.0.strip_prefix('{') {
            self.0.push(if self.0.is_empty() { '{' } else { ',' });
            self.0.push_str(fields);
        }
        self
    }

    /// The object.
    pub fn text(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// The text of JSON on one line: without the blanks between its tokens.
pub fn on_one_line(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keeps = |&c: &char| {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            return true;
        }
        in_string = c == '"';
        !matches!(c, ' ' | '\n' | '\r' | '\t')
    };
    json.chars().filter(keeps).collect()
}

/// A JSON array of texts of JSON.
pub fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_on_one_line_is_the_same() {
        for (json, line) in [
            (
                "{\r\n\t\"a b\" : [ 1 , \"c\\\" \\\\\" ] }",
                r#"{"a b":[1,"c\" \\"]}"#,
            ),
            (" \"\\\\\" ", r#""\\""#),
            ("", ""),
        ] {
            assert_eq!(on_one_line(json), line);
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            assert_eq!(parse(json), parse(line));
        }
    }

    #[test]
    fn an_object_is_written_in_its_order() {
        assert_eq!(Written::new().text(), "{}");
        let one = Written::new().with("z\"", &1).with_raw("a", "{ }");
        let two = Written::new().with_some("b", None::<&u8>).with_all(&one);
        let all = two.with_all(&Written::new()).with("c", &"x");
        assert_eq!(all.text(), r#"{"z\"":1,"a":{ },"c":"x"}"#);
        assert_eq!(array(&["1".into(), "{}".into()]), "[1,{}]");
    }
}

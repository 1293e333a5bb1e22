//! Reading JSON objects so that every complaint names its field.
//!
//! Bodies are read from `serde_json::Value` by hand rather than through derived types: unions such
//! as `prompt` keep their paths, errors read like OpenAI's, and the component stays small. `null`
//! is absent everywhere, as it is for OpenAI.

use crate::{error::ApiError, raw::Raw};
use serde_json::{Map, Value};
use std::ops::{Bound, RangeInclusive};

/// A JSON object and where it stands in the body.
pub struct Object<'a> {
    fields: &'a Map<String, Value>,
    /// Empty at the top.
    path: String,
}

/// An object of a list, or what is wrong with it, and its text.
type ListedObject<'a, 'r> = Result<(Object<'a>, Raw<'r>), ApiError>;

impl<'a> Object<'a> {
    /// The body itself.
    pub fn top(body: &'a Value) -> Result<Self, ApiError> {
        let fields = body
            .as_object()
            .ok_or_else(|| ApiError::not_an_object(body))?;
        Ok(Object {
            fields,
            path: String::new(),
        })
    }

    /// A value at `path` that must be an object.
    pub fn at(path: String, value: &'a Value) -> Result<Self, ApiError> {
        match value.as_object() {
            Some(fields) => Ok(Object { fields, path }),
            None => Err(ApiError::invalid_type(path, "an object", value)),
        }
    }

    /// A field's path within the body, for example `messages[0].role`.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A field, unless it is absent or `null`.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// The objects of a list, each with its text, of which `raw` is this object's; `None` where the
    /// field is absent. `expected` names the list.
    ///
    /// # Errors
    /// The field is no list; and of each item that it is no object.
    pub fn objects<'r>(
        &self,
        name: &str,
        raw: Raw<'r>,
        expected: &str,
    ) -> Result<Option<impl Iterator<Item = ListedObject<'a, 'r>>>, ApiError> {
        let path = self.path(name);
        let items = match self.get(name) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(ApiError::invalid_type(path, expected, other)),
        };
        // As many as there are items, whatever the text says.
        let raws = raw.field(name).into_iter().flat_map(Raw::items);
        let raws = raws.chain(std::iter::repeat(Raw::new("")));
        let items = items.iter().zip(raws).enumerate();
        Ok(Some(items.map(move |(i, (value, raw))| {
            Ok((Object::at(format!("{path}[{i}]"), value)?, raw))
        })))
    }

    /// All fields that are there, with their values.
    pub fn present(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let fields = self.fields.iter().filter(|(_, value)| !value.is_null());
        fields.map(|(name, value)| (name.as_str(), value))
    }

    /// The names of those of these fields that are there.
    pub fn sent(&self, names: &[&'static str]) -> Vec<&'static str> {
        let sent = |name: &&&str| self.get(name).is_some();
        names.iter().filter(sent).copied().collect()
    }

    /// A value that goes by several names, under the last of them that was sent; `read` reads one
    /// of them.
    ///
    /// # Errors
    /// Those of `read`; or two names have different values.
    pub fn alias<T: PartialEq>(
        &self,
        names: &[&'static str],
        read: impl Fn(&Self, &str) -> Result<Option<T>, ApiError>,
    ) -> Result<Option<(T, &'static str)>, ApiError> {
        let mut found: Option<(T, &'static str)> = None;
        for name in self.sent(names) {
            let Some(value) = read(self, name)? else {
                continue;
            };
            if let Some((_, first)) = found.as_ref().filter(|(first, _)| *first != value) {
                let why = format!("it differs from '{first}'; send one of them");
                return Err(ApiError::invalid_value(self.path(name), &why));
            }
            found = Some((value, name));
        }
        Ok(found)
    }

    /// A field that must be there.
    pub fn require(&self, name: &str) -> Result<&'a Value, ApiError> {
        self.get(name)
            .ok_or_else(|| ApiError::missing(self.path(name)))
    }

    /// A string.
    pub fn string(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(name, "a string", Value::as_str)
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self
            .typed(name, "a boolean", Value::as_bool)?
            .unwrap_or(false))
    }

    /// An object.
    pub fn object(&self, name: &str) -> Result<Option<Object<'a>>, ApiError> {
        self.get(name)
            .map(|value| Object::at(self.path(name), value))
            .transpose()
    }

    /// An integer within `range`.
    pub fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(n) if range.contains(&n) => Ok(Some(n)),
            _ if value.is_i64() || value.is_u64() => {
                let why = format!(
                    "expected at least {} and at most {}, but got {value}",
                    range.start(),
                    range.end()
                );
                Err(ApiError::invalid_value(self.path(name), &why))
            }
            _ => Err(ApiError::invalid_type(self.path(name), "an integer", value)),
        }
    }

    /// A number within `range`, as the engine takes it. JSON has no NaN; what overflows `f32` is
    /// refused.
    pub fn number(
        &self,
        name: &str,
        range: (Bound<f32>, Bound<f32>),
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let Some(n) = value.as_f64() else {
            return Err(ApiError::invalid_type(self.path(name), "a number", value));
        };
        let n = n as f32;
        let (low, low_text) = match range.0 {
            Bound::Included(low) => (n >= low, format!("at least {low}")),
            Bound::Excluded(low) => (n > low, format!("above {low}")),
            Bound::Unbounded => (true, "any number".into()),
        };
        let (high, high_text) = match range.1 {
            Bound::Included(high) => (n <= high, format!(" and at most {high}")),
            Bound::Excluded(high) => (n < high, format!(" and below {high}")),
            Bound::Unbounded => (true, String::new()),
        };
        if low && high && n.is_finite() {
            return Ok(Some(n));
        }
        let why = format!("expected {low_text}{high_text}, but got {value}");
        Err(ApiError::invalid_value(self.path(name), &why))
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(ApiError::invalid_type(self.path(name), expected, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_is_absent_and_paths_nest() {
        let body = json!({"a": null, "b": {"c": 1}});
        let top = Object::top(&body).unwrap();
        assert_eq!(top.string("a").unwrap(), None);
        let inner = top.object("b").unwrap().unwrap();
        assert_eq!(inner.string("c").unwrap_err().param.as_deref(), Some("b.c"));
        assert_eq!(
            inner.require("d").unwrap_err().param.as_deref(),
            Some("b.d")
        );
    }

    #[test]
    fn numbers_keep_to_their_range() {
        let range = (Bound::Excluded(0.0), Bound::Included(1.0));
        let read = |value: Value| {
            Object::top(&json!({ "p": value }))
                .unwrap()
                .number("p", range)
        };
        assert_eq!(read(json!(1)).unwrap(), Some(1.0));
        assert_eq!(read(json!(0.25)).unwrap(), Some(0.25));
        // The last one is above 0 as a double, but not as the float that the engine takes.
        for wrong in [
            json!(0),
            json!(1.001),
            json!(-0.5),
            json!(1e-60),
            json!("1"),
            json!([1]),
            json!(true),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err().status, 400, "{wrong}");
        }
        let open = (Bound::Excluded(0.0), Bound::Unbounded);
        assert!(
            Object::top(&json!({"p": 1e300}))
                .unwrap()
                .number("p", open)
                .is_err()
        );
    }

    #[test]
    fn integers_are_whole_and_in_range() {
        let read = |value: Value| {
            Object::top(&json!({ "n": value }))
                .unwrap()
                .integer("n", -1..=7)
        };
        assert_eq!(read(json!(7)).unwrap(), Some(7));
        assert_eq!(read(json!(-1)).unwrap(), Some(-1));
        for (wrong, code) in [
            (json!(8), "invalid_value"),
            (json!(u64::MAX), "invalid_value"),
            (json!(1.0), "invalid_type"),
            (json!("1"), "invalid_type"),
        ] {
            assert_eq!(read(wrong.clone()).unwrap_err().code, Some(code), "{wrong}");
        }
    }
}

//! JSON text as a value, its keys in the order in which they came.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::error::{Error, Result};
use super::limits::{Budget, MAX_HELD_DEPTH};
use super::value::{DictBuilder, Value};

/// Why a text has no value here.
#[derive(Debug)]
pub(in super::super) enum JsonFault {
    /// It is no JSON, or nests deeper than any parser goes: where.
    NoJson(serde_json::Error),
    /// It nests deeper than [`MAX_HELD_DEPTH`].
    TooDeep,
    /// Its values take more than the budget has.
    TooMuch,
}

/// The value of a JSON text, with every text in it as `rewrite` makes it.
pub(in super::super) fn json_document(
    json: &str,
    rewrite: &dyn Fn(&str) -> String,
    budget: &Budget,
) -> std::result::Result<Value, JsonFault> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let seed = Seed { rewrite, budget };
    let value = seed.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(value) if value.depth() <= MAX_HELD_DEPTH => Ok(value),
        Ok(_) => Err(JsonFault::TooDeep),
        Err(error) if error.is_data() && budget.is_spent() => Err(JsonFault::TooMuch),
        // The one other fault that is not the text's: values have a depth of their own.
        Err(error) if error.is_data() => Err(JsonFault::TooDeep),
        Err(error) => Err(JsonFault::NoJson(error)),
    }
}

/// As [`json_document`]; `None` where there is a fault.
pub(in super::super) fn json_value(
    json: &str,
    rewrite: &dyn Fn(&str) -> String,
    budget: &Budget,
) -> Option<Value> {
    json_document(json, rewrite, budget).ok()
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    rewrite: &'a dyn Fn(&str) -> String,
    budget: &'a Budget,
}

fn refused<E: serde::de::Error>(error: Error) -> E {
    E::custom(error)
}

impl Seed<'_> {
    fn text(&self, text: &str) -> Result<Value> {
        let text = (self.rewrite)(text);
        Value::text(&text, self.budget)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        from: D,
    ) -> std::result::Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_bool<E>(self, is: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Value, E> {
        self.text(text).map_err(refused)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            self.budget.slots(1).map_err(refused)?;
            items.push(item);
        }
        Value::list(items, self.budget).map_err(refused)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut dict = DictBuilder::new(self.budget);
        while let Some(key) = map.next_key_seed(self)? {
            let value = map.next_value_seed(self)?;
            dict.insert(key, value).map_err(refused)?;
        }
        dict.finish().map_err(refused)
    }
}

//! A JSON object that is read by key.

use serde_json::Value as Json;

use super::{bad, check_ends};
use crate::error::LoadError;

#[allow(
    clippy::cast_possible_truncation,
    reason = "rounding to the working precision"
)]
pub(super) fn narrow(x: f64) -> f32 {
    x as f32
}

/// A JSON object whose values are read by key, with errors that name it. `null` counts as absent.
pub(super) struct Object<'a>(pub(super) &'a Json);

impl Object<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        key: &str,
        kind: &str,
        read: impl Fn(&Json) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let value = self.get(key).map(|value| {
            read(value).ok_or_else(|| {
                let mut shown = value.to_string();
                shown.truncate(shown.floor_char_boundary(80));
                bad(key, format!("is {shown}, must be {kind}"))
            })
        });
        value.transpose()
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, LoadError> {
        self.read(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.read(key, "true or false", Json::as_bool)
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.read(key, "a number", Json::as_f64)
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, LoadError> {
        self.read(key, "a whole number that is not negative", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, LoadError> {
        self.optional_size(key)?
            .ok_or_else(|| bad(key, "is absent from config.json"))
    }

    /// One token id or a list of them; empty where absent. Some files write -1 for none.
    pub(super) fn tokens(&self, key: &str) -> Result<Vec<u32>, LoadError> {
        let token = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let is_none = |value: &Json| value.is_null() || value.as_i64() == Some(-1);
        let tokens = self.read(key, "a token id or a list of them", |value| {
            let list = value
                .as_array()
                .map_or(std::slice::from_ref(value), Vec::as_slice);
            list.iter()
                .filter(|value| !is_none(value))
                .map(token)
                .collect()
        });
        let tokens: Vec<u32> = tokens?.unwrap_or_default();
        check_ends(key, tokens.len())?;
        Ok(tokens)
    }
}

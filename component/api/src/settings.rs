//! The operator's settings: the types generated from `wit/config.wit`, and their effect on a
//! request.

use crate::{engine::bindings, error::ApiError};

pub use bindings::sterna::inference::config::{self as wit, InvalidSetting, Settings};

impl Settings {
    /// The largest number of tokens to generate for a request that asks for `asked` in its field
    /// `param`.
    pub fn completion_limit(&self, asked: Option<(u32, String)>) -> Result<Option<u32>, ApiError> {
        match (asked, self.max_tokens) {
            (Some((tokens, param)), Some(most)) if tokens > most => {
                let why = format!("this server generates at most {most} tokens, but got {tokens}");
                Err(ApiError::invalid_value(param, &why))
            }
            (Some((tokens, _)), _) => Ok(Some(tokens)),
            (None, most) => Ok(self.default_max_tokens.or(most)),
        }
    }
}

//! The operator's settings: their names, their rules and their defaults, once for every place they
//! come from.
//!
//! Such a place ([`read`]'s `lookup`) is the WASI environment (`component/config-env`), Spin's
//! variables (`component/config-spin`) or the command line of `sterna serve`. Each has its own
//! spelling of the names in [`SETTINGS`], and shows them so in errors.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::fmt;

#[cfg(target_arch = "wasm32")]
pub mod provider;
mod rules;
mod table;
#[cfg(test)]
mod tests;

pub use table::{SETTINGS, Setting, option, spin_variable, variable};

/// The operator's settings; the record `settings` of `wit/config.wit`, which documents each field.
#[allow(missing_docs, reason = "documented in wit/config.wit")]
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub api_keys: Vec<String>,
    pub default_max_tokens: Option<u32>,
    pub max_tokens: Option<u32>,
    pub max_prompt_tokens: Option<u32>,
    pub max_messages: u32,
    pub max_body_bytes: u32,
    pub model_alias: Option<String>,
    pub cors_origin: Option<String>,
    pub allowed_hosts: Vec<String>,
    pub request_timeout_ms: Option<u32>,
    pub resume_keys: Vec<String>,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    /// That of one of [`SETTINGS`].
    pub name: &'static str,
    /// The fault and its remedy. Holds no part of a secret.
    pub message: String,
}

/// The fault of an empty value.
const BLANK: &str = "it is set, but to nothing; give it a value, or do not set it";
/// Turns a conversation may have where nothing else is set.
const MAX_MESSAGES: u32 = 4096;
/// Bytes a body may have where nothing else is set. A context of 4096 tokens is some 20 KB of text,
/// so this leaves room for models with two hundred times that.
const MAX_BODY_BYTES: u32 = 4 << 20;

/// Read all settings. `lookup` is asked for the name of each of [`SETTINGS`] and says what is set,
/// if anything is.
/// A value of nothing or of blanks is refused: whoever wrote it meant something, for example a key,
/// and would otherwise get an open server.
///
/// # Errors
/// The first setting that cannot be used, under its name in [`SETTINGS`], or for which `lookup`
/// failed.
pub fn read(
    mut lookup: impl FnMut(&'static str) -> Result<Option<String>, String>,
) -> Result<Settings, InvalidSetting> {
    let mut get = |name| match lookup(name) {
        Ok(Some(value)) if value.trim().is_empty() => Err(invalid(name, BLANK.to_owned())),
        Ok(value) => Ok(value.map(|value| value.trim().to_owned())),
        Err(message) => Err(invalid(name, message)),
    };
    let api_keys = rule(&mut get, "api_key", rules::keys)?.unwrap_or_default();
    // Without a key every page of the web could have its reader's own server work for it.
    let default_origin = (!api_keys.is_empty()).then(|| "*".to_owned());
    let settings = Settings {
        api_keys,
        default_max_tokens: rule(&mut get, "default_max_tokens", rules::count)?,
        max_tokens: rule(&mut get, "max_tokens", rules::count)?,
        max_prompt_tokens: rule(&mut get, "max_prompt_tokens", rules::count)?,
        max_messages: rule(&mut get, "max_messages", rules::count)?.unwrap_or(MAX_MESSAGES),
        max_body_bytes: rule(&mut get, "max_body_bytes", rules::body_bytes)?
            .unwrap_or(MAX_BODY_BYTES),
        model_alias: rule(&mut get, "model_alias", rules::alias)?,
        cors_origin: rule(&mut get, "cors_origin", rules::origin)?.unwrap_or(default_origin),
        allowed_hosts: rule(&mut get, "allowed_hosts", rules::hosts)?.unwrap_or_default(),
        request_timeout_ms: rule(&mut get, "request_timeout", rules::seconds)?,
        resume_keys: rule(&mut get, "resume_key", rules::resume_keys)?.unwrap_or_default(),
    };
    match (settings.default_max_tokens, settings.max_tokens) {
        (Some(default), Some(most)) if default > most => Err(invalid(
            "default_max_tokens",
            format!("{default} is more than the {most} tokens a request may ask for"),
        )),
        _ => Ok(settings),
    }
}

/// Keys do not belong in logs.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("n_api_keys", &self.api_keys.len())
            .field("default_max_tokens", &self.default_max_tokens)
            .field("max_tokens", &self.max_tokens)
            .field("max_prompt_tokens", &self.max_prompt_tokens)
            .field("max_messages", &self.max_messages)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("model_alias", &self.model_alias)
            .field("cors_origin", &self.cors_origin)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("n_resume_keys", &self.resume_keys.len())
            .finish()
    }
}

impl Default for Settings {
    /// The defaults.
    fn default() -> Self {
        Settings {
            api_keys: Vec::new(),
            default_max_tokens: None,
            max_tokens: None,
            max_prompt_tokens: None,
            max_messages: MAX_MESSAGES,
            max_body_bytes: MAX_BODY_BYTES,
            model_alias: None,
            cors_origin: None,
            allowed_hosts: Vec::new(),
            request_timeout_ms: None,
            resume_keys: Vec::new(),
        }
    }
}

/// A setting through its rule, if it is set.
fn rule<T>(
    get: &mut impl FnMut(&'static str) -> Result<Option<String>, InvalidSetting>,
    name: &'static str,
    rule: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, InvalidSetting> {
    get(name)?
        .map(|value| rule(&value).map_err(|message| invalid(name, message)))
        .transpose()
}

fn invalid(name: &'static str, message: String) -> InvalidSetting {
    InvalidSetting { name, message }
}

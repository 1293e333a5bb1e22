//! Settings from the WASI environment: `api_key` is `STERNA_API_KEY`, and so on. `bake` and
//! `compose` close the HTTP component's import `config` with this component, unless they are told
//! to write one for Spin.

use sterna_config::{
    provider::{
        self,
        wit::{Guest, InvalidSetting, Settings},
    },
    variable,
};

struct Environment;

impl Guest for Environment {
    fn get() -> Result<Settings, InvalidSetting> {
        provider::get(variable, |name| match std::env::var(variable(name)) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err("it is no UTF-8".to_owned()),
        })
    }
}

provider::bindings::export!(Environment with_types_in provider::bindings);

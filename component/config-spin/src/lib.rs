//! Settings from Spin's variables: `api_key` is the component's variable `api_key`, and so on.
//! `bake --spin` and `compose --spin` close the HTTP component's import `config` with this
//! component.
//!
//! Of spin-sdk's interfaces it calls `variables` alone, so it imports
//! `fermyon:spin/variables@2.0.0`, which Spin 2 to 4 serve, and none of the others.

use spin_sdk::variables::{self, Error};
use sterna_config::provider::{
    self,
    wit::{Guest, InvalidSetting, Settings},
};

struct Variables;

impl Guest for Variables {
    fn get() -> Result<Settings, InvalidSetting> {
        provider::get(str::to_owned, |name| match variables::get(name) {
            // A manifest cannot leave a default out, so nothing is what is there where nothing is
            // set.
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            // The manifest does not give it to the component.
            Err(Error::Undefined(_)) => Ok(None),
            Err(Error::InvalidName(why) | Error::Provider(why) | Error::Other(why)) => {
                Err(format!("Spin cannot read the variable: {why}"))
            }
        })
    }
}

provider::bindings::export!(Variables with_types_in provider::bindings);

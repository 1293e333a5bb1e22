//! Settings from Spin's variables: `api_key` is the component's variable `api_key`, and so on. `bake --spin` and
//! `compose --spin` close the HTTP component's import `config` with this component.
//!
//! `wit/spin.wit` declares the one interface of Spin's that is needed, as spin-sdk 5.2 has it (WASI 0.2; served by Spin
//! 2 to 4). The sdk itself is left out: for this one function it would bring 68 crates and two more versions of the
//! bindings' generator into the build.

use sterna_config::provider::{
    self,
    wit::{Guest, InvalidSetting, Settings},
};

#[allow(missing_docs, reason = "generated; documented in wit/spin.wit")]
mod spin {
    wit_bindgen::generate!({ path: "wit", world: "variables-consumer", generate_all });
}

use spin::fermyon::spin::variables::{self, Error};

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

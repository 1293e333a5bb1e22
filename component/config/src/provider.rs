//! The shared part of the components that provide settings: the world `config-provider`, and the
//! way from a lookup to its types.

use crate::{read, settings_as};
use wit::{InvalidSetting, Settings};

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; the documentation is in wit/config.wit"
)]
pub mod bindings {
    //! The Rust side of the world, and the macro that exports it.
    wit_bindgen::generate!({
        path: "../../wit",
        world: "config-provider",
        pub_export_macro: true,
        default_bindings_module: "sterna_config::provider::bindings",
    });
}

pub use bindings::exports::sterna::inference::config as wit;

/// As [`read`], in the world's types; `spell` gives a name as the operator writes it.
///
/// # Errors
/// As [`read`].
pub fn get(
    spell: impl Fn(&str) -> String,
    lookup: impl FnMut(&'static str) -> Result<Option<String>, String>,
) -> Result<Settings, InvalidSetting> {
    match read(lookup) {
        Ok(set) => Ok(settings_as!(set, Settings)),
        Err(invalid) => Err(InvalidSetting {
            name: spell(invalid.name),
            message: invalid.message,
        }),
    }
}

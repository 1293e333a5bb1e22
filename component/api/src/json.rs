//! JSON as replies carry it.

use serde::Serialize;

/// `value` as JSON. The types given here have string keys and no fallible parts, so this cannot
/// fail.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

//! From the text of one setting to its value. Values are trimmed and not empty. An error is a
//! sentence that begins with a small letter and has no full stop; that of a key holds no part of
//! it.

use sterna_http_rules::Authority;

/// The range of `max_body_bytes`. A body, its JSON and the prompt made of it fit the 64 MiB that
/// our host gives an instance; below the minimum no request of any use fits.
const BODY_BYTES: std::ops::RangeInclusive<u32> = 1024..=8 << 20;

/// One key, or several between commas.
pub(crate) fn keys(value: &str) -> Result<Vec<String>, String> {
    let key = |key: &str| match key.trim() {
        "" => Err("there is nothing before, between or after its commas".to_owned()),
        key if is_visible_ascii(key) => Ok(key.to_owned()),
        _ => Err("a key holds a space or a character that is not ASCII".to_owned()),
    };
    value.split(',').map(key).collect()
}

/// Characters of a key that signs: with fewer it could be guessed from what it signed.
const RESUME_KEY_CHARS: std::ops::RangeInclusive<usize> = 32..=256;

/// `none`, or keys of a length that nobody guesses.
pub(crate) fn resume_keys(value: &str) -> Result<Vec<String>, String> {
    if value == "none" {
        return Ok(Vec::new());
    }
    let keys = keys(value)?;
    match keys
        .iter()
        .find(|key| !RESUME_KEY_CHARS.contains(&key.len()))
    {
        None => Ok(keys),
        Some(key) => Err(format!(
            "a key has {} characters, 32 to 256 are taken; draw one, for example with `openssl rand \
             -hex 32`",
            key.len()
        )),
    }
}

/// A whole number of at least 1.
pub(crate) fn count(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(count) if count >= 1 => Ok(count),
        _ => Err(format!(
            "expected a whole number from 1 to {}, but it is '{}'",
            u32::MAX,
            shorten(value)
        )),
    }
}

/// Seconds, as milliseconds.
pub(crate) fn seconds(value: &str) -> Result<u32, String> {
    match value.parse::<f64>().map(|seconds| seconds * 1000.0) {
        // In the range, so nothing but a fraction is cut off.
        Ok(ms) if (1.0..=f64::from(u32::MAX)).contains(&ms) => Ok(ms as u32),
        _ => Err(format!(
            "expected seconds from 0.001 to 4294967, such as 30 or 2.5, but it is '{}'",
            shorten(value)
        )),
    }
}

/// A number of bytes in the range that works.
pub(crate) fn body_bytes(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(bytes) if BODY_BYTES.contains(&bytes) => Ok(bytes),
        _ => Err(format!(
            "expected a whole number of bytes from {} to {}, but it is '{}'",
            BODY_BYTES.start(),
            BODY_BYTES.end(),
            shorten(value)
        )),
    }
}

/// A model's name, as it stands in JSON and in a path.
pub(crate) fn alias(value: &str) -> Result<String, String> {
    if is_visible_ascii(value) {
        Ok(value.to_owned())
    } else {
        Err(format!(
            "expected a name in ASCII without spaces, but it is '{}'",
            shorten(value)
        ))
    }
}

/// `*`, `none`, `localhost`, or an origin as browsers send it: scheme, host and perhaps a port.
/// Applications that are made of pages have schemes of their own, such as `app://` and
/// `chrome-extension://`.
pub(crate) fn origin(value: &str) -> Result<Option<String>, String> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    match (value, value.split_once("://")) {
        ("none", _) => Ok(None),
        ("*" | "localhost", _) => Ok(Some(value.to_owned())),
        (_, Some((scheme, host))) if is_scheme(scheme) && is_host(host, true) => {
            Ok(Some(value.to_ascii_lowercase()))
        }
        _ => Err(format!(
            "expected '*', 'none', 'localhost' or an origin such as 'https://example.com' without a path, \
             but it is '{}'",
            shorten(value)
        )),
    }
}

/// Names between commas, each for itself or, with a dot or `*.` before it, for all below it too;
/// `*`.
pub(crate) fn hosts(value: &str) -> Result<Vec<String>, String> {
    let host = |host: &str| {
        let host = host.trim();
        let domain = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        match domain {
            Some(domain) if is_host(domain, false) => Ok(format!(".{domain}")),
            None if host == "*" || is_host(host, false) => Ok(host.to_owned()),
            _ => Err(format!(
                "expected names such as 'llm.example' or '.example.com', without scheme, port or path, \
                 between commas, or '*', but it is '{}'",
                shorten(value)
            )),
        }
    };
    let hosts = value.to_ascii_lowercase();
    hosts.split(',').map(host).collect()
}

fn is_host(host: &str, port_allowed: bool) -> bool {
    let plain = |host: &str| {
        host.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte))
    };
    Authority::parse(host).is_some_and(|at| plain(host) && (port_allowed || at.host == host))
}

fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The value as set, shortened for an error message.
fn shorten(value: &str) -> String {
    const LIMIT: usize = 60;
    match value.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

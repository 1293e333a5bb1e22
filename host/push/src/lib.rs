//! What `sterna-push` and `sterna-pull` share: credentials of registries, TLS, progress bars.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod credentials;

use indicatif::{ProgressBar, ProgressStyle};

/// Choose what encrypts, once for the process.
pub fn install_tls() {
    // Already installed means that a provider is there, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A progress bar over bytes; it hides itself where stderr is no terminal.
#[must_use]
pub fn byte_bar(bytes: u64, verb: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(verb);
    match ProgressStyle::with_template("{msg} {bar:32} {bytes}/{total_bytes} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

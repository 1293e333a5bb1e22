//! Messages of a command to a person. Nobody need be listening: a closed or full stdout or stderr
//! is no reason to fail, or to panic as `println!` does.

use std::io::Write;

use crate::resource_limits;

/// A line on stdout.
pub fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line on stderr.
pub fn aside(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A line on stderr, marked as a note.
pub fn note(text: impl std::fmt::Display) {
    aside(format_args!("note: {text}"));
}

/// The error that ends the command, on stderr: what failed, why, what to do.
pub fn error(error: &anyhow::Error) {
    let text = sterna_errors::chain(error.as_ref());
    match resource_limits::remedy(error) {
        Some(remedy) => aside(format_args!("error: {text}: {remedy}")),
        None => aside(format_args!("error: {text}")),
    }
}

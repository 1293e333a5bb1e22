//! The errors of a template, and the party at fault.

use std::fmt;

/// Why a template does not parse or does not render.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The template said so itself, through `raise_exception`.
    #[error("{0}")]
    Raised(String),
    /// A limit of [`super::limits`] is reached: which, and its value.
    #[error("{0}")]
    Limit(String),
    /// The template is wrong, or does not suit the conversation.
    #[error("{0}")]
    Failed(String),
}

/// A fault with the line of the template it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) fault: Fault,
    /// Counted from 1; `None` until a statement has said its own.
    pub(crate) line: Option<u32>,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn at(mut self, line: u32) -> Self {
        self.line = self.line.or(Some(line));
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error { fault, line: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.fault),
            None => write!(f, "{}", self.fault),
        }
    }
}

/// Most of a template's own text that an error repeats, in characters.
const SHOWN: usize = 80;

/// `text` for a message: its beginning where it is long.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A failure with this message.
pub(super) fn failed(message: impl Into<String>) -> Error {
    Fault::Failed(message.into()).into()
}

/// A failure as a result.
pub(super) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(failed(message))
}

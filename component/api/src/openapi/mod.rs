//! `/openapi.json`: the API's routes and the fields of their bodies, for programs.
//!
//! The document is a file that a test writes from the list of routes and the table of known fields,
//! and holds to them (`document.rs`).

#[cfg(test)]
mod document;

/// The document, of OpenAPI 3.1.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

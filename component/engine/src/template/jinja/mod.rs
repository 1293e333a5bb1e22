//! Jinja as chat templates use it, within bounds.
//!
//! A template is part of a model's file and runs for every conversation, so it may be anybody's.
//! Renders to the same text whatever Hugging Face's `apply_chat_template` renders; what would
//! take more than [`limits`] allow is an error: in memory, in steps, in output and in stack, at any
//! place of the template. General engines bound the number of their instructions at best: they
//! parse, compare, print and drop values recursively and join lists lazily, out of the reach of
//! whoever calls them. Here chains are flat, values know their depth and cannot contain themselves,
//! and whatever reads or makes more than a few bytes asks the budget first.
//!
//! The order of reading: [`lexer`], [`parser`] and [`ast`] make a tree of the source;
//! [`interpreter`] walks it over [`value`]s, with [`filters`], [`checks`] (Jinja's tests) and
//! [`methods`].

mod args;
mod arithmetic;
mod ast;
mod checks;
mod error;
mod filters;
mod format;
mod from_json;
mod functions;
mod interpreter;
mod json;
mod lexer;
pub(super) mod limits;
mod loops;
mod methods;
mod order;
mod parser;
mod slices;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub(crate) use ast::Name;
pub(super) use error::{Error, Fault};
pub(super) use from_json::{JsonFault, json_document, json_value};
use limits::Budget;
use value::DictBuilder;
pub(super) use value::Value;

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template(ast::Body);

impl Template {
    pub(super) fn parse(source: &str) -> Result<Self, Error> {
        parser::parse(source).map(Template)
    }

    /// The template's text with these variables.
    pub(super) fn render(
        &self,
        variables: Vec<(Name, Value)>,
        budget: &Budget,
    ) -> Result<String, Error> {
        interpreter::render(&self.0, variables, budget)
    }
}

/// A text for [`Template::render`].
pub(super) fn text(text: String, budget: &Budget) -> Result<Value, Error> {
    Value::text(&text, budget)
}

/// A list for [`Template::render`].
pub(super) fn list(items: Vec<Value>, budget: &Budget) -> Result<Value, Error> {
    Value::list(items, budget)
}

/// A dict for [`Template::render`].
pub(super) fn dict(entries: Vec<(&str, Value)>, budget: &Budget) -> Result<Value, Error> {
    let mut dict = DictBuilder::new(budget);
    for (key, value) in entries {
        dict.insert(key.into(), value)?;
    }
    dict.finish()
}

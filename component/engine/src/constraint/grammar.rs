//! What a request asks for, as llguidance's grammar, and what of it is refused before it is
//! compiled: compiling recurses, so depth is bounded here.

use super::{chain, gbnf, invalid, lark, schema};
use crate::error::EngineError;
use crate::request::Grammar;
use llguidance::api::TopLevelGrammar;

/// Bytes of a grammar at most.
const MAX_BYTES: usize = 256 << 10;
/// Texts of a choice at most.
const MAX_CHOICES: usize = 4096;
/// Levels of brackets at most, of arrays and objects in a schema too.
pub(super) const MAX_DEPTH: usize = 64;
/// Rules that need each other one after the other, at most.
const MAX_CHAIN: usize = 150;
/// The product of both at most: a compiler goes through the brackets of each rule on its way to the
/// next, and a sandbox's stack has half a megabyte.
const MAX_NESTING: usize = 300;
/// Bytes of the text at which a constraint begins, at most.
const MAX_TRIGGER_BYTES: usize = 256;

/// llguidance's form of a grammar.
///
/// # Errors
/// `InvalidRequest` for what is too large or deep, or no JSON.
pub(super) fn read(grammar: &Grammar) -> Result<TopLevelGrammar, EngineError> {
    check_size(grammar)?;
    Ok(match grammar {
        Grammar::JsonSchema { schema, strict } => {
            TopLevelGrammar::from_json_schema(schema::read(schema, *strict)?)
        }
        Grammar::JsonObject => TopLevelGrammar::from_json_schema(schema::any_object()),
        Grammar::Regex(regex) => {
            check_depth(regex, "the regular expression")?;
            if regex.is_empty() {
                return Err(invalid("the regular expression is empty"));
            }
            TopLevelGrammar::from_regex(regex)
        }
        Grammar::Choice(texts) => TopLevelGrammar::from_lark(choice(texts)?),
        Grammar::Lark(lark) => {
            check_depth(lark, "the grammar")?;
            let checked = lark::check_schemas(lark)?;
            check_chain(&checked.outline)?;
            TopLevelGrammar::from_lark(checked.grammar)
        }
        Grammar::Gbnf(grammar) => {
            check_depth(grammar, "the grammar")?;
            let lark = gbnf::to_lark(grammar).map_err(|error| invalid(error.to_string()))?;
            check_chain(&lark)?;
            TopLevelGrammar::from_lark(lark)
        }
    })
}

/// The text at which a constraint begins.
pub(super) fn check_trigger(trigger: &str) -> Result<(), EngineError> {
    if trigger.is_empty() || trigger.len() > MAX_TRIGGER_BYTES {
        return Err(invalid(format!(
            "begins at a text of {} bytes, must have 1 to {MAX_TRIGGER_BYTES}",
            trigger.len()
        )));
    }
    Ok(())
}

fn check_size(grammar: &Grammar) -> Result<(), EngineError> {
    let bytes = match grammar {
        Grammar::JsonObject => 0,
        Grammar::Choice(texts) => texts.iter().map(String::len).sum(),
        Grammar::JsonSchema { schema: text, .. }
        | Grammar::Regex(text)
        | Grammar::Lark(text)
        | Grammar::Gbnf(text) => text.len(),
    };
    if bytes > MAX_BYTES {
        return Err(invalid(format!(
            "has {bytes} bytes, at most {MAX_BYTES} are allowed"
        )));
    }
    Ok(())
}

/// Brackets within texts and classes count too: the bound is on what a parser may take for them.
fn check_depth(text: &str, what: &str) -> Result<(), EngineError> {
    let deepest = depth(text);
    if deepest > MAX_DEPTH {
        return Err(invalid(format!(
            "{what} has {deepest} levels of brackets, at most {MAX_DEPTH} are allowed"
        )));
    }
    Ok(())
}

/// The levels of brackets in a text.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn check_chain(lark: &str) -> Result<(), EngineError> {
    let chain = chain::longest(lark, MAX_CHAIN);
    if chain > MAX_CHAIN {
        return Err(invalid(format!(
            "the grammar has more than {MAX_CHAIN} rules that need each other one after the other"
        )));
    }
    let brackets = lark.lines().map(depth).max().unwrap_or(0);
    if chain * (brackets + 1) > MAX_NESTING {
        return Err(invalid(format!(
            "the grammar has {chain} rules that need each other one after the other, and lines of {brackets} levels of \
             brackets; the product of both is to be below {MAX_NESTING}"
        )));
    }
    Ok(())
}

/// One of some texts.
fn choice(texts: &[String]) -> Result<String, EngineError> {
    if texts.is_empty() || texts.len() > MAX_CHOICES {
        return Err(invalid(format!(
            "has {} choices, must have 1 to {MAX_CHOICES}",
            texts.len()
        )));
    }
    if texts.iter().any(String::is_empty) {
        return Err(invalid("has an empty choice; leave it out"));
    }
    let texts: Vec<String> = texts.iter().map(|text| gbnf::quoted(text)).collect();
    Ok(format!("start: CHOICE\nCHOICE: {}\n", texts.join(" | ")))
}

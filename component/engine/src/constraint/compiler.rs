//! Grammars ready to run, by their text.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use llguidance::{Matcher, ParserFactory};

use super::vocabulary::Vocabulary;
use super::{deep_stack, grammar, invalid};
use crate::error::EngineError;
use crate::request::Grammar;
use crate::tokenizer::Tokenizer;

/// Compiled grammars that are kept: whoever checks a request compiles its grammar, and the engine
/// finds it here.
const KEPT: usize = 32;

/// llguidance's limits, in its units: what compiling a grammar, or one mask, may cost.
fn limits() -> ParserLimits {
    ParserLimits {
        max_grammar_size: 200_000,
        initial_lexer_fuel: 400_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 10_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// The grammars of one model. Made at the first use; cheap until then.
#[derive(Clone, Default)]
pub struct Constraints(Arc<Inner>);

#[derive(Default)]
struct Inner {
    factory: OnceLock<Result<ParserFactory, String>>,
    /// The newest last.
    kept: Mutex<VecDeque<(Grammar, Matcher)>>,
}

impl fmt::Debug for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraints")
            .field("used", &self.0.factory.get().is_some())
            .finish()
    }
}

impl Constraints {
    /// A grammar at its start, for one sequence.
    pub(super) fn matcher(
        &self,
        tokenizer: &Tokenizer,
        grammar: &Grammar,
    ) -> Result<Matcher, EngineError> {
        if let Some(found) = self.find(grammar) {
            return Ok(found);
        }
        // What it says is checked before a vocabulary is read for it.
        let top = grammar::read(grammar)?;
        let factory = self.0.factory.get_or_init(|| factory(tokenizer));
        let factory = factory.as_ref().map_err(|why| invalid(why.as_str()))?;
        let matcher = deep_stack::run(|| {
            let parser = factory.create_parser(top);
            let parser = parser.map_err(|error| invalid(plain(&error.to_string())))?;
            let matcher = Matcher::new(Ok(parser));
            if let Some(error) = matcher.get_error() {
                return Err(invalid(plain(&error)));
            }
            // The first mask finds out whether it can be begun at all, and what a mask costs.
            let mask = matcher.deep_clone().compute_mask();
            mask.map_err(|error| invalid(plain(&error.to_string())))?;
            Ok(matcher)
        })??;
        self.keep(grammar.clone(), matcher.deep_clone());
        Ok(matcher)
    }

    /// Sequences share nothing of a grammar: what one of them makes of it is its own.
    fn find(&self, grammar: &Grammar) -> Option<Matcher> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, matcher) = kept.iter().find(|(own, _)| own == grammar)?;
        Some(matcher.deep_clone())
    }

    fn keep(&self, grammar: Grammar, matcher: Matcher) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((grammar, matcher));
    }
}

fn factory(tokenizer: &Tokenizer) -> Result<ParserFactory, String> {
    let env: TokEnv = Arc::new(Vocabulary::new(tokenizer)?);
    let slices = SlicedBiasComputer::general_slices();
    let factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices);
    let mut factory = factory.map_err(|error| plain(&error.to_string()))?;
    *factory.limits_mut() = limits();
    factory.quiet();
    Ok(factory)
}

/// An error of llguidance's on one line, without the state of its parser.
pub(super) fn plain(error: &str) -> String {
    let end = error.find("<non-verbose/>").or(error.find("<backtrace>"));
    let text = &error[..end.unwrap_or(error.len())];
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["NoExtensionBias"] => "no token of the model's vocabulary may come next".into(),
        words => words.join(" "),
    }
}

//! Which tokens may come next in one sequence.

use std::sync::Arc;

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use super::compiler::plain;
use super::invalid;
use crate::error::EngineError;
use crate::request::Tags;
use crate::tokenizer::Tokenizer;

/// Line breaks as models write them behind their reasoning.
const GAPS: [&str; 2] = ["\n", "\n\n"];

/// Where in an answer a grammar begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With its first token.
    AtOnce,
    /// Behind this tag, which is to come: the answer begins within reasoning.
    Behind(String),
    /// With its first token, unless that is `begin`: then behind the tag `end`.
    MayReason { begin: u32, end: String },
    /// Behind this text, if it comes; and again behind each further one.
    Trigger(String),
}

/// The reasoning with which an answer may begin.
#[derive(Clone, Debug)]
pub struct Reasoning {
    /// The texts around it.
    pub tags: Tags,
    /// The prompt ends with `tags.begin`.
    pub has_begun: bool,
    /// The prompt ends with `tags.end`.
    pub is_over: bool,
}

impl Start {
    /// Behind the reasoning with which an answer may begin.
    pub(super) fn behind(reasoning: Option<Reasoning>, tokenizer: &Tokenizer) -> Self {
        let Some(Reasoning {
            tags,
            has_begun,
            is_over,
        }) = reasoning
        else {
            return Start::AtOnce;
        };
        if has_begun {
            return Start::Behind(tags.end);
        }
        match tokenizer.token_to_id(&tags.begin) {
            Some(begin) if !is_over => Start::MayReason {
                begin,
                end: tags.end,
            },
            _ => Start::AtOnce,
        }
    }
}

/// What holds for the next token.
#[derive(Clone, Debug)]
enum Phase {
    /// Any token, until the text has `tag`.
    Free { tag: Vec<u8>, tail: Vec<u8> },
    /// The grammar, or this token, behind which all is free until `end`.
    First { begin: u32, end: Vec<u8> },
    /// The grammar, or a line break, right behind reasoning.
    Gap,
    /// The grammar.
    Bound,
}

/// The state of one sequence's grammar.
pub struct Guard {
    matcher: Matcher,
    phase: Phase,
    /// The grammar holds again behind each such text.
    trigger: Option<Vec<u8>>,
    /// Tokens that may end the tag behind which the grammar holds, and go on; with their bytes.
    closing: Arc<[(u32, Vec<u8>)]>,
    /// The tokens of a gap.
    gap: Vec<u32>,
    vocab_size: usize,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        Guard {
            matcher: self.matcher.deep_clone(),
            phase: self.phase.clone(),
            trigger: self.trigger.clone(),
            closing: Arc::clone(&self.closing),
            gap: self.gap.clone(),
            vocab_size: self.vocab_size,
        }
    }
}

/// The tokens that may be chosen.
#[derive(Debug)]
pub struct Mask(SimpleVob);

impl Mask {
    /// True if this token may be chosen.
    #[must_use]
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }

    /// The token, if it may be chosen.
    ///
    /// # Errors
    /// `InvalidRequest` where the request has banned all that might be.
    pub fn check(&self, token: u32) -> Result<u32, EngineError> {
        if self.allows(token) {
            return Ok(token);
        }
        Err(invalid(
            "cannot be followed any further: the request bans each token that may come next",
        ))
    }

    /// Put what may not be chosen out of reach, in logits `[vocab_size]`.
    pub fn apply(&self, logits: &mut [f32]) {
        let (within, beyond) = logits.split_at_mut(self.0.len().min(logits.len()));
        for (word, logits) in self.0.as_slice().iter().zip(within.chunks_mut(32)) {
            match *word {
                0 => logits.fill(f32::MIN),
                u32::MAX => {}
                word => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::MIN;
                        }
                    }
                }
            }
        }
        beyond.fill(f32::MIN);
    }
}

impl Guard {
    pub(super) fn new(matcher: Matcher, start: Start, tokenizer: &Tokenizer) -> Self {
        let free = |tag: String| Phase::Free {
            tag: tag.into_bytes(),
            tail: Vec::new(),
        };
        let (phase, trigger) = match start {
            Start::AtOnce => (Phase::Bound, None),
            Start::Behind(tag) => (free(tag), None),
            Start::MayReason { begin, end } => {
                let end = end.into_bytes();
                (Phase::First { begin, end }, None)
            }
            Start::Trigger(text) => (free(text.clone()), Some(text.into_bytes())),
        };
        let tag = match &phase {
            Phase::Free { tag, .. } | Phase::First { end: tag, .. } => tag.as_slice(),
            Phase::Gap | Phase::Bound => &[],
        };
        Guard {
            closing: closing(tag, tokenizer),
            matcher,
            phase,
            trigger,
            vocab_size: tokenizer.vocab_size(),
            gap: GAPS
                .iter()
                .filter_map(|gap| tokenizer.token_to_id(gap))
                .collect(),
        }
    }

    /// The tokens that may come next; `None` where any may. `ends` are tokens that would end the
    /// completion: they may where the grammar can end, and never within reasoning before it, save
    /// those in `banned`, unless nothing else is left.
    ///
    /// # Errors
    /// `InvalidRequest` where no token of the vocabulary continues the text, or it takes too long
    /// to find out.
    pub fn mask(&mut self, ends: &[u32], banned: &[u32]) -> Result<Option<Mask>, EngineError> {
        if matches!(self.phase, Phase::Free { .. }) {
            return self.mask_of_free(ends);
        }
        let accepts = self.matcher.is_accepting().map_err(fault)?;
        let mut mask = match self.matcher.compute_mask() {
            Ok(mask) => mask,
            // Nothing follows, but an end does: a grammar of an empty text.
            Err(_) if accepts && !ends.is_empty() => SimpleVob::alloc(0),
            Err(error) => return Err(fault(error)),
        };
        if accepts {
            for &end in ends {
                if end as usize >= mask.len() {
                    mask.resize(end as usize + 1);
                }
                mask.allow_token(end);
            }
        }
        let also = match &self.phase {
            Phase::First { begin, .. } => std::slice::from_ref(begin),
            Phase::Gap => &self.gap,
            Phase::Bound | Phase::Free { .. } => &[],
        };
        for &token in also {
            if (token as usize) < mask.len() {
                mask.allow_token(token);
            }
        }
        let mut left = mask.clone();
        for &token in banned {
            if (token as usize) < left.len() {
                left.disallow_token(token);
            }
        }
        Ok(Some(Mask(if left.is_zero() { mask } else { left })))
    }

    /// Reasoning is free but for the completion's end: behind it is what the grammar asks for. An
    /// answer that waits for a trigger may end without one. A token that ends the tag goes on as
    /// the grammar does.
    fn mask_of_free(&mut self, ends: &[u32]) -> Result<Option<Mask>, EngineError> {
        let ends = if self.trigger.is_some() { &[] } else { ends };
        let wrong = self.wrong()?;
        if ends.is_empty() && wrong.is_empty() {
            return Ok(None);
        }
        let mut mask = SimpleVob::alloc_ones(self.vocab_size);
        for &token in ends.iter().chain(&wrong) {
            if (token as usize) < mask.len() {
                mask.disallow_token(token);
            }
        }
        Ok(Some(Mask(mask)))
    }

    /// The tokens that would end the tag and go on as the grammar cannot.
    fn wrong(&mut self) -> Result<Vec<u32>, EngineError> {
        let mut wrong = Vec::new();
        let Phase::Free { tag, tail } = &self.phase else {
            return Ok(wrong);
        };
        let mut rests = Vec::new();
        for (token, bytes) in self.closing.iter() {
            let text = [tail.as_slice(), bytes].concat();
            if let Some(at) = find(&text, tag)
                && at + tag.len() < text.len()
            {
                rests.push((*token, text[at + tag.len()..].to_vec()));
            }
        }
        if rests.is_empty() {
            return Ok(wrong);
        }
        let mut matcher = self.fresh()?;
        for (token, rest) in rests {
            let is_gap = self.trigger.is_none() && rest.iter().all(u8::is_ascii_whitespace);
            if !is_gap && self.fit(&mut matcher, &rest)?.is_none() {
                wrong.push(token);
            }
        }
        Ok(wrong)
    }

    /// A matcher at the grammar's beginning, to ask what it takes.
    fn fresh(&self) -> Result<Matcher, EngineError> {
        let mut matcher = self.matcher.deep_clone();
        if self.trigger.is_some() {
            matcher.reset().map_err(fault)?;
        }
        Ok(matcher)
    }

    /// The tokens as which the grammar, at whose beginning `matcher` is, takes a text with which it
    /// begins: in front of it there may be line breaks where it follows reasoning. `None` where it
    /// cannot begin so. The matcher stays where it is.
    fn fit(&self, matcher: &mut Matcher, rest: &[u8]) -> Result<Option<Vec<u32>>, EngineError> {
        let breaks = rest.iter().take_while(|&&byte| byte == b'\n').count();
        let without = rest.get(breaks..).filter(|_| self.trigger.is_none());
        let env = matcher.tok_env().map_err(fault)?;
        for text in [Some(rest), without].into_iter().flatten() {
            // Of the same bytes, whatever the tokenizer would make of them.
            let tokens = env.tok_trie().greedy_tokenize(text);
            if matcher.validate_tokens(&tokens).map_err(fault)? == tokens.len() {
                return Ok(Some(tokens));
            }
        }
        Ok(None)
    }

    /// A token was chosen that does not end the completion. Returns whether the grammar ends it.
    ///
    /// # Errors
    /// As [`Self::mask`].
    pub fn take(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<bool, EngineError> {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        match &mut self.phase {
            Phase::Free { tag, tail } => {
                tail.extend_from_slice(bytes);
                if let Some(at) = find(tail, tag) {
                    let rest = tail.split_off(at + tag.len());
                    return self.begin(&rest);
                }
                let keep = tail.len().min(tag.len().saturating_sub(1));
                tail.drain(..tail.len() - keep);
                return Ok(false);
            }
            Phase::First { begin, end } if *begin == token => {
                self.phase = Phase::Free {
                    tag: std::mem::take(end),
                    tail: Vec::new(),
                };
                return Ok(false);
            }
            Phase::Gap if self.gap.contains(&token) => {
                self.phase = Phase::Bound;
                return Ok(false);
            }
            Phase::First { .. } | Phase::Gap => self.phase = Phase::Bound,
            Phase::Bound => {}
        }
        self.matcher.consume_token(token).map_err(fault)?;
        self.ended()
    }

    /// The grammar holds from here on; `rest` came in the same token.
    fn begin(&mut self, rest: &[u8]) -> Result<bool, EngineError> {
        if self.trigger.is_none() && rest.iter().all(u8::is_ascii_whitespace) {
            self.phase = if rest.is_empty() {
                Phase::Gap
            } else {
                Phase::Bound
            };
            return Ok(false);
        }
        let mut matcher = self.fresh()?;
        let Some(tokens) = self.fit(&mut matcher, rest)? else {
            return Err(fault(
                "what follows the reasoning's end is not its beginning",
            ));
        };
        if self.trigger.is_some() {
            self.matcher.reset().map_err(fault)?;
        }
        self.phase = Phase::Bound;
        self.matcher.consume_tokens(&tokens).map_err(fault)?;
        self.ended()
    }

    /// True if the grammar is complete and ends the completion.
    fn ended(&mut self) -> Result<bool, EngineError> {
        if !self.matcher.is_stopped() {
            return Ok(false);
        }
        if let Some(error) = self.matcher.get_error() {
            return Err(fault(error));
        }
        let Some(tag) = &self.trigger else {
            return Ok(true);
        };
        self.phase = Phase::Free {
            tag: tag.clone(),
            tail: Vec::new(),
        };
        Ok(false)
    }
}

fn find(text: &[u8], tag: &[u8]) -> Option<usize> {
    text.windows(tag.len().max(1)).position(|part| part == tag)
}

/// The tokens with an end of this tag at their beginning, or all of it within, and something behind
/// it.
fn closing(tag: &[u8], tokenizer: &Tokenizer) -> Arc<[(u32, Vec<u8>)]> {
    let Some(last) = tag.last() else {
        return Arc::new([]);
    };
    let closes = |bytes: &[u8]| {
        let Some((_, before)) = bytes.split_last() else {
            return false;
        };
        let mut ends = (1..tag.len()).filter_map(|at| tag.get(at..));
        before.contains(last)
            && (ends.any(|end| before.starts_with(end)) || find(before, tag).is_some())
    };
    let size = u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
    let bytes = |id| tokenizer.token_bytes(id).filter(|bytes| closes(bytes));
    (0..size)
        .filter_map(|id| Some((id, bytes(id)?.to_vec())))
        .collect()
}

fn fault(error: impl std::fmt::Display) -> EngineError {
    let why = plain(&error.to_string());
    invalid(format!("cannot be followed any further: {why}"))
}

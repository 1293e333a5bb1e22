//! One generation, from the queue to its last token.

use std::time::Instant;

use sterna_kernels::Isa;

use super::Admitted;
use super::ending::{End, Ending};
use super::lookup::Lookup;
use super::pool::Pool;
use super::queue::Rank;
use super::report::{Report, detail};
use super::room::Room;
use super::speculation::{MAX_DRAFT, Trust};
use crate::constraint::Guard;
use crate::error::EngineError;
use crate::kv::BLOCK;
use crate::model::Model;
use crate::request::{Event, Finish, FinishReason, GenerationId, TokenDetail, Usage, clamp_u32};
use crate::sampler::{Likelihood, NotFinite, Sampler, TokenRules, check_finite};
use crate::tokenizer::{StopMatcher, StopStep, TextStream};

/// The state of a generation.
pub(super) struct Sequence {
    pub(super) id: GenerationId,
    /// Cache blocks it may need at most.
    pub(super) kv_blocks: usize,
    /// When it left the queue.
    pub(super) started: Instant,
    /// Cached blocks are shared with those only that have the same.
    pub(super) salt: Vec<u32>,
    /// Those with lower numbers come first.
    priority: i32,
    /// Whose it is.
    pub(super) client: u64,
    /// When it ends, complete or not.
    deadline: Option<Instant>,
    /// The number of those that began before it, once it has begun.
    pub(super) turn: Option<u64>,
    /// As things were when there was no room for it.
    pub(super) no_room: Option<Room>,
    /// The prompt and what was generated.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// Tokens at the end of `tokens` that were chosen elsewhere and not taken for generated yet.
    resumed: usize,
    /// Tokens to be taken in before the next one is chosen: the prompt and what was chosen
    /// elsewhere, and after a pre-emption what was generated before it.
    prefill_len: usize,
    /// Tokens that were given to the model, or whose keys and values were cached.
    fed: usize,
    /// Prompt tokens that were cached.
    cached: usize,
    /// It has given its blocks away, at least once.
    was_preempted: bool,
    max_new: usize,
    sampler: Sampler,
    rules: TokenRules,
    report: Report,
    /// Prompt tokens that were told.
    told: usize,
    show_special: bool,
    ending: Ending,
    /// The grammar that its text follows.
    guard: Option<Guard>,
    text: TextStream,
    stop: StopMatcher,
    /// Where it is to be embedded: the states of its tokens.
    pool: Option<Pool>,
    /// The source of drafts, the next tokens by them, and the rate at which they were right.
    lookup: Lookup,
    draft: Vec<u32>,
    pub(super) trust: Trust,
}

impl Sequence {
    pub(super) fn new(id: GenerationId, admitted: Admitted) -> Self {
        Sequence {
            id,
            kv_blocks: admitted.kv_blocks(),
            started: Instant::now(),
            salt: admitted.salt,
            priority: admitted.priority,
            client: admitted.client,
            deadline: admitted.deadline,
            turn: None,
            no_room: None,
            fed: 0,
            cached: 0,
            was_preempted: false,
            prompt_len: admitted.tokens.len(),
            resumed: admitted.resumed.len(),
            prefill_len: admitted.tokens.len() + admitted.resumed.len(),
            max_new: admitted.max_new,
            sampler: Sampler::new(admitted.sampling, &admitted.tokens),
            rules: admitted.rules,
            report: admitted.report,
            told: 0,
            show_special: admitted.show_special,
            text: TextStream::new(),
            stop: StopMatcher::new(&admitted.stop).including(admitted.ending.include_stop),
            ending: admitted.ending,
            guard: admitted.guard,
            pool: admitted.embed.map(Pool::new),
            tokens: [admitted.tokens, admitted.resumed].concat(),
            lookup: Lookup::default(),
            draft: Vec::new(),
            trust: Trust::new(),
        }
    }

    /// Its place among those that run, or in its line: by when it began, or came.
    pub(super) fn rank(&self) -> Rank {
        Rank {
            priority: self.priority,
            number: self.turn.unwrap_or(self.id.0),
        }
    }

    /// True if its time is over.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The tokens that were not known when it began.
    pub(super) fn to_charge(&self) -> u64 {
        self.generated() as u64
    }

    /// Tokens to be taken in before the next one can be chosen.
    pub(super) fn prefill_left(&self) -> usize {
        self.prefill_len.saturating_sub(self.fed)
    }

    /// Tokens of the prompt and of what was generated.
    pub(super) fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens that were given to the model or were cached.
    pub(super) fn fed(&self) -> usize {
        self.fed
    }

    /// The tokens whose keys and values are written and stay.
    pub(super) fn written(&self) -> &[u32] {
        &self.tokens[..self.fed]
    }

    /// True if what it writes may be of use to others: not so of an embedding that needs the states
    /// of all tokens, since the model makes no others.
    pub(super) fn may_be_kept(&self) -> bool {
        self.pool.as_ref().is_none_or(Pool::wants_the_last_only)
    }

    /// True if cached keys and values of its first tokens can stand for these: nothing else of them
    /// is wanted.
    pub(super) fn may_begin_cached(&self) -> bool {
        !self.scores_prompt() && self.may_be_kept()
    }

    /// The tokens that may be cached; the last one's logits or state are wanted, so that it is
    /// always given to the model.
    pub(super) fn to_attach(&self) -> &[u32] {
        &self.tokens[..self.prefill_len.saturating_sub(1)]
    }

    /// True if all it has written are full blocks.
    pub(super) fn is_at_block(&self) -> bool {
        self.fed.is_multiple_of(BLOCK)
    }

    /// So many positions are cached. Returns how many of them are prompt tokens it is spared.
    pub(super) fn was_cached(&mut self, positions: usize) -> u64 {
        let spared = positions.saturating_sub(self.fed);
        self.fed += spared;
        if self.was_preempted {
            return 0;
        }
        // What was resumed is no part of the prompt.
        let prompt = spared.min(self.prompt_len.saturating_sub(self.cached));
        self.cached += prompt;
        prompt as u64
    }

    /// The block it is to take in next, if it is about to begin with a full one that may be cached.
    pub(super) fn next_block(&self) -> Option<&[u32]> {
        if !self.is_at_block() || !self.may_begin_cached() {
            return None;
        }
        self.to_attach().get(self.fed..self.fed + BLOCK)
    }

    /// True if it is about to write this block of tokens at `position`, or is at it.
    pub(super) fn will_write(&self, position: usize, block: &[u32]) -> bool {
        let tokens = &self.tokens[..self.prefill_len];
        (position..position + BLOCK).contains(&self.fed)
            && tokens.get(position..position + BLOCK) == Some(block)
    }

    /// It gives its blocks away, and takes in anew what it had.
    pub(super) fn preempt(&mut self) {
        self.fed = 0;
        self.prefill_len = self.tokens.len();
        self.was_preempted = true;
        self.draft.clear();
        if let Some(pool) = &mut self.pool {
            pool.begin_again();
        }
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len - self.resumed
    }

    /// Look up what may follow the newest token. Returns how many tokens that is, never so many
    /// that all of them and the one sampled after them would exceed what the sequence may generate.
    pub(super) fn look_up(&mut self) -> usize {
        let left = self.max_new - self.generated();
        let max = MAX_DRAFT.min(left.saturating_sub(1));
        self.draft = self.lookup.draft(&self.tokens, max);
        self.draft.len()
    }

    /// Give the model `prefill` further tokens, or, where all before it are in, the newest token
    /// and the first `drafted` of the draft. `push` gets position, token, and whether the token
    /// after it is to be chosen.
    pub(super) fn feed(
        &mut self,
        prefill: usize,
        drafted: usize,
        mut push: impl FnMut(usize, u32, bool),
    ) {
        if self.prefill_left() > 0 {
            for &token in self.tokens[self.fed..].iter().take(prefill) {
                self.fed += 1;
                let is_last = self.fed == self.prefill_len;
                // Of the next token's place, if that one is to be told and was not yet.
                let is_scored = self.report.prompt_top.is_some()
                    && (self.told.max(1)..self.prompt_len).contains(&self.fed);
                push(
                    self.fed - 1,
                    token,
                    (is_last || is_scored) && self.pool.is_none(),
                );
            }
            return;
        }
        let newest = self.tokens[self.fed..].iter();
        for (at, &token) in newest.chain(&self.draft[..drafted]).enumerate() {
            push(self.fed + at, token, true);
        }
        // The draft's tokens count once they are generated.
        self.fed = self.tokens.len();
    }

    /// The newest token was the draft's `index`-th, if there was one: remembers whether it was
    /// right. Returns that.
    pub(super) fn judge(&mut self, index: usize) -> bool {
        let Some(drafted) = self.draft.get(index) else {
            return false;
        };
        let right = self.tokens.last() == Some(drafted);
        self.trust.update(right);
        right
    }

    /// The step is over: its draft is of no use any more.
    pub(super) fn forget_draft(&mut self) {
        self.draft.clear();
    }

    /// The newest token was fed with the batch that is being read: the next one is chosen from the
    /// next logits.
    pub(super) fn was_fed(&mut self) {
        self.fed = self.tokens.len();
    }

    /// Take in the final state of the token at `position`, if it is to be embedded and that state
    /// counts. The embedding, or a fault, with the last token.
    pub(super) fn pool(
        &mut self,
        position: usize,
        state: impl FnOnce() -> Result<Vec<f32>, EngineError>,
    ) -> Option<Result<Event, EngineError>> {
        let is_last = position + 1 == self.prompt_len;
        let usage = self.usage();
        let pool = self.pool.as_mut()?;
        if pool.wants(position, is_last)
            && let Err(error) = state().map(|state| pool.add(&state))
        {
            return Some(Err(error));
        }
        is_last.then(|| {
            Ok(Event {
                embedding: Some(pool.embedding()?),
                finish: Some(Finish {
                    reason: FinishReason::Stop,
                    usage,
                }),
                ..Event::default()
            })
        })
    }

    /// True if the logits of all of its prompt's tokens are wanted, which were not all there yet.
    pub(super) fn scores_prompt(&self) -> bool {
        self.report.prompt_top.is_some() && self.told < self.prompt_len
    }

    /// How many of these rows of logits are places of the prompt.
    pub(super) fn prompt_rows(&self, rows: usize) -> usize {
        match self.report.prompt_top {
            // Nothing precedes the first token.
            Some(_) => rows.min(self.prompt_len.saturating_sub(self.told.max(1))),
            None => 0,
        }
    }

    /// Tell the prompt's next tokens by the logits of their places.
    pub(super) fn score_prompt<'a>(
        &mut self,
        isa: Isa,
        model: &Model,
        rows: impl Iterator<Item = &'a mut [f32]>,
        scratch: &mut Vec<f32>,
    ) -> Result<Event, EngineError> {
        let tokenizer = &model.tokenizer;
        let top = self.report.prompt_top.unwrap_or(0);
        let mut prompt = Vec::new();
        if self.told == 0 {
            prompt.extend(
                self.tokens
                    .first()
                    .map(|&token| detail(tokenizer, token, None)),
            );
            self.told = 1;
        }
        for logits in rows {
            let likelihood = Likelihood::new(isa, logits, scratch).map_err(damaged)?;
            let token = self.tokens[self.told];
            prompt.push(detail(tokenizer, token, Some((&likelihood, top))));
            self.told += 1;
        }
        Ok(Event {
            prompt,
            ..Event::default()
        })
    }

    /// The prompt's tokens that are to be told and were not yet.
    fn rest_of_prompt(&mut self, model: &Model) -> Vec<TokenDetail> {
        if !self.report.tells_prompt() {
            return Vec::new();
        }
        let rest = self.tokens[self.told.min(self.prompt_len)..self.prompt_len].iter();
        self.told = self.prompt_len;
        rest.map(|&token| detail(&model.tokenizer, token, None))
            .collect()
    }

    /// Choose the next token from its logits, and say what it adds to the completion.
    pub(super) fn next(
        &mut self,
        isa: Isa,
        model: &Model,
        logits: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> Result<Event, EngineError> {
        let prompt = self.rest_of_prompt(model);
        if self.max_new == 0 {
            let (reason, usage) = (FinishReason::Length, self.usage());
            return Ok(Event {
                finish: Some(Finish { reason, usage }),
                prompt,
                ..Event::default()
            });
        }
        let (token, details) = self.choose(isa, model, logits, scratch)?;
        self.tokens.push(token);
        self.tell(model, token, details, prompt)
    }

    /// Take the next token that was chosen elsewhere for generated, and say what it adds to the
    /// completion; `None` where there is none.
    pub(super) fn next_resumed(&mut self, model: &Model) -> Option<Result<Event, EngineError>> {
        let at = self.tokens.len().checked_sub(self.resumed)?;
        let token = *self.tokens.get(at)?;
        self.resumed -= 1;
        self.sampler.resume(token);
        let prompt = self.rest_of_prompt(model);
        Some(self.tell(model, token, Vec::new(), prompt))
    }

    /// What the newest generated token adds to the completion.
    fn tell(
        &mut self,
        model: &Model,
        token: u32,
        details: Vec<TokenDetail>,
        prompt: Vec<TokenDetail>,
    ) -> Result<Event, EngineError> {
        let end = self.ending.of(token);
        let is_full = self.generated() == self.max_new;
        let tokenizer = &model.tokenizer;
        let is_complete = match &mut self.guard {
            Some(guard) if end.is_none() => guard.take(tokenizer, token)?,
            _ => false,
        };
        let mut shown = StopStep::default();
        // An end-of-sequence token has no text of its own, whatever its type.
        let is_silent = end == Some(End::Silent);
        if self.show_special && !is_silent && tokenizer.is_special(token) {
            let name = tokenizer.token_bytes(token).unwrap_or_default();
            let piece = self.text.push_bytes(name);
            shown.then(self.stop_in(piece));
        } else if is_silent || tokenizer.is_special(token) {
            if is_silent {
                let rest = self.text.finish();
                shown.then(self.stop_in(rest));
            }
            if self.may_stop() {
                let name = tokenizer.token_bytes(token).unwrap_or_default();
                shown.then(self.stop.push_hidden(&String::from_utf8_lossy(name)));
            }
        } else {
            let piece = self.text.push(tokenizer, token);
            shown.then(self.stop_in(piece));
        }
        if end.is_some() || is_full || is_complete {
            let rest = self.text.finish();
            shown.then(self.stop_in(rest));
            shown.text += &self.stop.finish();
        }
        let StopStep { text, stopped } = shown;
        let reason = if end.is_some() || stopped || is_complete {
            Some(FinishReason::Stop)
        } else {
            is_full.then_some(FinishReason::Length)
        };
        let finish = reason.map(|reason| Finish {
            reason,
            usage: self.usage(),
        });
        Ok(Event {
            text,
            tokens: vec![token],
            finish,
            details,
            prompt,
            embedding: None,
        })
    }

    /// The next token, and what is to be told of it.
    fn choose(
        &mut self,
        isa: Isa,
        model: &Model,
        logits: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> Result<(u32, Vec<TokenDetail>), EngineError> {
        // Of the logits as the model has them, which the rules and the sampler overwrite.
        let original = self.report.generated.map(|_| logits.to_vec());
        // Before rules, which would hide a number that is none.
        check_finite(logits).map_err(damaged)?;
        self.rules.apply(logits, &self.tokens[self.prompt_len..]);
        let banned = self.ending.banned(self.generated());
        let mask = match &mut self.guard {
            Some(guard) => guard.mask(self.ending.ends(), banned)?,
            None => None,
        };
        let token = match &mask {
            Some(mask) => {
                let restrict = |logits: &mut [f32]| mask.apply(logits);
                let token = self.sampler.sample_within(isa, logits, restrict);
                mask.check(token.map_err(damaged)?)?
            }
            None => self
                .sampler
                .sample_without(isa, logits, banned)
                .map_err(damaged)?,
        };
        let mut details = Vec::new();
        if let (Some(logits), Some(top)) = (original, self.report.generated) {
            let likelihood = Likelihood::new(isa, &logits, scratch).map_err(damaged)?;
            details.push(detail(&model.tokenizer, token, Some((&likelihood, top))));
        }
        Ok((token, details))
    }

    /// True if enough tokens are there for a stop text to end it.
    fn may_stop(&self) -> bool {
        self.generated() > self.ending.min_new
    }

    /// The newest token's text, as far as it can be shown: nothing stops it before the fewest
    /// tokens are there.
    fn stop_in(&mut self, piece: String) -> StopStep {
        if !self.may_stop() {
            return StopStep {
                text: piece,
                stopped: false,
            };
        }
        self.stop.push(&piece)
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: clamp_u32(self.prompt_len),
            completion_tokens: clamp_u32(self.generated()),
            cached_tokens: clamp_u32(self.cached),
        }
    }
}

fn damaged(error: NotFinite) -> EngineError {
    EngineError::Internal(error.to_string())
}

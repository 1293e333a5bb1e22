//! Checks a baked engine's answers against the request. Its strings reach logs, metrics and
//! clients, and its events wait in memory for slow ones: so both have limits that no engine of ours
//! comes near.

use std::collections::HashMap;

use anyhow::{bail, ensure};
use sterna_engine::error::EngineError;
use sterna_engine::request::{
    CallForm, Event, GenerationId, ModelInfo, Request, Tags, TokenDetail,
};

/// Bytes of a name: a model's, an architecture's.
const NAME_BYTES: usize = 256;
/// Numbers of an embedding that are believed of a model.
const MOST_NUMBERS: u32 = 1 << 20;
/// Positions that are believed of a model.
const MOST_POSITIONS: u32 = 1 << 22;
/// Bytes of a token's text, on average over a generation. The longest tokens in use are lines of
/// 128 blanks.
const TOKEN_BYTES: usize = 4096;
/// Events of a generation besides one for each token.
const MORE_EVENTS: usize = 8;
/// Bytes of an error's text.
const ERROR_BYTES: usize = 4096;

/// The facts about a model, if they can be shown.
///
/// # Errors
/// A name is too long or not text, or a size makes no sense.
pub(super) fn checked_info(info: ModelInfo) -> anyhow::Result<ModelInfo> {
    let names = [
        ("id", &info.id),
        ("architecture", &info.architecture),
        ("head type", &info.head_type),
        ("type of keys and values", &info.kv_type),
        ("instruction set", &info.isa),
        ("fingerprint", &info.fingerprint),
    ];
    let call_tags = match &info.call_form {
        Some(CallForm::Tagged(tags)) => Some(tags),
        Some(CallForm::Bare) | None => None,
    };
    let all_tags: Vec<&Tags> = info.reasoning_tags.iter().chain(call_tags).collect();
    let tags = all_tags
        .iter()
        .flat_map(|tags| [("tag", &tags.begin), ("tag", &tags.end)]);
    for (what, name) in names.into_iter().chain(tags) {
        ensure!(
            name.len() <= NAME_BYTES && !name.chars().any(char::is_control),
            "the baked engine gives its model's {what} in {} bytes, or with control characters; {NAME_BYTES} bytes of text at most are \
             taken",
            name.len()
        );
    }
    ensure!(
        all_tags
            .iter()
            .all(|tags| !tags.begin.is_empty() && !tags.end.is_empty()),
        "the baked engine gives its model a tag without text, which would be found everywhere"
    );
    ensure!(
        (1..=MOST_POSITIONS).contains(&info.context_length),
        "the baked engine says that its model's context has {} positions; 1 to {MOST_POSITIONS} are taken",
        info.context_length
    );
    ensure!(
        info.embedding_size <= MOST_NUMBERS,
        "the baked engine says that its embeddings have {} numbers; {MOST_NUMBERS} at most are taken",
        info.embedding_size
    );
    Ok(info)
}

/// An engine's error, cut where it is longer than anybody reads.
pub(super) fn short(error: EngineError) -> EngineError {
    let cut = |mut text: String| {
        text.truncate(text.floor_char_boundary(ERROR_BYTES));
        text
    };
    match error {
        EngineError::InvalidRequest { field, message } => EngineError::InvalidRequest {
            field: cut(field),
            message: cut(message),
        },
        EngineError::Unavailable(reason) => EngineError::Unavailable(cut(reason)),
        EngineError::Internal(reason) => EngineError::Internal(cut(reason)),
        other => other,
    }
}

/// The tokens and events that each open generation may still produce.
#[derive(Debug, Default)]
pub(super) struct Allowances(HashMap<GenerationId, Allowance>);

/// What a generation was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// Tokens at most.
    pub(super) tokens: u32,
    /// Numbers of an embedding; 0 where none is.
    pub(super) embedding: u32,
    /// Details of so many prompt tokens at most.
    pub(super) prompt: u32,
    /// Details of each generated token.
    pub(super) details: bool,
    /// Candidates of each detail at most.
    pub(super) top: u32,
}

impl Asked {
    /// By this request, for a model with these facts.
    pub(super) fn of(request: &Request, info: &ModelInfo) -> Self {
        if request.embed {
            let embedding = info.embedding_size;
            return Asked {
                embedding,
                ..Asked::default()
            };
        }
        let context = info.context_length;
        let tells_prompt = request.echo || request.prompt_logprobs.is_some();
        let top = request.logprobs.max(request.prompt_logprobs);
        Asked {
            tokens: request.max_tokens.unwrap_or(context).min(context),
            embedding: 0,
            // It has no more tokens than there are positions.
            prompt: if tells_prompt { context } else { 0 },
            details: request.logprobs.is_some(),
            top: top.unwrap_or(0),
        }
    }
}

#[derive(Debug)]
struct Allowance {
    tokens: usize,
    events: usize,
    text_bytes: usize,
    /// Details of prompt tokens.
    prompt: usize,
    asked: Asked,
}

impl Allowances {
    /// A generation begins that was asked for this.
    ///
    /// # Errors
    /// There is one of that number.
    pub(super) fn begin(&mut self, id: GenerationId, asked: Asked) -> anyhow::Result<()> {
        let tokens = asked.tokens.min(MOST_POSITIONS) as usize;
        let prompt = asked.prompt.min(MOST_POSITIONS) as usize;
        let allowance = Allowance {
            tokens,
            events: tokens + prompt + MORE_EVENTS,
            text_bytes: (tokens + MORE_EVENTS).saturating_mul(TOKEN_BYTES),
            prompt,
            asked,
        };
        ensure!(
            self.0.insert(id, allowance).is_none(),
            "the engine gave the number {} to two generations",
            id.0
        );
        Ok(())
    }

    /// It is over.
    pub(super) fn end(&mut self, id: GenerationId) {
        self.0.remove(&id);
    }

    /// An event has come. Whether anybody waits for it.
    ///
    /// # Errors
    /// It is more than was asked for.
    pub(super) fn take(
        &mut self,
        id: GenerationId,
        event: &Result<Event, EngineError>,
    ) -> anyhow::Result<bool> {
        let Some(left) = self.0.get_mut(&id) else {
            return Ok(false);
        };
        let Ok(event) = event else {
            self.end(id);
            return Ok(true);
        };
        let after = |left: usize, taken: usize| left.checked_sub(taken);
        let (Some(tokens), Some(events), Some(text_bytes), Some(prompt)) = (
            after(left.tokens, event.tokens.len()),
            after(left.events, 1),
            after(left.text_bytes, event.text.len()),
            after(left.prompt, event.prompt.len()),
        ) else {
            bail!("the engine brought more than a generation asked for");
        };
        let numbers = event.embedding.as_ref().map_or(0, Vec::len);
        let ends_with = if event.finish.is_some() {
            left.asked.embedding as usize
        } else {
            0
        };
        ensure!(
            numbers == ends_with,
            "the engine brought an embedding of {numbers} numbers in the place of {ends_with}"
        );
        ensure!(
            event.embedding.iter().flatten().all(|v| v.is_finite()),
            "the engine brought an embedding that is not finite"
        );
        let details = if left.asked.details {
            event.tokens.len()
        } else {
            0
        };
        ensure!(
            event.details.len() == details,
            "the engine brought details of {} tokens in the place of {details}",
            event.details.len()
        );
        let mut told = event.details.iter().chain(&event.prompt);
        ensure!(
            told.all(|detail| is_sound(detail, left.asked.top)),
            "the engine brought a token's details that cannot be"
        );
        *left = Allowance {
            tokens,
            events,
            text_bytes,
            prompt,
            asked: left.asked,
        };
        if event.finish.is_some() {
            self.end(id);
        }
        Ok(true)
    }
}

/// True if a token's details are as many as were asked for, short, and numbers.
fn is_sound(detail: &TokenDetail, top: u32) -> bool {
    let sound = |bytes: &[u8], logprob: f32| bytes.len() <= TOKEN_BYTES && logprob.is_finite();
    detail.top.len() <= top as usize
        && sound(&detail.bytes, detail.logprob.unwrap_or(0.0))
        && detail.top.iter().all(|one| sound(&one.bytes, one.logprob))
}

#[cfg(test)]
mod tests {
    use sterna_engine::request::{Candidate, Finish, FinishReason, Usage};

    use super::*;

    fn event(text: &str, tokens: usize) -> Result<Event, EngineError> {
        Ok(Event {
            text: text.to_owned(),
            tokens: vec![1; tokens],
            ..Event::default()
        })
    }

    fn tokens(tokens: u32) -> Asked {
        Asked {
            tokens,
            ..Asked::default()
        }
    }

    #[test]
    fn details_are_those_that_were_asked_for() {
        let id = GenerationId(7);
        let detail = |top: usize, logprob: f32, bytes: usize| TokenDetail {
            token: 1,
            bytes: vec![b'a'; bytes],
            special: false,
            logprob: Some(logprob),
            rank: 1,
            top: vec![
                Candidate {
                    token: 1,
                    bytes: vec![b'a'; bytes],
                    logprob,
                };
                top
            ],
        };
        let takes = |details: Vec<TokenDetail>, prompt: Vec<TokenDetail>| {
            let mut open = Allowances::default();
            let asked = Asked {
                prompt: 2,
                details: true,
                top: 3,
                ..tokens(1)
            };
            open.begin(id, asked).unwrap();
            let event = Event {
                details,
                prompt,
                ..event("", 1).unwrap()
            };
            open.take(id, &Ok(event)).is_ok()
        };
        let good = || detail(3, -1.0, 8);
        assert!(takes(vec![good()], vec![good(); 2]));
        assert!(!takes(vec![], vec![]), "none of a token");
        assert!(!takes(vec![good(); 2], vec![]), "more than tokens");
        assert!(
            !takes(vec![good()], vec![good(); 3]),
            "more than the prompt has"
        );
        for odd in [
            detail(4, -1.0, 8),
            detail(3, f32::NAN, 8),
            detail(1, -1.0, TOKEN_BYTES + 1),
        ] {
            assert!(!takes(vec![odd.clone()], vec![]));
            assert!(!takes(vec![good()], vec![odd]));
        }
        let mut open = Allowances::default();
        open.begin(id, tokens(1)).unwrap();
        let unasked = Event {
            details: vec![detail(0, -1.0, 1)],
            ..event("", 1).unwrap()
        };
        assert!(open.take(id, &Ok(unasked)).is_err());
    }

    #[test]
    fn a_generation_brings_what_was_asked_for_and_no_more() {
        let id = GenerationId(7);
        let mut open = Allowances::default();
        assert!(!open.take(id, &event("a", 1)).unwrap(), "nobody waits");
        open.begin(id, tokens(2)).unwrap();
        assert!(open.begin(id, tokens(2)).is_err(), "twice the same");
        for _ in 0..2 {
            assert!(open.take(id, &event("a", 1)).unwrap());
        }
        assert!(open.take(id, &event("a", 1)).is_err(), "a third token");
        // Events without a token come to an end too.
        let more = (0..100).take_while(|_| open.take(id, &event("", 0)).is_ok());
        assert_eq!(more.count(), MORE_EVENTS);
        open.end(id);
        open.begin(id, tokens(1)).unwrap();
        let long = "a".repeat(20 * TOKEN_BYTES);
        assert!(open.take(id, &event(&long, 1)).is_err(), "long text");
        let fault = Err(EngineError::Internal(String::new()));
        assert!(open.take(id, &fault).unwrap());
        assert!(!open.take(id, &fault).unwrap(), "it is over");
    }

    #[test]
    fn an_embedding_has_its_size_and_comes_where_it_was_asked_for() {
        let id = GenerationId(7);
        let embedding = |embedding| Asked {
            embedding,
            ..Asked::default()
        };
        let embedded = |numbers: usize| {
            let finish = Some(Finish {
                reason: FinishReason::Stop,
                usage: Usage::default(),
            });
            Ok(Event {
                finish,
                embedding: Some(vec![0.5; numbers]),
                ..Event::default()
            })
        };
        for (asked, brought, is_right) in
            [(3, 3, true), (3, 2, false), (3, 4, false), (0, 3, false)]
        {
            let mut open = Allowances::default();
            open.begin(id, embedding(asked)).unwrap();
            assert_eq!(
                open.take(id, &embedded(brought)).is_ok(),
                is_right,
                "{asked} {brought}"
            );
        }
        let mut open = Allowances::default();
        open.begin(id, embedding(3)).unwrap();
        let none = Event {
            embedding: None,
            ..embedded(3).unwrap()
        };
        assert!(open.take(id, &Ok(none)).is_err(), "none at all");
        for odd in [f32::NAN, f32::INFINITY] {
            let mut open = Allowances::default();
            open.begin(id, embedding(3)).unwrap();
            let event = Event {
                embedding: Some(vec![0.5, odd, 0.5]),
                ..embedded(3).unwrap()
            };
            assert!(open.take(id, &Ok(event)).is_err(), "{odd}");
        }
    }

    #[test]
    fn names_and_tags_can_be_shown() {
        let tags = |begin: &str| {
            let (begin, end) = (begin.to_owned(), "</a>".to_owned());
            Some(Tags { begin, end })
        };
        let checked = |architecture: &str, tags: Option<Tags>| {
            checked_info(ModelInfo {
                id: "m".into(),
                created: 0,
                architecture: architecture.into(),
                context_length: 8,
                vocab_size: 1,
                parameters: 1,
                head_type: "f16".into(),
                kv_type: "f32".into(),
                isa: "simd128".into(),
                max_sequences: 1,
                embedding_size: 4,
                generates: true,
                reasoning_tags: None,
                call_form: tags.map(CallForm::Tagged),
                fingerprint: String::new(),
            })
        };
        assert!(checked("bitnet", tags("<a>")).is_ok());
        assert!(checked("bitnet", None).is_ok());
        let long = "a".repeat(NAME_BYTES + 1);
        for (architecture, tag) in [("b\n", "<a>"), (&long, "<a>"), ("b", ""), ("b", &long)] {
            assert!(checked(architecture, tags(tag)).is_err(), "{tag:?}");
        }
    }

    #[test]
    fn errors_are_cut_between_characters() {
        let long = "\u{e9}".repeat(ERROR_BYTES);
        let EngineError::Internal(text) = short(EngineError::Internal(format!("a{long}"))) else {
            panic!("another error");
        };
        assert!((ERROR_BYTES - 1..=ERROR_BYTES).contains(&text.len()));
    }
}

//! An engine for tests, which plays a script and remembers what it was asked, and plain settings.

use crate::engine::{
    Candidate, Conversation, ConversationEnd, Engine, Error, Event, Finish, FinishReason,
    Generation, ListedModel, ModelInfo, ModelState, Prompt, Request, TokenDetail, Usage,
};
use crate::{now, settings::Settings, stream::EventStream};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
};

/// The operator's settings with every default.
pub(crate) fn settings() -> Settings {
    Settings {
        api_keys: Vec::new(),
        default_max_tokens: None,
        max_tokens: None,
        max_prompt_tokens: None,
        max_messages: 4096,
        max_body_bytes: 4 << 20,
        model_alias: None,
        cors_origin: None,
        allowed_hosts: Vec::new(),
        request_timeout_ms: None,
        resume_keys: Vec::new(),
    }
}

/// Everything a stream sends.
pub(crate) fn all<E: Engine>(mut events: EventStream<E>) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| now(events.next())).collect()
}

/// A piece of text.
pub(crate) fn text(text: &str) -> Result<Event, Error> {
    Ok(Event {
        text: text.into(),
        tokens: vec![1],
        finish: None,
        details: Vec::new(),
        prompt: Vec::new(),
        embedding: None,
    })
}

/// The last piece, after 3 prompt tokens (1 of them cached) and 2 others.
pub(crate) fn end(text: &str) -> Result<Event, Error> {
    let usage = Usage {
        prompt_tokens: 3,
        completion_tokens: 2,
        cached_tokens: 1,
    };
    let finish = Some(Finish {
        reason: FinishReason::Length,
        usage,
    });
    Ok(Event {
        text: text.into(),
        tokens: vec![2],
        finish,
        details: Vec::new(),
        prompt: Vec::new(),
        embedding: None,
    })
}

/// A token's details: the logarithm of its probability is minus its id, and so are those of the `n`
/// most likely ones, which are numbered from 1.
pub(crate) fn detail(token: u32, bytes: &[u8], n: Option<u32>) -> TokenDetail {
    let candidate = |token: u32| Candidate {
        token,
        bytes: format!("t{token}").into_bytes(),
        logprob: -(token as f32),
    };
    TokenDetail {
        token,
        bytes: bytes.to_vec(),
        special: false,
        logprob: n.map(|_| -(token as f32)),
        rank: n.map_or(0, |_| token),
        top: (1..=n.unwrap_or(0)).map(candidate).collect(),
    }
}

/// The events with what the request asks to be told of tokens. The prompt has the tokens 7 ("<s>",
/// special), 8 and 9, whose text is "Hi éyou", with half of the é in each.
fn detailed(mut events: Vec<Result<Event, Error>>, request: &Request) -> Vec<Result<Event, Error>> {
    for event in events.iter_mut().flatten() {
        let [token, ..] = event.tokens[..] else {
            continue;
        };
        if request.logprobs.is_some() {
            event.details = vec![detail(token, event.text.as_bytes(), request.logprobs)];
        }
        if request.max_tokens == Some(0) {
            (event.text, event.tokens, event.details) = Default::default();
        }
    }
    if request.max_tokens == Some(0) {
        events.drain(..events.len().saturating_sub(1));
    }
    if request.echo || request.prompt_logprobs.is_some() {
        let top = request.prompt_logprobs;
        let special = TokenDetail {
            special: true,
            ..detail(7, b"<s>", None)
        };
        // In events of their own, as an engine sends them.
        let told = [
            special,
            detail(8, b"Hi \xc3", top),
            detail(9, b"\xa9you", top),
        ];
        for told in told.into_iter().rev() {
            let event = Event {
                text: String::new(),
                tokens: Vec::new(),
                finish: None,
                details: Vec::new(),
                prompt: vec![told],
                embedding: None,
            };
            events.insert(0, Ok(event));
        }
    }
    events
}

/// The embedding of a prompt: one of its own for each text's length and each list of ids.
pub(crate) fn vector(prompt: &Prompt) -> Vec<f32> {
    let first = match prompt {
        Prompt::Text(text) => text.len() as f32,
        Prompt::Tokens(ids) => ids.iter().sum::<u32>() as f32,
        Prompt::Messages(_) => 0.0,
    };
    let length = (first * first + 5.0).sqrt();
    vec![first / length, 1.0 / length, 0.0, 2.0 / length]
}

/// The only event of a prompt that is embedded.
fn embedded(prompt: &Prompt) -> Event {
    let usage = Usage {
        prompt_tokens: 3,
        completion_tokens: 0,
        cached_tokens: 0,
    };
    Event {
        text: String::new(),
        tokens: Vec::new(),
        finish: Some(Finish {
            reason: FinishReason::Stop,
            usage,
        }),
        details: Vec::new(),
        prompt: Vec::new(),
        embedding: Some(vector(prompt)),
    }
}

/// The token of byte 0.
pub(crate) const FIRST_BYTE: u32 = 10;

/// A generation that plays its events.
#[derive(Debug)]
pub(crate) struct Script {
    events: VecDeque<Result<Event, Error>>,
    alive: Rc<()>,
    reasons: bool,
}

impl Script {
    pub(crate) fn new(events: Vec<Result<Event, Error>>) -> Self {
        Script {
            events: events.into(),
            alive: Rc::new(()),
            reasons: false,
        }
    }

    /// Tells whether this generation still exists.
    pub(crate) fn alive(&self) -> Weak<()> {
        Rc::downgrade(&self.alive)
    }
}

impl Generation for Script {
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        self.events.pop_front().transpose()
    }

    fn prompt_tokens(&self) -> u32 {
        3
    }

    fn reasons(&self) -> bool {
        self.reasons
    }
}

/// An engine with one model, `org/demo`, that answers every request by the same script or error.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedEngine {
    pub(crate) answer: Result<Vec<Result<Event, Error>>, Error>,
    pub(crate) models: Vec<ModelInfo>,
    /// How often it is asked for a model before that is loaded, by then.
    pub(crate) loads: Rc<Cell<usize>>,
    /// Why it cannot be loaded.
    pub(crate) load_fault: Option<Error>,
    pub(crate) asked: Rc<RefCell<Vec<Request>>>,
    /// Generations it has a place for; what exceeds it is refused as one too many.
    pub(crate) places: usize,
    /// Of these, how many others have; each pause gives one back.
    pub(crate) taken: Rc<Cell<usize>>,
    /// Whether its answers begin within the model's reasoning.
    pub(crate) reasons: bool,
    /// One for each generation that was made.
    pub(crate) made: Rc<RefCell<Vec<Weak<()>>>>,
    /// Its clock.
    pub(crate) now_ms: Rc<Cell<u64>>,
}

impl ScriptedEngine {
    pub(crate) fn new(answer: Result<Vec<Result<Event, Error>>, Error>) -> Self {
        let demo = ModelInfo {
            id: "org/demo".into(),
            created: 1_700_000_000,
            architecture: "bitnet-b1.58".into(),
            context_length: 512,
            vocab_size: 4096,
            parameters: 5_800_000,
            head_type: "f16".into(),
            kv_type: "f16".into(),
            isa: "scalar".into(),
            max_sequences: 4,
            embedding_size: 4,
            generates: true,
            reasoning_tags: None,
            call_form: None,
            fingerprint: "f00d".into(),
        };
        ScriptedEngine {
            answer,
            models: vec![demo],
            loads: Rc::default(),
            load_fault: None,
            asked: Rc::default(),
            places: usize::MAX,
            taken: Rc::default(),
            reasons: false,
            made: Rc::default(),
            now_ms: Rc::default(),
        }
    }
}

impl ScriptedEngine {
    fn check(&self, model: &str) -> Result<(), Error> {
        if self.models.iter().any(|known| known.id == model) {
            Ok(())
        } else {
            Err(Error::UnknownModel(model.to_owned()))
        }
    }

    /// Generations that exist.
    pub(crate) fn alive(&self) -> usize {
        let made = self.made.borrow();
        made.iter().filter(|made| made.strong_count() > 0).count()
    }
}

impl Engine for ScriptedEngine {
    type Generation = Script;

    fn models(&self) -> Vec<ListedModel> {
        let loading = self.loads.get() > 0;
        let listed = |info: &ModelInfo| ListedModel {
            id: info.id.clone(),
            alias_of: None,
            created: info.created,
            state: if loading {
                ModelState::Loading
            } else {
                ModelState::Loaded
            },
            info: (!loading).then(|| info.clone()),
        };
        self.models.iter().map(listed).collect()
    }

    fn model(&self, name: Option<&str>, _wait_ms: u32) -> Result<Option<ModelInfo>, Error> {
        let mut models = self.models.iter();
        let found = match name {
            Some(name) => models.find(|known| known.id == name),
            None => models.next(),
        };
        let found = found.ok_or_else(|| match name {
            Some(name) => Error::UnknownModel(name.to_owned()),
            None => Error::Unavailable("no model is loaded".into()),
        })?;
        if let Some(left) = self.loads.get().checked_sub(1) {
            self.loads.set(left);
            return Ok(None);
        }
        match &self.load_fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(Some(found.clone())),
        }
    }

    fn generate(&self, request: &Request) -> Result<Script, Error> {
        self.asked.borrow_mut().push(request.clone());
        self.check(&request.model)?;
        if self.alive() + self.taken.get() >= self.places {
            return Err(Error::Overloaded(1000));
        }
        let answer = self.answer.clone()?;
        let answer = if request.embed {
            vec![Ok(embedded(&request.prompt))]
        } else {
            answer
        };
        let answer = detailed(answer, request);
        let mut script = Script::new(answer);
        script.reasons = self.reasons;
        self.made.borrow_mut().push(script.alive());
        Ok(script)
    }

    /// A token for each byte, its number above [`FIRST_BYTE`]; a special one before them.
    fn tokenize(&self, model: &str, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        self.check(model)?;
        let special = add_special.then_some(1);
        let bytes = text.bytes().map(|byte| FIRST_BYTE + u32::from(byte));
        Ok(special.into_iter().chain(bytes).collect())
    }

    fn detokenize(&self, model: &str, tokens: &[u32]) -> Result<String, Error> {
        self.check(model)?;
        let bytes = tokens.iter().filter_map(|id| id.checked_sub(FIRST_BYTE));
        let bytes: Vec<u8> = bytes.map(|byte| byte as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A line for each turn.
    fn apply_template(&self, model: &str, conversation: &Conversation) -> Result<String, Error> {
        self.check(model)?;
        let turns = conversation.messages.iter();
        let turns = turns.map(|turn| format!("{}: {}\n", turn.role, turn.content));
        let given = [&conversation.tools, &conversation.template_kwargs];
        let given = given.into_iter().flatten().cloned();
        let end = match conversation.end {
            ConversationEnd::AnswerOpening => "",
            ConversationEnd::Closed => "closed",
            ConversationEnd::LastTurnOpen => "open",
        };
        Ok(given.chain(turns).chain([end.to_owned()]).collect())
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    async fn pause(&self) {
        self.taken.set(self.taken.get().saturating_sub(1));
    }
}

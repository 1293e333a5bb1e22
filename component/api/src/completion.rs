//! A completion, from the body of its request to a reply: whole, or as events.

use crate::{
    answer::{Answer, Stamp},
    body::{self, Source},
    call_grammar::{Calls, Demand},
    choices::{Asked, Choices, Form},
    chosen::{Chosen, PATIENCE_MS},
    collected,
    engine::{
        CallForm, Constraint, Conversation, ConversationEnd, Engine, ModelInfo, Prompt, Request,
        Sampling, plain_request,
    },
    error::ApiError,
    fields::Object,
    http::Head,
    kind::Kind,
    known::{self, Place},
    logprobs::Shown,
    messages,
    params::{self, Params, biases},
    parts::Marks,
    prompt,
    raw::Raw,
    reply::Reply,
    resume::{self, Begun, Marker},
    settings::Settings,
    stream::{Chunks, EventStream, Teller},
    structured::{self, Structured},
    thinking::{self, Reasoning},
    tools,
};

/// Answer a request of this kind.
pub async fn complete<E: Engine>(
    engine: &E,
    settings: &Settings,
    kind: Kind,
    head: &Head,
    body: &mut impl Source,
    stamp: Stamp,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let begun = resume::begin(settings, head, kind.prompt_field(), &bytes, stamp, false)?;
    let stamp = begun.stamp;
    let asked = understand(kind, settings, bytes)?;
    let usage = asked.params.usage;
    let shown = shown(&asked.params);
    let answer = |model| Answer::new(kind, stamp, model, usage).showing(shown);
    let timings = asked.params.timings;
    let chunks = |model| Box::new(Chunks::new(answer(model)).timed(timings)) as _;
    run(engine, settings, kind, asked, begun, chunks).await
}

/// A request that was understood.
#[derive(Debug)]
pub struct Understood {
    /// All but its prompts.
    pub params: Params,
    prompts: Vec<Prompt>,
    wishes: Wishes,
    structured: Option<Structured>,
    /// Texts at which it stops, of which the answer tells in the place of showing them.
    pub told_stops: Vec<String>,
}

impl Understood {
    /// Have errors of the grammar, which may come within a stream, name its field as `own` does.
    pub fn name_grammar(&mut self, own: impl FnOnce(&str) -> String) {
        if let Some(structured) = &mut self.structured {
            structured.field = own(&structured.field);
        }
    }
}

/// Have the engine generate, and tell it by the teller that `teller` makes for the model's name.
pub async fn run<E: Engine>(
    engine: &E,
    settings: &Settings,
    kind: Kind,
    asked: Understood,
    begun: Begun,
    teller: impl FnOnce(String) -> Box<dyn Teller>,
) -> Result<Reply<E>, ApiError> {
    let Params {
        stream, n, best_of, ..
    } = asked.params;
    let name = asked.params.model.clone();
    // Who says how long it waits is to learn by the status that it waited in vain.
    let most_ms = asked.params.treatment.timeout_ms;
    let has_deadline = most_ms.is_some() || engine.has_deadline();
    let chosen = if stream && !has_deadline {
        Chosen::within(engine, settings, name.clone(), PATIENCE_MS)?
    } else {
        Some(Chosen::in_time(engine, settings, name.clone(), most_ms)?)
    };
    let Some(Chosen { info, named }) = chosen else {
        // Its model is being loaded: the answer begins, so that it can be kept alive.
        let teller = teller(settings.answer_name(engine, name.clone(), ""));
        let settings = settings.clone();
        let start = move |engine: &E| {
            let chosen = Chosen::wait(engine, &settings, name)?;
            asked.start(engine, &settings, kind, &chosen.info, begun)
        };
        let events = EventStream::later(teller, engine.clone(), start);
        return Ok(Reply::events(events));
    };
    let (mut choices, marker) = asked.start(engine, settings, kind, &info, begun)?;
    let mut teller = teller(named);
    if stream {
        if has_deadline {
            choices.await_first().await?;
        }
        return Ok(Reply::events(EventStream::new(teller, choices, marker)));
    }
    let (finished, usage) = collected::all(choices).await?;
    let finished = collected::best(finished, n, best_of);
    Ok(Reply::json(200, teller.whole(&finished, usage)))
}

impl Understood {
    /// Have the engine generate with this model.
    fn start<E: Engine>(
        self,
        engine: &E,
        settings: &Settings,
        kind: Kind,
        info: &ModelInfo,
        begun: Begun,
    ) -> Result<(Choices<E>, Option<Marker>), ApiError> {
        let Understood {
            params,
            prompts,
            wishes,
            structured,
            told_stops,
        } = self;
        let tokens = params.tokens;
        let form = Form {
            echo: tokens.echo,
            told_stops,
            ..wishes.form(info)
        };
        let is_bare = form.marks.calls == Some(CallForm::Bare);
        let logit_bias = biases(tokens.logit_bias, |text, field| {
            let named = |error| ApiError::from_engine(error, field);
            engine.tokenize(&info.id, text, false).map_err(named)
        })?;
        // The best are found by their tokens' probabilities.
        let ranks = params.best_of > params.n;
        // Drawn here rather than in the engine, so that a stream that breaks off can name it.
        let stamp = begun.stamp;
        let drawn = stamp.seed();
        let begun = if params.stream {
            begun.marker(info)?
        } else {
            None
        };
        let (marker, resumed) = begun.unzip();
        let call_form = info.call_form.as_ref();
        let (constraint, grammar_field) = constraint(structured, wishes.held, call_form, kind)?;
        let asked = Asked {
            kind,
            per_prompt: params.best_of,
            prompts,
            seed: params.sampling.seed.unwrap_or(drawn),
            same_seed: params.sampling.seed.is_some(),
            form,
            grammar_field,
            clock: stamp.clock,
            resumed: resumed.unwrap_or_default(),
            template: Request {
                max_tokens: params.max_tokens,
                stop: params.stop,
                stop_tokens: params.stop_tokens,
                include_stop: params.include_stop,
                min_tokens: params.min_tokens,
                ignore_eos: params.ignore_eos,
                logit_bias,
                allowed_tokens: tokens.allowed,
                bad_words: tokens.bad_words,
                logprobs: tokens.logprobs.or(ranks.then_some(0)),
                echo: tokens.echo || tokens.ids,
                prompt_logprobs: tokens
                    .prompt_logprobs
                    .or(tokens.logprobs.filter(|_| tokens.echo)),
                // The tag before a call is the name of a special token.
                show_special: tokens.show_special || is_bare,
                truncate_prompt: tokens.truncate_prompt,
                constraint,
                sampling: Sampling {
                    seed: None,
                    ..params.sampling
                },
                cache_salt: params.treatment.cache_salt,
                priority: params.treatment.priority,
                timeout_ms: params.treatment.timeout_ms,
                ..plain_request(info.id.clone())
            },
        };
        let choices = Choices::start(engine.clone(), settings, info.max_sequences, asked)?;
        Ok((choices, marker))
    }
}

/// The grammar that answers are held to, and the field that asks for it.
fn constraint(
    structured: Option<Structured>,
    mut held: Calls,
    call_form: Option<&CallForm>,
    kind: Kind,
) -> Result<(Option<Constraint>, Option<String>), ApiError> {
    match structured {
        Some(wanted) if held.demand == Demand::Calls => {
            let why = format!(
                "it asks for calls, but '{}' for another form; send one of them",
                wanted.field
            );
            Err(ApiError::invalid_value("tool_choice".into(), &why))
        }
        Some(wanted) => {
            let own = wanted.constraint(kind == Kind::Chat);
            let call_form = call_form.filter(|_| !held.functions.is_empty());
            held.answer = call_form.is_some().then(|| own.grammar.clone());
            // Functions that may be called are not given up for it.
            let either = held.constraint(call_form)?;
            Ok((Some(either.unwrap_or(own)), Some(wanted.field)))
        }
        None => {
            let held = held.constraint(call_form)?;
            let field = held.as_ref().map(|_| Calls::FIELD.to_owned());
            Ok((held, field))
        }
    }
}

/// What the answer to a request tells of its tokens.
fn shown(params: &Params) -> Shown {
    let tokens = &params.tokens;
    Shown {
        logprobs: tokens.logprobs.is_some(),
        prompt_logprobs: tokens.prompt_logprobs.is_some(),
        echo: tokens.echo,
        ids: tokens.ids,
        named_by_id: tokens.named_by_id,
        special: tokens.show_special,
    }
}

/// The request in the body. Its bytes and values, which may be megabytes, are gone before the
/// answer begins.
pub fn understand(kind: Kind, settings: &Settings, bytes: Vec<u8>) -> Result<Understood, ApiError> {
    let body = body::parse(&bytes)?;
    let body = Object::top(&body)?;
    let place = match kind {
        Kind::Chat => Place::Chat,
        Kind::Text => Place::Text,
    };
    known::check(&body, place)?;
    let params = params::parse(kind, &body, settings)?;
    // It was parsed, so it is text.
    let raw = Raw::new(std::str::from_utf8(&bytes).unwrap_or_default());
    let structured = structured::read(&body, raw)?;
    let (prompts, wishes) = match kind {
        Kind::Chat => {
            let (conversation, wishes) = chat(&body, settings, &bytes)?;
            (vec![Prompt::Messages(conversation)], wishes)
        }
        Kind::Text => {
            let prompts = prompt::read(&body, "prompt", prompt::MAX_PROMPTS)?;
            check_total(&body, prompts.len(), params.best_of)?;
            (prompts, Wishes::TEXT)
        }
    };
    Ok(Understood {
        params,
        prompts,
        wishes,
        structured,
        told_stops: Vec::new(),
    })
}

/// Choices of all prompts together at most.
const MAX_TOTAL: u32 = 1024;

fn check_total(body: &Object<'_>, prompts: usize, per_prompt: u32) -> Result<(), ApiError> {
    let total = u32::try_from(prompts).unwrap_or(u32::MAX);
    let total = total.saturating_mul(per_prompt);
    if total <= MAX_TOTAL {
        return Ok(());
    }
    let why = format!(
        "{prompts} prompts with {per_prompt} choices each are {total}, at most {MAX_TOTAL} are \
         generated; send fewer prompts at a time"
    );
    Err(ApiError::invalid_value(body.path("prompt"), &why))
}

/// What a request wants to be told apart in its answer.
#[derive(Debug)]
pub struct Wishes {
    reasoning: Reasoning,
    calls: bool,
    one_call: bool,
    /// What calls are held to.
    held: Calls,
}

impl Wishes {
    /// A completion is the model's text as it comes.
    const TEXT: Wishes = Wishes {
        reasoning: Reasoning::Inline,
        calls: false,
        one_call: false,
        held: Calls {
            demand: Demand::Free,
            functions: Vec::new(),
            one: false,
            answer: None,
        },
    };

    /// How this model does it.
    fn form(&self, model: &ModelInfo) -> Form {
        let inline = self.reasoning == Reasoning::Inline;
        Form {
            marks: Marks {
                // What the model only thinks of calling is not called, wherever it is told.
                reasoning: (model.reasoning_tags.clone()).filter(|_| !inline || self.calls),
                inline,
                calls: model.call_form.clone().filter(|_| self.calls),
                names: self.held.names(),
            },
            hides_reasoning: self.reasoning == Reasoning::Hidden,
            one_call: self.one_call,
            echo: false,
            told_stops: Vec::new(),
        }
    }
}

/// The conversation of a chat, and what its template is told besides.
///
/// # Errors
/// A field that cannot be read.
pub fn chat(
    body: &Object<'_>,
    settings: &Settings,
    bytes: &[u8],
) -> Result<(Conversation, Wishes), ApiError> {
    // It was parsed, so it is text.
    let raw = Raw::new(std::str::from_utf8(bytes).unwrap_or_default());
    let messages = messages::chat(body, raw, settings.max_messages)?;
    let tools = tools::tools(body, raw)?;
    let wishes = Wishes {
        reasoning: thinking::reasoning(body)?,
        calls: tools.json.is_some(),
        one_call: tools.one_call,
        held: tools.calls,
    };
    let conversation = Conversation {
        messages,
        tools: tools.json,
        template_kwargs: thinking::template_kwargs(body, raw)?,
        end: conversation_end(body)?,
    };
    Ok((conversation, wishes))
}

/// What follows the last message: `add_generation_prompt`, and `continue_final_message`, which is
/// its contrary.
fn conversation_end(body: &Object<'_>) -> Result<ConversationEnd, ApiError> {
    let continues = body.flag("continue_final_message")?;
    let adds = body.flag("add_generation_prompt")?;
    let says_adds = body.get("add_generation_prompt").is_some();
    match (continues, says_adds, adds) {
        (true, true, true) => Err(ApiError::invalid_value(
            body.path("continue_final_message"),
            "it is not possible together with 'add_generation_prompt': true",
        )),
        (true, ..) => Ok(ConversationEnd::LastTurnOpen),
        (false, true, false) => Ok(ConversationEnd::Closed),
        (false, ..) => Ok(ConversationEnd::AnswerOpening),
    }
}

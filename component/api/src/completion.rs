//! A completion, from the body of its request to a reply: whole, or as events.

use crate::{
    answer::{Answer, Finished, Stamp},
    body::{self, Source},
    choices::{Asked, Choices, Form},
    engine::{
        Conversation, ConversationEnd, Engine, ModelInfo, Prompt, Request, Sampling, Tags,
        plain_request,
    },
    error::ApiError,
    fields::Object,
    http::Head,
    kind::Kind,
    known::{self, Place},
    messages,
    params::{self, Params},
    parts::{Marks, Thought},
    prompt,
    raw::Raw,
    reply::Reply,
    settings::Settings,
    stream::{Chunks, EventStream, Teller},
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
    let asked = understand(kind, settings, bytes)?;
    let usage = asked.params.usage;
    let chunks = |model| Box::new(Chunks::new(Answer::new(kind, stamp, model, usage))) as _;
    run(engine, settings, kind, asked, stamp, chunks).await
}

/// A request that was understood.
#[derive(Debug)]
pub struct Understood {
    /// All but its prompts.
    pub params: Params,
    prompts: Vec<Prompt>,
    wishes: Wishes,
}

/// Have the engine generate, and tell it by the teller that `teller` makes for the model's name.
pub async fn run<E: Engine>(
    engine: &E,
    settings: &Settings,
    kind: Kind,
    asked: Understood,
    stamp: Stamp,
    teller: impl FnOnce(String) -> Box<dyn Teller>,
) -> Result<Reply<E>, ApiError> {
    let Understood {
        params,
        prompts,
        wishes,
    } = asked;
    let model = settings.choose(params.model, engine.models())?;
    let info = model.info.as_ref();
    let at_once = info.map_or(1, |info| info.max_sequences);
    let form = info.map_or_else(Form::default, |info| wishes.form(info));
    // Drawn here rather than in the engine, so that a stream that breaks off can name it. 53 bits:
    // JSON's numbers are doubles to many clients.
    let drawn = (stamp.id >> 75) as u64;
    let asked = Asked {
        kind,
        prompts,
        seed: params.sampling.seed.unwrap_or(drawn),
        same_seed: params.sampling.seed.is_some(),
        form,
        template: Request {
            max_tokens: params.max_tokens,
            stop: params.stop,
            stop_tokens: params.stop_tokens,
            include_stop: params.include_stop,
            min_tokens: params.min_tokens,
            ignore_eos: params.ignore_eos,
            sampling: Sampling {
                seed: None,
                ..params.sampling
            },
            ..plain_request(model.id)
        },
    };
    let choices = Choices::start(engine.clone(), settings, at_once, asked)?;
    let mut teller = teller(model.named);
    if params.stream {
        return Ok(Reply::events(EventStream::new(teller, choices)));
    }
    Ok(Reply::json(200, collect(choices, &mut *teller).await?))
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
    let params = params::parse(&body, settings)?;
    let (prompts, wishes) = match kind {
        Kind::Chat => {
            let (conversation, wishes) = chat(&body, settings, &bytes)?;
            (vec![Prompt::Messages(conversation)], wishes)
        }
        Kind::Text => {
            let prompts = prompt::read(&body, "prompt", prompt::MAX_PROMPTS)?;
            (prompts, Wishes::TEXT)
        }
    };
    Ok(Understood {
        params,
        prompts,
        wishes,
    })
}

/// What a request wants to be told apart in its answer.
#[derive(Debug)]
pub struct Wishes {
    reasoning: Reasoning,
    calls: bool,
    one_call: bool,
}

impl Wishes {
    /// A completion is the model's text as it comes.
    const TEXT: Wishes = Wishes {
        reasoning: Reasoning::Inline,
        calls: false,
        one_call: false,
    };

    /// How this model does it.
    fn form(&self, model: &ModelInfo) -> Form {
        let tags = |is: bool, tags: &Option<Tags>| if is { tags.clone() } else { None };
        let inline = self.reasoning == Reasoning::Inline;
        Form {
            marks: Marks {
                // What the model only thinks of calling is not called, wherever it is told.
                reasoning: tags(!inline || self.calls, &model.reasoning_tags),
                inline,
                calls: tags(self.calls, &model.tool_call_tags),
            },
            hides_reasoning: self.reasoning == Reasoning::Hidden,
            one_call: self.one_call,
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
    };
    let conversation = Conversation {
        messages,
        tools: tools.json,
        template_kwargs: thinking::template_kwargs(body, raw)?,
        end: ConversationEnd::AnswerOpening,
    };
    Ok((conversation, wishes))
}

/// The whole answer, once it is there.
async fn collect<E: Engine>(
    mut choices: Choices<E>,
    teller: &mut dyn Teller,
) -> Result<Vec<u8>, ApiError> {
    let mut finished = Vec::new();
    let mut parts = Vec::new();
    let mut thought = Thought::default();
    while let Some(piece) = choices.next().await? {
        thought.count(&piece.parts, piece.tokens);
        parts.extend(piece.parts);
        if let Some(end) = piece.end {
            let reasoning_tokens = std::mem::take(&mut thought).tokens();
            finished.push(Finished {
                reasoning_tokens,
                ..Finished::new(std::mem::take(&mut parts), end)
            });
        }
    }
    Ok(teller.whole(&finished, choices.usage()))
}

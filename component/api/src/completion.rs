//! A completion, from the body of its request to a reply: whole, or as events.

use crate::{
    answer::{Answer, Finished, Stamp},
    body::{self, Source},
    choices::{Asked, Choices},
    engine::{Engine, Prompt, Request, Sampling},
    error::ApiError,
    fields::Object,
    http::Head,
    kind::Kind,
    known::{self, Place},
    messages,
    params::{self, Params},
    prompt,
    reply::Reply,
    settings::Settings,
    stream::EventStream,
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
    let (params, prompts) = understand(kind, settings, bytes)?;
    let models = engine.models();
    let unavailable = || ApiError::unavailable("no model is loaded");
    let model = settings
        .resolve(params.model.as_deref(), &models)
        .ok_or_else(unavailable)?;
    let asked_one = models.iter().find(|info| info.id == model);
    let at_once = asked_one.map_or(1, |info| info.max_sequences);
    // The answer bears the name it was asked by, or the first of the list.
    let named = params.model.or_else(|| {
        settings
            .listed(models)
            .into_iter()
            .next()
            .map(|model| model.id)
    });
    let answer = Answer::new(
        kind,
        stamp,
        named.unwrap_or_else(|| model.clone()),
        params.usage,
    );
    // Drawn here rather than in the engine, so that a stream that breaks off can name it. 53 bits:
    // JSON's numbers are doubles to many clients.
    let drawn = (stamp.id >> 75) as u64;
    let asked = Asked {
        kind,
        prompts,
        seed: params.sampling.seed.unwrap_or(drawn),
        same_seed: params.sampling.seed.is_some(),
        template: Request {
            model,
            prompt: Prompt::Tokens(Vec::new()),
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
        },
    };
    let choices = Choices::start(engine.clone(), settings, at_once, asked)?;
    if params.stream {
        return Ok(Reply::events(EventStream::new(answer, choices)));
    }
    Ok(Reply::json(200, collect(choices, &answer).await?))
}

/// The request in the body. Its bytes and values, which may be megabytes, are gone before the
/// answer begins.
fn understand(
    kind: Kind,
    settings: &Settings,
    bytes: Vec<u8>,
) -> Result<(Params, Vec<Prompt>), ApiError> {
    let body = body::parse(&bytes)?;
    drop(bytes);
    let body = Object::top(&body)?;
    let place = match kind {
        Kind::Chat => Place::Chat,
        Kind::Text => Place::Text,
    };
    known::check(&body, place)?;
    let params = params::parse(&body, settings)?;
    let prompts = match kind {
        Kind::Chat => vec![messages::chat(&body, settings.max_messages)?],
        Kind::Text => prompt::text(&body)?,
    };
    Ok((params, prompts))
}

/// The whole answer, once it is there.
async fn collect<E: Engine>(mut choices: Choices<E>, answer: &Answer) -> Result<Vec<u8>, ApiError> {
    let mut finished = Vec::new();
    let mut text = String::new();
    while let Some(piece) = choices.next().await? {
        text.push_str(&piece.event.text);
        if let Some(finish) = piece.event.finish {
            finished.push(Finished {
                text: std::mem::take(&mut text),
                reason: finish.reason,
            });
        }
    }
    Ok(answer.whole(&finished, choices.usage()))
}

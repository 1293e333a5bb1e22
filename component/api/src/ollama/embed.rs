//! `/api/embed`, and `/api/embeddings`, its older form for one text: OpenAI's embeddings by other
//! names.

use super::bare;
use crate::{
    body::{self, Source},
    embeddings::{self, Asked, Embedded},
    engine::{Engine, Prompt},
    error::ApiError,
    fields::Object,
    http::Head,
    json::{Written, array},
    known::{self, Place},
    reply::Reply,
    settings::Settings,
    translated,
};

/// Answer `/api/embed`.
pub(super) async fn several<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let asked = translated::read(&bytes, |body: &Object<'_>, _| {
        known::check(body, Place::OllamaEmbed)?;
        let dimensions = body.integer("dimensions", 1..=i64::from(u32::MAX))?;
        // The range is u32's, so nothing is cut off.
        let dimensions = dimensions.map(|n| n as u32);
        let inputs = crate::prompt::read(body, "input", embeddings::MAX_INPUTS)?;
        Ok(Asked::floats(model(body)?, inputs, dimensions))
    })?;
    drop(bytes);
    let (model, embedded) = embeddings::run(engine, settings, asked).await?;
    let Embedded {
        vectors,
        prompt_tokens,
    } = embedded;
    let vectors: Vec<String> = vectors.iter().map(|it| it.get().to_owned()).collect();
    let document = Written::new()
        .with("model", &model)
        .with_raw("embeddings", &array(&vectors))
        .with("prompt_eval_count", &prompt_tokens);
    Ok(Reply::json(200, document.text().into_bytes()))
}

/// Answer `/api/embeddings`.
pub(super) async fn one<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let asked = translated::read(&bytes, |body: &Object<'_>, _| {
        known::check(body, Place::OllamaEmbedOne)?;
        let text = body.string("prompt")?;
        let text = text.ok_or_else(|| ApiError::missing(body.path("prompt")))?;
        let inputs = vec![Prompt::Text(text.to_owned())];
        Ok(Asked::floats(model(body)?, inputs, None))
    })?;
    drop(bytes);
    let mut names = translated::Names::default();
    names.add("input", "prompt");
    let run = embeddings::run(engine, settings, asked).await;
    let (_, embedded) = run.map_err(|error| names.rename(error))?;
    let vector = embedded.vectors.first().map_or("[]", |vector| vector.get());
    let document = Written::new().with_raw("embedding", vector);
    Ok(Reply::json(200, document.text().into_bytes()))
}

fn model(body: &Object<'_>) -> Result<Option<String>, ApiError> {
    let name = body.string("model")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::missing(body.path("model")))?;
    Ok(Some(bare(name).to_owned()))
}

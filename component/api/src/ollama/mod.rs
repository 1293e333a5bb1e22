//! `/api/...`: Ollama's API. Chats and prompts are said as requests of OpenAI's completion routes
//! (`request.rs`) and told as lines of JSON (`lines.rs`); the facts of models are in `facts.rs`,
//! embeddings in `embed.rs`.

mod embed;
mod facts;
mod lines;
mod request;

use crate::{
    answer::Stamp,
    body::{self, Source},
    chosen::{self, Chosen},
    engine::Engine,
    error::ApiError,
    fields::Object,
    http::Head,
    raw::Raw,
    reply::Reply,
    resume,
    settings::Settings,
    translated::{self, Translated},
};
use lines::Lines;
pub use request::Kind;

/// A resource of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/api/version`
    Version,
    /// `/api/tags`
    Tags,
    /// `/api/ps`
    Running,
    /// `/api/show`
    Show,
    /// `/api/chat` or `/api/generate`
    Answer(Kind),
    /// `/api/embed`
    Embed,
    /// `/api/embeddings`, its older form
    EmbedOne,
}

impl Asked {
    /// True if it is asked with a body.
    pub fn posts(self) -> bool {
        !matches!(self, Asked::Version | Asked::Tags | Asked::Running)
    }
}

/// Answer a request of this API.
pub async fn answer<E: Engine>(
    engine: &E,
    settings: &Settings,
    asked: Asked,
    head: &Head,
    body: &mut impl Source,
    stamp: Stamp,
) -> Result<Reply<E>, ApiError> {
    let models = || settings.listed(engine.models());
    match asked {
        Asked::Version => Ok(Reply::json(200, facts::version())),
        Asked::Tags => Ok(Reply::json(200, facts::tags(&models()))),
        Asked::Running => Ok(Reply::json(200, facts::running(&models()))),
        Asked::Show => {
            let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
            let name = facts::asked(&bytes)?;
            let models = models();
            match models.iter().find(|model| model.id == bare(&name)) {
                Some(model) => Ok(Reply::json(200, facts::show(model))),
                None => Err(chosen::unknown(engine, settings, &name)),
            }
        }
        Asked::Answer(kind) => generate(engine, settings, kind, head, body, stamp).await,
        Asked::Embed => embed::several(engine, settings, head, body).await,
        Asked::EmbedOne => embed::one(engine, settings, head, body).await,
    }
}

async fn generate<E: Engine>(
    engine: &E,
    settings: &Settings,
    kind: Kind,
    head: &Head,
    body: &mut impl Source,
    stamp: Stamp,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let route = match kind {
        Kind::Chat => "ollama chat",
        Kind::Prompt => "ollama generate",
    };
    let begun = resume::begin(settings, head, route, &bytes, stamp, true)?;
    let stamp = begun.stamp;
    let said = translated::read(&bytes, |body: &Object<'_>, raw: Raw<'_>| {
        request::translate(kind, body, raw, engine, settings)
    })?;
    drop(bytes);
    let Some(said) = said.generate else {
        // Nothing to answer: a client sees to it that the model is loaded.
        let model = Chosen::wait(engine, settings, said.model)?;
        let lines = Lines::new(kind, stamp, model.named);
        return Ok(Reply::json(200, lines.loaded()));
    };
    let translated = Translated {
        kind: said.kind,
        body: said.body,
        names: said.names,
        told_stops: Vec::new(),
        teller: Box::new(move |model| Box::new(Lines::new(kind, stamp, model))),
    };
    translated::run(engine, settings, begun, translated).await
}

/// A model's name without the tag that Ollama's clients put behind it.
fn bare(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

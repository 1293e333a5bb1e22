//! `/completion` and `/props`, as llama.cpp's server has them. A completion is said as a request of
//! `/v1/completions` (`request.rs`) and told in that server's form (`teller.rs`); its prompt may
//! have more shapes (`prompts.rs`).

mod prompts;
mod props;
mod request;
mod teller;

use crate::{
    answer::Stamp,
    body::{self, Source},
    completion,
    engine::Engine,
    error::ApiError,
    http::Head,
    kind::Kind,
    reply::Reply,
    resume::Begun,
    settings::Settings,
    translated,
};
pub use prompts::plain;
use teller::Documents;

/// A resource of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/completion`
    Completion,
    /// `/props`
    Props,
}

impl Asked {
    /// True if it is asked with a body.
    pub fn posts(self) -> bool {
        self == Asked::Completion
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
    if asked == Asked::Props {
        let models = settings.listed(engine.models());
        return Ok(Reply::json(200, props::document(&models)?));
    }
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let said = translated::read(&bytes, |body, raw| {
        request::translate(engine, settings, body, raw)
    })?;
    // It may be megabytes, and its translation takes its place.
    drop(bytes);
    let names = said.names;
    let body = said.body.text().into_bytes();
    let asked = completion::understand(Kind::Text, settings, body);
    let mut asked = asked.map_err(|error| names.rename(error))?;
    asked.name_grammar(|field| names.own(field));
    let documents = Documents::new(said.told, &asked.params, stamp);
    let teller = |model| Box::new(documents.of(model)) as _;
    completion::run(
        engine,
        settings,
        Kind::Text,
        asked,
        Begun::plain(stamp),
        teller,
    )
    .await
    .map_err(|error| names.rename(error))
}

//! Requests of other APIs, said as requests of OpenAI's completion routes: there is one path from a
//! request to the engine, and what other APIs have is written as what that path reads. Their
//! answers are told by tellers of their own (`stream/`).

pub mod turns;

use crate::{
    answer::Stamp,
    body::{self, Source},
    completion,
    engine::Engine,
    error::ApiError,
    fields::Object,
    http::Head,
    json::Written,
    kind::Kind,
    raw::Raw,
    reply::Reply,
    resume::{self, Begun},
    settings::Settings,
    stream::Teller,
};

/// A request of another API, translated.
pub struct Translated {
    /// The route that it is said for.
    pub kind: Kind,
    /// The body for that route.
    pub body: Written,
    /// What the fields of that body were called.
    pub names: Names,
    /// Texts at which it stops, of which the answer tells in the place of showing them.
    pub told_stops: Vec<String>,
    /// Makes the teller, for the name of the model that answers.
    pub teller: Box<dyn FnOnce(String) -> Box<dyn Teller>>,
}

/// Answer a request to `route` that `translate` reads: from its body, that body's text, and the
/// identity of the answer.
pub async fn complete<E: Engine>(
    engine: &E,
    settings: &Settings,
    (head, route): (&Head, &str),
    body: &mut impl Source,
    stamp: Stamp,
    translate: impl FnOnce(&Object<'_>, Raw<'_>, Stamp) -> Result<Translated, ApiError>,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let begun = resume::begin(settings, head, route, &bytes, stamp, false)?;
    let translated = read(&bytes, |body, raw| translate(body, raw, begun.stamp))?;
    // It may be megabytes, and its translation takes its place.
    drop(bytes);
    run(engine, settings, begun, translated).await
}

/// Answer a translated request.
pub async fn run<E: Engine>(
    engine: &E,
    settings: &Settings,
    begun: Begun,
    translated: Translated,
) -> Result<Reply<E>, ApiError> {
    let Translated {
        kind,
        body,
        names,
        told_stops,
        teller,
    } = translated;
    let body = body.text().into_bytes();
    let mut asked =
        completion::understand(kind, settings, body).map_err(|error| names.rename(error))?;
    asked.told_stops = told_stops;
    asked.name_grammar(|field| names.own(field));
    completion::run(engine, settings, kind, asked, begun, teller)
        .await
        .map_err(|error| names.rename(error))
}

/// Have `read` read a body.
pub fn read<T>(
    bytes: &[u8],
    read: impl FnOnce(&Object<'_>, Raw<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let value = body::parse(bytes)?;
    // It was parsed, so it is text.
    let raw = Raw::new(std::str::from_utf8(bytes).unwrap_or_default());
    read(&Object::top(&value)?, raw)
}

/// What the fields of a translated body were called in the request.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<(String, String)>);

impl Names {
    /// The field `said`, and all below it, is the request's field `own`.
    pub fn add(&mut self, said: impl Into<String>, own: impl Into<String>) {
        self.0.push((said.into(), own.into()));
    }

    /// The request's name of a field.
    #[must_use]
    pub fn own(&self, said: &str) -> String {
        let fits = |(name, own): &(String, String)| {
            let rest = said.strip_prefix(name.as_str())?;
            let whole = rest.is_empty() || rest.starts_with(['.', '[']);
            whole.then(|| (name.len(), format!("{own}{rest}")))
        };
        let best = self.0.iter().filter_map(fits).max_by_key(|(n, _)| *n);
        best.map_or_else(|| said.to_owned(), |(_, named)| named)
    }

    /// An error that names the request's field.
    #[must_use]
    pub fn rename(&self, mut error: ApiError) -> ApiError {
        let Some(param) = error.param.take() else {
            return error;
        };
        let named = self.own(&param);
        error.message = error
            .message
            .replace(&format!("'{param}'"), &format!("'{named}'"));
        error.param = Some(named);
        error
    }
}

/// Put a field of the request, as it was written, into the body under the name `said`.
#[must_use]
pub fn copy(
    body: Written,
    names: &mut Names,
    (object, raw): (&Object<'_>, Raw<'_>),
    own: &str,
    said: &str,
) -> Written {
    let value = object.get(own).and_then(|_| raw.field(own));
    match value {
        Some(value) => {
            names.add(said, object.path(own));
            body.with_raw(said, value.text())
        }
        None => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_bear_the_names_of_the_request() {
        let mut names = Names::default();
        names.add("max_tokens", "max_output_tokens");
        names.add("messages", "input");
        names.add("messages[1]", "input[0]");
        names.add("messages[1].tool_calls[0].function", "input[1]");
        for (said, own) in [
            ("max_tokens", "max_output_tokens"),
            ("max_tokens_x", "max_tokens_x"),
            ("messages", "input"),
            ("messages[10].role", "input[10].role"),
            ("messages[1].content", "input[0].content"),
            ("messages[1].tool_calls[0].function.name", "input[1].name"),
            ("top_p", "top_p"),
        ] {
            let error = ApiError::invalid_type(said.into(), "a string", &json!(1));
            let renamed = names.rename(error);
            assert_eq!(renamed.param.as_deref(), Some(own));
            assert!(
                renamed.message.contains(&format!("'{own}'")),
                "{}",
                renamed.message
            );
        }
        let other = ApiError::unavailable("it rains");
        assert_eq!(names.rename(other.clone()), other);
    }
}

//! `/api/chat` and `/api/generate`, said as a chat, or with `raw` as a completion.

use serde_json::Value;

use super::bare;
use crate::{
    chosen::Chosen,
    engine::Engine,
    error::ApiError,
    fields::Object,
    json::{Written, array},
    kind,
    known::{self, Place},
    raw::Raw,
    settings::Settings,
    translated::{Names, copy},
};

/// Which of the two is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/api/chat`
    Chat,
    /// `/api/generate`
    Prompt,
}

/// A request, translated.
pub(super) struct Said {
    pub(super) model: Option<String>,
    /// Absent where there is nothing to answer.
    pub(super) generate: Option<Generate>,
}

pub(super) struct Generate {
    pub(super) kind: kind::Kind,
    pub(super) body: Written,
    pub(super) names: Names,
}

pub(super) fn translate<E: Engine>(
    kind: Kind,
    body: &Object<'_>,
    raw: Raw<'_>,
    engine: &E,
    settings: &Settings,
) -> Result<Said, ApiError> {
    let place = match kind {
        Kind::Chat => Place::OllamaChat,
        Kind::Prompt => Place::OllamaGenerate,
    };
    known::check(body, place)?;
    let name = body.string("model")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::missing(body.path("model")))?;
    let model = Some(bare(name).to_owned());
    let mut names = Names::default();
    let prompt = match kind {
        Kind::Chat => messages(body, raw)?,
        Kind::Prompt => prompt(body, &mut names)?,
    };
    let Some((said, route)) = prompt else {
        return Ok(Said {
            model,
            generate: None,
        });
    };
    let stream = body.get("stream").is_none() || body.flag("stream")?;
    let mut said = said.with("model", &model).with("stream", &stream);
    if route == kind::Kind::Chat {
        said = copy(said, &mut names, (body, raw), "think", "think");
        said = copy(said, &mut names, (body, raw), "tools", "tools");
    }
    said = format(said, body, raw, &mut names)?;
    if let (Some(options), Some(raw)) = (body.object("options")?, raw.field("options")) {
        known::check(&options, Place::OllamaOptions)?;
        for (name, value) in options.present() {
            match name {
                "num_ctx" => context(value, &options, model.clone(), engine, settings)?,
                _ if known::is_honoured(Place::OllamaOptions, name) => {
                    said = copy(said, &mut names, (&options, raw), name, name);
                }
                _ => {}
            }
        }
    }
    Ok(Said {
        model,
        generate: Some(Generate {
            kind: route,
            body: said,
            names,
        }),
    })
}

type Prompt = Option<(Written, kind::Kind)>;

/// `messages` as a chat has them: their reasoning, calls and tools' names go by other names here.
fn messages(body: &Object<'_>, raw: Raw<'_>) -> Result<Prompt, ApiError> {
    let Some(messages) = body.objects("messages", raw, "an array of messages")? else {
        return Ok(None);
    };
    let mut said = Vec::new();
    for message in messages {
        let (message, raw) = message?;
        known::check(&message, Place::OllamaMessage)?;
        let mut one = Written::new();
        for (own, name) in [
            ("role", "role"),
            ("content", "content"),
            ("thinking", "reasoning_content"),
            ("tool_name", "name"),
            ("tool_call_id", "tool_call_id"),
        ] {
            if let Some(value) = message.get(own).and_then(|_| raw.field(own)) {
                one = one.with_raw(name, value.text());
            }
        }
        if let Some(calls) = calls(&message, raw)? {
            one = one.with_raw("tool_calls", &calls);
        }
        said.push(one.text());
    }
    // An empty list asks for nothing.
    Ok((!said.is_empty()).then(|| {
        let said = Written::new().with_raw("messages", &array(&said));
        (said, kind::Kind::Chat)
    }))
}

fn calls(message: &Object<'_>, raw: Raw<'_>) -> Result<Option<String>, ApiError> {
    let Some(calls) = message.objects("tool_calls", raw, "an array of calls")? else {
        return Ok(None);
    };
    let mut said = Vec::new();
    for call in calls {
        let (call, raw) = call?;
        known::check(&call, Place::OllamaCall)?;
        let function = call.object("function")?;
        let function = function.ok_or_else(|| ApiError::missing(call.path("function")))?;
        known::check(&function, Place::OllamaFunction)?;
        let raw = raw.field("function");
        let mut written = Written::new();
        for name in ["name", "arguments"] {
            let value = function.get(name).and_then(|_| raw?.field(name));
            if let Some(value) = value {
                written = written.with_raw(name, value.text());
            }
        }
        let one = Written::new().with_some("id", call.string("id")?.as_ref());
        said.push(one.with_raw("function", &written.text()).text());
    }
    Ok(Some(array(&said)))
}

/// `prompt` as the one message of a user, or with `raw` as it is.
fn prompt(body: &Object<'_>, names: &mut Names) -> Result<Prompt, ApiError> {
    let text = body.string("prompt")?.unwrap_or_default();
    let system = body.string("system")?.filter(|text| !text.is_empty());
    if text.is_empty() {
        return Ok(None);
    }
    if body.flag("raw")? {
        if system.is_some() {
            let why = "with 'raw' the prompt is used as it is; write it there";
            return Err(ApiError::invalid_value(body.path("system"), why));
        }
        if body.get("think").is_some() {
            let why = "with 'raw' the prompt's text decides whether the model reasons";
            return Err(ApiError::invalid_value(body.path("think"), why));
        }
        let said = Written::new().with("prompt", &text);
        return Ok(Some((said, kind::Kind::Text)));
    }
    let turn = |role: &str, text: &str| {
        let turn = Written::new().with("role", &role);
        turn.with("content", &text).text()
    };
    let mut turns: Vec<String> = system
        .map(|text| turn("system", text))
        .into_iter()
        .collect();
    names.add(format!("messages[{}]", turns.len()), "prompt");
    names.add("messages", "prompt");
    turns.push(turn("user", text));
    let said = Written::new().with_raw("messages", &array(&turns));
    Ok(Some((said, kind::Kind::Chat)))
}

/// `"json"`, or a schema.
fn format(
    said: Written,
    body: &Object<'_>,
    raw: Raw<'_>,
    names: &mut Names,
) -> Result<Written, ApiError> {
    let path = body.path("format");
    match body.get("format") {
        None => Ok(said),
        Some(Value::String(name)) if name.is_empty() => Ok(said),
        Some(Value::String(name)) if name == "json" => {
            names.add("response_format", path);
            Ok(said.with_raw("response_format", r#"{"type":"json_object"}"#))
        }
        Some(Value::Object(_)) => {
            names.add("response_format.json_schema.schema", path.clone());
            names.add("response_format", path);
            let schema = raw.field("format").map_or("{}", Raw::text);
            let schema = Written::new()
                .with("name", &"answer")
                .with_raw("schema", schema)
                .with("strict", &true);
            let format = Written::new()
                .with("type", &"json_schema")
                .with_raw("json_schema", &schema.text());
            Ok(said.with_raw("response_format", &format.text()))
        }
        Some(other) => {
            let expected = "\"json\" or a JSON schema";
            Err(ApiError::invalid_type(path, expected, other))
        }
    }
}

/// A context that is asked for has to be there; that there is more changes no answer.
fn context<E: Engine>(
    asked: &Value,
    options: &Object<'_>,
    model: Option<String>,
    engine: &E,
    settings: &Settings,
) -> Result<(), ApiError> {
    options.integer("num_ctx", 0..=i64::from(u32::MAX))?;
    let most = Chosen::wait(engine, settings, model)?.info.context_length;
    if asked.as_u64() <= Some(u64::from(most)) {
        return Ok(());
    }
    let why =
        format!("the context has {most} positions; it is set when the server starts (--context)");
    Err(ApiError::invalid_value(options.path("num_ctx"), &why))
}

//! `/v1/responses`: OpenAI's Responses API without its state. A request is said as a chat; its
//! items are in `input.rs`, the answer's documents and events in `answer.rs` and `events.rs`.

mod answer;
mod events;
mod input;
mod namespaces;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    answer::Stamp,
    body::{self, Source},
    engine::Engine,
    error::ApiError,
    fields::Object,
    http::Head,
    json::{Written, array, on_one_line},
    kind::Kind,
    known::{self, Place},
    raw::Raw,
    reply::Reply,
    settings::Settings,
    tokens,
    translated::{self, Names, Translated, copy},
};
use answer::Document;
use events::Events;
use namespaces::{Spaces, joined};

/// Answer a request.
pub async fn respond<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
    stamp: Stamp,
) -> Result<Reply<E>, ApiError> {
    let head = (head, "responses");
    translated::complete(engine, settings, head, body, stamp, translate).await
}

/// Tell the tokens of a request's prompt.
pub async fn count<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
    stamp: Stamp,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let said = translated::read(&bytes, |body, raw| translate(body, raw, stamp))?;
    drop(bytes);
    let body = said.body.text().into_bytes();
    let count = tokens::of_chat(engine, settings, &body);
    let count = count.map_err(|error| said.names.rename(error))?;
    Ok(Reply::json(200, tokens::counted(count)))
}

/// Fields that a chat has by the same name.
const SAME: [&str; 15] = [
    "model",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "stream",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "cache_salt",
    "priority",
    "timeout",
];

fn translate(body: &Object<'_>, raw: Raw<'_>, stamp: Stamp) -> Result<Translated, ApiError> {
    known::check(body, Place::Responses)?;
    let top_logprobs = body.integer("top_logprobs", 0..=20)?;
    let shows_logprobs = includes(body)? || top_logprobs > Some(0);
    let (messages, mut names) = input::messages(body, raw)?;
    let mut said = Written::new().with_raw("messages", &messages);
    drop(messages);
    for name in SAME {
        said = copy(said, &mut names, (body, raw), name, name);
    }
    said = copy(
        said,
        &mut names,
        (body, raw),
        "max_output_tokens",
        "max_tokens",
    );
    said = copy(
        said,
        &mut names,
        (body, raw),
        "chat_template_kwargs",
        "chat_template_kwargs",
    );
    if shows_logprobs {
        said = said.with("logprobs", &true);
        said = copy(
            said,
            &mut names,
            (body, raw),
            "top_logprobs",
            "top_logprobs",
        );
    }
    let tools = tools(body, raw, &mut names)?;
    if let Some(tools) = &tools {
        said = said.with_raw("tools", &array(&tools.said));
    }
    said = choice(said, body, raw, &mut names)?;
    if let (Some(reasoning), Some(raw)) = (body.object("reasoning")?, raw.field("reasoning")) {
        known::check(&reasoning, Place::ResponsesReasoning)?;
        said = copy(
            said,
            &mut names,
            (&reasoning, raw),
            "effort",
            "reasoning_effort",
        );
    }
    if let (Some(text), Some(raw)) = (body.object("text")?, raw.field("text")) {
        known::check(&text, Place::ResponsesText)?;
        said = copy(said, &mut names, (&text, raw), "verbosity", "verbosity");
        said = format(said, &text, raw, &mut names)?;
    }
    let options = body.object("stream_options")?;
    for (name, _) in options.iter().flat_map(Object::present) {
        if name != "include_obfuscation" {
            return Err(ApiError::unknown_field(format!("stream_options.{name}")));
        }
    }
    let told = tools.as_ref().map(|tools| array(&tools.told));
    let spaces = tools.map(|tools| tools.spaces).unwrap_or_default();
    let document = Document::new(body, raw, told.as_deref(), stamp)?.with_spaces(spaces);
    Ok(Translated {
        kind: Kind::Chat,
        body: said,
        names,
        told_stops: Vec::new(),
        teller: Box::new(move |model| Box::new(Events::new(document.by(model), shows_logprobs))),
    })
}

/// `include`: what an answer should hold besides; true if that is log probabilities. Encrypted
/// reasoning would be for a server that keeps none; there is none here, and the reasoning itself is
/// in the answer.
fn includes(body: &Object<'_>) -> Result<bool, ApiError> {
    let path = body.path("include");
    let wanted = match body.get("include") {
        None => return Ok(false),
        Some(Value::Array(wanted)) => wanted,
        Some(other) => return Err(ApiError::invalid_type(path, "an array of strings", other)),
    };
    let mut shows_logprobs = false;
    for (i, wanted) in wanted.iter().enumerate() {
        match wanted.as_str() {
            Some("message.output_text.logprobs") => shows_logprobs = true,
            Some("reasoning.encrypted_content") => {}
            _ => {
                let why = "only 'message.output_text.logprobs' is, and 'reasoning.encrypted_content', which adds nothing";
                return Err(ApiError::unsupported(format!("{path}[{i}]"), why));
            }
        }
    }
    Ok(shows_logprobs)
}

/// Tools that OpenAI's servers run: a client offers them to any model, and this one, which has
/// none, does not choose them.
const HOSTED: [&str; 6] = [
    "web_search",
    "web_search_preview",
    "web_search_2025_08_26",
    "web_search_preview_2025_03_11",
    "image_generation",
    "tool_search",
];

/// The functions of a request.
struct Tools {
    /// As a chat has them, texts of JSON.
    said: Vec<String>,
    /// As they were sent, texts of JSON.
    told: Vec<String>,
    /// Those of namespaces.
    spaces: Spaces,
    /// The names that a chat has for them.
    names: BTreeSet<String>,
}

/// A chat's functions have their fields in an object of their own, and no namespaces. Hosted tools
/// are left out where the model may answer without a tool.
fn tools(body: &Object<'_>, raw: Raw<'_>, names: &mut Names) -> Result<Option<Tools>, ApiError> {
    let Some(tools) = body.objects("tools", raw, "an array of functions")? else {
        return Ok(None);
    };
    let is_free = match body.get("tool_choice") {
        None => true,
        Some(choice) => matches!(choice.as_str(), Some("auto" | "none")),
    };
    let mut all = Tools {
        said: Vec::new(),
        told: Vec::new(),
        spaces: Spaces::default(),
        names: BTreeSet::new(),
    };
    for (i, tool) in tools.enumerate() {
        let (tool, raw) = tool?;
        let own = format!("{}[{i}]", body.path("tools"));
        match tool.string("type")? {
            Some("function") => function(&mut all, (&tool, raw), own, None, names)?,
            Some("namespace") => namespace(&mut all, (&tool, raw), names)?,
            Some(hosted) if is_free && HOSTED.contains(&hosted) => continue,
            Some(_) => {
                let why = "only tools of the types 'function' and 'namespace' are; web_search, image_generation and \
                           tool_search are left out where 'tool_choice' is auto or absent";
                return Err(ApiError::unsupported(tool.path("type"), why));
            }
            None => return Err(ApiError::missing(tool.path("type"))),
        }
        all.told.push(on_one_line(raw.text()));
    }
    Ok(Some(all))
}

/// Functions that an agent's plugin has, as Codex sends them.
fn namespace(
    all: &mut Tools,
    (space, raw): (&Object<'_>, Raw<'_>),
    names: &mut Names,
) -> Result<(), ApiError> {
    known::check(space, Place::ResponsesNamespace)?;
    let name = space.string("name")?;
    let name = name.ok_or_else(|| ApiError::missing(space.path("name")))?;
    let tools = space.objects("tools", raw, "an array of functions")?;
    for (i, tool) in tools.into_iter().flatten().enumerate() {
        let (tool, raw) = tool?;
        if tool.string("type")? != Some("function") {
            let why = "only tools of the type 'function' are within a namespace";
            return Err(ApiError::unsupported(tool.path("type"), why));
        }
        let own = format!("{}[{i}]", space.path("tools"));
        function(all, (&tool, raw), own, Some(name), names)?;
    }
    Ok(())
}

fn function(
    all: &mut Tools,
    (tool, raw): (&Object<'_>, Raw<'_>),
    own: String,
    space: Option<&str>,
    names: &mut Names,
) -> Result<(), ApiError> {
    known::check(tool, Place::ResponsesTool)?;
    names.add(format!("tools[{}].function", all.said.len()), own.clone());
    names.add(format!("tools[{}]", all.said.len()), own);
    let mut function = Written::new();
    for name in ["name", "description", "parameters", "strict"] {
        let Some(value) = tool.get(name).and_then(|_| raw.field(name)) else {
            continue;
        };
        function = match (space, tool.get(name)) {
            (space, Some(Value::String(own))) if name == "name" => {
                let said = space.map_or_else(|| own.clone(), |space| joined(space, own));
                // A call could not be told from the other's.
                if !all.names.insert(said.clone()) {
                    let why = format!("another function is called '{said}' for the model");
                    return Err(ApiError::invalid_value(tool.path("name"), &why));
                }
                if let Some(space) = space {
                    all.spaces.add(space, own);
                }
                function.with(name, &said)
            }
            _ => function.with_raw(name, value.text()),
        };
    }
    let tool = Written::new().with("type", &"function");
    all.said
        .push(tool.with_raw("function", &function.text()).text());
    Ok(())
}

fn choice(
    said: Written,
    body: &Object<'_>,
    raw: Raw<'_>,
    names: &mut Names,
) -> Result<Written, ApiError> {
    let Some(Value::Object(fields)) = body.get("tool_choice") else {
        return Ok(copy(said, names, (body, raw), "tool_choice", "tool_choice"));
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("function") => {
            names.add("tool_choice.function", "tool_choice");
            let known = ["type", "name", "namespace"];
            if let Some(other) = fields.keys().find(|name| !known.contains(&name.as_str())) {
                let path = format!("{}.{other}", body.path("tool_choice"));
                return Err(ApiError::unknown_field(path));
            }
            let name = fields.get("name").unwrap_or(&Value::Null);
            let name = match (fields.get("namespace"), name) {
                (Some(Value::String(space)), Value::String(name)) => {
                    Value::String(joined(space, name))
                }
                (Some(Value::String(_) | Value::Null) | None, _) => name.clone(),
                (Some(other), _) => {
                    let path = format!("{}.namespace", body.path("tool_choice"));
                    return Err(ApiError::invalid_type(path, "a string", other));
                }
            };
            let function = Written::new().with("name", &name).text();
            let choice = Written::new().with("type", &"function");
            Ok(said.with_raw(
                "tool_choice",
                &choice.with_raw("function", &function).text(),
            ))
        }
        _ => {
            let why = "of objects only {\"type\": \"function\", \"name\": NAME} is";
            Err(ApiError::unsupported(body.path("tool_choice"), why))
        }
    }
}

/// `text.format`, which is a chat's `response_format`.
fn format(
    said: Written,
    text: &Object<'_>,
    raw: Raw<'_>,
    names: &mut Names,
) -> Result<Written, ApiError> {
    let (Some(format), Some(raw)) = (text.object("format")?, raw.field("format")) else {
        return Ok(said);
    };
    let path = text.path("format");
    if format.string("type")? != Some("json_schema") {
        names.add("response_format", path);
        return Ok(said.with_raw("response_format", raw.text()));
    }
    known::check(&format, Place::ResponsesFormat)?;
    names.add("response_format.json_schema", path.clone());
    names.add("response_format", path);
    let mut schema = Written::new();
    for name in ["name", "description", "schema", "strict"] {
        if let Some(value) = format.get(name).and_then(|_| raw.field(name)) {
            schema = schema.with_raw(name, value.text());
        }
    }
    let format = Written::new().with("type", &"json_schema");
    Ok(said.with_raw(
        "response_format",
        &format.with_raw("json_schema", &schema.text()).text(),
    ))
}

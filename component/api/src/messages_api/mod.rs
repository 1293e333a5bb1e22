//! `/v1/messages`: Anthropic's Messages API. A request is said as a chat; its turns are in
//! `turns.rs`, what goes beside them here, the answer in `events.rs`.

mod events;
mod turns;

use serde_json::Value;

use crate::{
    answer::Stamp,
    body::{self, Source},
    chosen::Chosen,
    completion,
    engine::Engine,
    error::{ApiError, shorten},
    fields::Object,
    http::Head,
    json::{Written, array, to_json},
    kind::Kind,
    known::{self, Place},
    raw::Raw,
    reply::Reply,
    settings::Settings,
    tokens,
    translated::{self, Names, Translated, copy},
};
use events::Events;

/// Answer a request.
pub async fn respond<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
    stamp: Stamp,
) -> Result<Reply<E>, ApiError> {
    let translate = |body: &Object<'_>, raw: Raw<'_>, stamp| {
        body.require("max_tokens")?;
        let (body, names, stops) = translate(body, raw)?;
        Ok(Translated {
            kind: Kind::Chat,
            body,
            names,
            told_stops: stops,
            teller: Box::new(move |model| Box::new(Events::new(stamp, model))),
        })
    };
    let head = (head, "anthropic messages");
    translated::complete(engine, settings, head, body, stamp, translate).await
}

/// Answer a request to count the tokens of another one.
pub async fn count<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let (said, names, _) = translated::read(&bytes, translate)?;
    drop(bytes);
    let said = said.text().into_bytes();
    let count = || {
        let value = body::parse(&said)?;
        let body = Object::top(&value)?;
        let (conversation, _) = completion::chat(&body, settings, &said)?;
        let asked = body.string("model")?.filter(|id| !id.is_empty());
        let asked = asked.map(str::to_owned);
        let model = Chosen::wait(engine, settings, asked)?.info.id;
        let text = tokens::render(engine, &model, &conversation)?;
        let named = |error| ApiError::from_engine(error, "messages");
        engine.tokenize(&model, &text, false).map_err(named)
    };
    let ids = count().map_err(|error| names.rename(error))?;
    let document = serde_json::json!({ "input_tokens": ids.len() });
    Ok(Reply::json(200, to_json(&document)))
}

/// The body of a chat, the names of its fields, and the texts at which it stops.
type Said = (Written, Names, Vec<String>);

fn translate(body: &Object<'_>, raw: Raw<'_>) -> Result<Said, ApiError> {
    known::check(body, Place::Messages)?;
    let (messages, mut names, is_open) = turns::messages(body, raw)?;
    let mut said = Written::new().with_raw("messages", &messages);
    drop(messages);
    for name in [
        "model",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stream",
        "chat_template_kwargs",
        "cache_salt",
        "priority",
        "timeout",
    ] {
        said = copy(said, &mut names, (body, raw), name, name);
    }
    if is_open {
        // The answer goes on where the last turn ends.
        names.add("continue_final_message", "messages");
        names.add("add_generation_prompt", "messages");
        said = said
            .with("continue_final_message", &true)
            .with("add_generation_prompt", &false);
    }
    let stops = stops(body)?;
    said = copy(said, &mut names, (body, raw), "stop_sequences", "stop");
    if !stops.is_empty() {
        // The answer says which it was, so it has to be seen.
        said = said.with("include_stop_str_in_output", &true);
    }
    said = thinking(said, body, raw, &mut names)?;
    if let Some(tools) = tools(body, raw, &mut names)? {
        said = said.with_raw("tools", &tools);
    }
    said = choice(said, body, &mut names)?;
    said = format(said, body, raw, &mut names)?;
    Ok((said, names, stops))
}

/// The texts themselves; whether they may be is the chat's to say.
fn stops(body: &Object<'_>) -> Result<Vec<String>, ApiError> {
    match body.get("stop_sequences") {
        None => Ok(Vec::new()),
        Some(Value::Array(stops)) => {
            let texts = stops.iter().filter_map(Value::as_str);
            Ok(texts.map(str::to_owned).collect())
        }
        Some(other) => {
            let path = body.path("stop_sequences");
            Err(ApiError::invalid_type(path, "an array of strings", other))
        }
    }
}

/// `adaptive` leaves it to the model, as nothing does.
fn thinking(
    said: Written,
    body: &Object<'_>,
    raw: Raw<'_>,
    names: &mut Names,
) -> Result<Written, ApiError> {
    let Some(thinking) = body.object("thinking")? else {
        return Ok(said);
    };
    known::check(&thinking, Place::MessagesThinking)?;
    if thinking.string("type")? == Some("adaptive") {
        return Ok(said);
    }
    let Some(raw) = raw.field("thinking").and_then(|raw| raw.field("type")) else {
        return Err(ApiError::missing(thinking.path("type")));
    };
    names.add("thinking", "thinking");
    let thinking = Written::new().with_raw("type", raw.text());
    Ok(said.with_raw("thinking", &thinking.text()))
}

fn tools(body: &Object<'_>, raw: Raw<'_>, names: &mut Names) -> Result<Option<String>, ApiError> {
    let Some(tools) = body.objects("tools", raw, "an array of tools")? else {
        return Ok(None);
    };
    let mut said = Vec::new();
    for (i, tool) in tools.enumerate() {
        let (tool, raw) = tool?;
        let own = format!("{}[{i}]", body.path("tools"));
        if tool.string("type")?.is_some_and(|kind| kind != "custom") {
            let why = "only tools that the client runs, of the type 'custom', are";
            return Err(ApiError::unsupported(tool.path("type"), why));
        }
        known::check(&tool, Place::MessagesTool)?;
        names.add(format!("tools[{i}].function"), own.clone());
        names.add(
            format!("tools[{i}].function.parameters"),
            format!("{own}.input_schema"),
        );
        let mut function = Written::new();
        for (name, said) in [
            ("name", "name"),
            ("description", "description"),
            ("input_schema", "parameters"),
            ("strict", "strict"),
        ] {
            if let Some(value) = tool.get(name).and_then(|_| raw.field(name)) {
                function = function.with_raw(said, value.text());
            }
        }
        let tool = Written::new().with("type", &"function");
        said.push(tool.with_raw("function", &function.text()).text());
    }
    Ok(Some(array(&said)))
}

fn choice(said: Written, body: &Object<'_>, names: &mut Names) -> Result<Written, ApiError> {
    let Some(choice) = body.object("tool_choice")? else {
        return Ok(said);
    };
    known::check(&choice, Place::MessagesChoice)?;
    names.add("tool_choice", "tool_choice");
    names.add("tool_choice.function", "tool_choice");
    let said = if choice.flag("disable_parallel_tool_use")? {
        said.with("parallel_tool_calls", &false)
    } else {
        said
    };
    match choice.string("type")? {
        Some("auto") => Ok(said.with("tool_choice", &"auto")),
        Some("none") => Ok(said.with("tool_choice", &"none")),
        Some("any") => Ok(said.with("tool_choice", &"required")),
        Some("tool") => {
            let name = choice.string("name")?;
            let name = name.ok_or_else(|| ApiError::missing(choice.path("name")))?;
            let function = Written::new().with("name", &name).text();
            let named = Written::new()
                .with("type", &"function")
                .with_raw("function", &function);
            Ok(said.with_raw("tool_choice", &named.text()))
        }
        Some(other) => {
            let why = format!(
                "expected \"auto\", \"any\", \"tool\" or \"none\", but got '{}'",
                shorten(other)
            );
            Err(ApiError::invalid_value(choice.path("type"), &why))
        }
        None => Err(ApiError::missing(choice.path("type"))),
    }
}

/// `output_config.format`, or `output_format`, its older name: a schema.
fn format(
    said: Written,
    body: &Object<'_>,
    raw: Raw<'_>,
    names: &mut Names,
) -> Result<Written, ApiError> {
    let config = body.object("output_config")?;
    if let Some(config) = &config {
        known::check(config, Place::MessagesOutput)?;
    }
    let within = config.as_ref().map(|config| config.object("format"));
    let (format, raw) = match within.transpose()?.flatten() {
        Some(format) => {
            let config = raw.field("output_config");
            (format, config.and_then(|raw| raw.field("format")))
        }
        None => match body.object("output_format")? {
            Some(format) => (format, raw.field("output_format")),
            None => return Ok(said),
        },
    };
    known::check(&format, Place::MessagesFormat)?;
    if format.string("type")? != Some("json_schema") {
        let why = "only \"json_schema\" is";
        return Err(ApiError::unsupported(format.path("type"), why));
    }
    format.require("schema")?;
    let schema = raw.and_then(|raw| raw.field("schema"));
    let schema = schema.map_or("{}", Raw::text);
    names.add("response_format", format.path("schema"));
    names.add("response_format.json_schema.schema", format.path("schema"));
    let schema = Written::new()
        .with("name", &"answer")
        .with_raw("schema", schema)
        .with("strict", &true);
    let format = Written::new()
        .with("type", &"json_schema")
        .with_raw("json_schema", &schema.text());
    Ok(said.with_raw("response_format", &format.text()))
}

//! `/tokenize`, `/detokenize` and `/apply-template`, as llama.cpp's server and vLLM have them.
//! Which of the two a client wants is seen by the names of its fields.

use serde::Serialize;
use serde_json::Value;

use crate::{
    body::{self, Source},
    chosen::Chosen,
    completion,
    engine::{Conversation, Engine, Error},
    error::ApiError,
    fields::Object,
    http::Head,
    json::to_json,
    known::{self, Place},
    params::{Treatment, token_ids},
    reply::Reply,
    settings::Settings,
};

/// Tokens whose texts one answer may list: each is a question of its own to the engine.
pub const MAX_PIECES: usize = 4096;

/// Which of these routes is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/tokenize`
    Tokenize,
    /// `/detokenize`
    Detokenize,
    /// `/apply-template`
    ApplyTemplate,
}

/// Answer a request of one of these routes.
pub async fn answer<E: Engine>(
    engine: &E,
    settings: &Settings,
    asked: Asked,
    head: &Head,
    body: &mut impl Source,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    let value = body::parse(&bytes)?;
    let body = Object::top(&value)?;
    let document = match asked {
        Asked::Tokenize => tokenize(engine, settings, &body, &bytes)?,
        Asked::Detokenize => detokenize(engine, settings, &body)?,
        Asked::ApplyTemplate => apply_template(engine, settings, &body, &bytes)?,
    };
    Ok(Reply::json(200, document))
}

/// The model that a body asks.
pub fn model<E: Engine>(
    engine: &E,
    settings: &Settings,
    body: &Object<'_>,
) -> Result<Chosen, ApiError> {
    let name = body.string("model")?.filter(|id| !id.is_empty());
    let most_ms = Treatment::timeout_ms_of(body)?;
    Chosen::in_time(engine, settings, name.map(str::to_owned), most_ms)
}

/// The conversation that a body has, rendered by the model's template.
pub fn render<E: Engine>(
    engine: &E,
    model: &str,
    conversation: &Conversation,
) -> Result<String, ApiError> {
    let named = |error| ApiError::from_engine(error, "messages");
    engine.apply_template(model, conversation).map_err(named)
}

/// The tokens of the prompt that a chat's body makes.
///
/// # Errors
/// The body is no chat's, or its template cannot render it.
pub fn of_chat<E: Engine>(
    engine: &E,
    settings: &Settings,
    bytes: &[u8],
) -> Result<usize, ApiError> {
    let value = body::parse(bytes)?;
    let body = Object::top(&value)?;
    known::check(&body, Place::Chat)?;
    let (conversation, _) = completion::chat(&body, settings, bytes)?;
    let model = model(engine, settings, &body)?.info.id;
    let text = render(engine, &model, &conversation)?;
    let named = |error| ApiError::from_engine(error, "messages");
    Ok(engine.tokenize(&model, &text, false).map_err(named)?.len())
}

/// Tell the tokens of a chat's prompt.
pub async fn count<E: Engine>(
    engine: &E,
    settings: &Settings,
    head: &Head,
    body: &mut impl Source,
) -> Result<Reply<E>, ApiError> {
    let bytes = body::read(body, head.content_length, settings.max_body_bytes).await?;
    Ok(Reply::json(
        200,
        counted(of_chat(engine, settings, &bytes)?),
    ))
}

/// A number of tokens as OpenAI tells it.
pub fn counted(tokens: usize) -> Vec<u8> {
    to_json(&serde_json::json!({"object": "response.input_tokens", "input_tokens": tokens}))
}

/// What is to be made tokens, and the field that says so.
enum Subject {
    Text(&'static str, String),
    Messages(Conversation),
}

fn subject(body: &Object<'_>, settings: &Settings, bytes: &[u8]) -> Result<Subject, ApiError> {
    match *body.sent(&["content", "prompt", "messages"]) {
        [] => Err(ApiError::missing("content".into())),
        ["messages"] => {
            let (conversation, _) = completion::chat(body, settings, bytes)?;
            Ok(Subject::Messages(conversation))
        }
        [field] => {
            let text = body.string(field)?.unwrap_or_default();
            Ok(Subject::Text(field, text.to_owned()))
        }
        [first, second, ..] => {
            let why = format!("it stands beside '{first}'; send one of them");
            Err(ApiError::invalid_value(body.path(second), &why))
        }
    }
}

/// vLLM's answer.
#[derive(Serialize)]
struct Tokenized<'a> {
    count: usize,
    max_model_len: u32,
    tokens: &'a [u32],
    token_strs: Option<Vec<String>>,
}

/// llama.cpp's.
#[derive(Serialize)]
struct Listed<T> {
    tokens: T,
}

#[derive(Serialize)]
struct Piece {
    id: u32,
    piece: String,
}

fn tokenize<E: Engine>(
    engine: &E,
    settings: &Settings,
    body: &Object<'_>,
    bytes: &[u8],
) -> Result<Vec<u8>, ApiError> {
    known::check(body, Place::Tokenize)?;
    let subject = subject(body, settings, bytes)?;
    let model = model(engine, settings, body)?;
    let flags = ["add_special", "add_special_tokens"];
    let special = body.alias(&flags, |body, name| body.flag(name).map(Some))?;
    let pieces = body.alias(&["with_pieces", "return_token_strs"], |body, name| {
        body.flag(name).map(Some)
    })?;
    // vLLM adds them to a prompt unless it is told not to, and no other does.
    let by_default = matches!(subject, Subject::Text("prompt", _));
    let special = special.map_or(by_default, |(special, _)| special);
    let (field, text) = match subject {
        Subject::Text(field, text) => (field, text),
        Subject::Messages(conversation) => {
            ("messages", render(engine, &model.info.id, &conversation)?)
        }
    };
    let named = |error| ApiError::from_engine(error, field);
    let ids = engine
        .tokenize(&model.info.id, &text, special)
        .map_err(named)?;
    drop(text);
    let texts = match pieces {
        Some((true, name)) => Some(texts(engine, &model.info.id, &ids, &body.path(name))?),
        _ => None,
    };
    if field != "content" {
        return Ok(to_json(&Tokenized {
            count: ids.len(),
            max_model_len: model.info.context_length,
            tokens: &ids,
            token_strs: texts,
        }));
    }
    Ok(match texts {
        Some(texts) => {
            let pieces = ids.into_iter().zip(texts);
            let tokens = pieces.map(|(id, piece)| Piece { id, piece }).collect();
            to_json(&Listed::<Vec<Piece>> { tokens })
        }
        None => to_json(&Listed { tokens: ids }),
    })
}

/// The text of each token, as it is after the one before it: some tokenizers leave out a blank at
/// the beginning of a text.
fn texts<E: Engine>(
    engine: &E,
    model: &str,
    ids: &[u32],
    field: &str,
) -> Result<Vec<String>, ApiError> {
    if ids.len() > MAX_PIECES {
        let why = format!(
            "at most {MAX_PIECES} tokens are listed with their texts, but these are {}; send a shorter text",
            ids.len()
        );
        return Err(ApiError::invalid_value(field.to_owned(), &why));
    }
    let text = |ids: &[u32]| {
        let named = |error| ApiError::from_engine(error, "content");
        engine.detokenize(model, ids).map_err(named)
    };
    let mut texts = Vec::with_capacity(ids.len());
    let mut before = String::new();
    for (i, &id) in ids.iter().enumerate() {
        let alone = text(&[id])?;
        let piece = match i.checked_sub(1).and_then(|at| ids.get(at)) {
            Some(&last) => {
                let both = text(&[last, id])?;
                both.strip_prefix(before.as_str()).map(str::to_owned)
            }
            None => None,
        };
        texts.push(piece.unwrap_or_else(|| alone.clone()));
        before = alone;
    }
    Ok(texts)
}

fn detokenize<E: Engine>(
    engine: &E,
    settings: &Settings,
    body: &Object<'_>,
) -> Result<Vec<u8>, ApiError> {
    known::check(body, Place::Detokenize)?;
    let path = body.path("tokens");
    let ids = match body.require("tokens")? {
        Value::Array(ids) => token_ids(&path, ids)?,
        other => return Err(ApiError::invalid_type(path, "an array of token ids", other)),
    };
    let model = model(engine, settings, body)?;
    let most = model.info.vocab_size;
    if let Some(at) = ids.iter().position(|&id| id >= most) {
        let why = format!("the model's token ids are below {most}");
        return Err(ApiError::invalid_value(format!("{path}[{at}]"), &why));
    }
    let named = |error: Error| ApiError::from_engine(error, "tokens");
    let text = engine.detokenize(&model.info.id, &ids).map_err(named)?;
    // The first name is llama.cpp's, the second vLLM's: the requests are the same.
    Ok(to_json(
        &serde_json::json!({ "content": text, "prompt": text }),
    ))
}

fn apply_template<E: Engine>(
    engine: &E,
    settings: &Settings,
    body: &Object<'_>,
    bytes: &[u8],
) -> Result<Vec<u8>, ApiError> {
    known::check(body, Place::Template)?;
    let (conversation, _) = completion::chat(body, settings, bytes)?;
    let model = model(engine, settings, body)?;
    let prompt = render(engine, &model.info.id, &conversation)?;
    Ok(to_json(&serde_json::json!({ "prompt": prompt })))
}

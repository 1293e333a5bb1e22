//! Known fields and their treatment: every object of a request is checked against
//! one table before it is read, so that nothing a client asks for is passed over in silence.

mod llama_cpp;
mod messages;
mod ollama;
mod responses;
mod structured;
mod table;
mod tokens;

use serde_json::Value;

use crate::{error::ApiError, fields::Object};

/// The object that holds a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The body of either completion route.
    Body,
    /// The body of `/v1/chat/completions`.
    Chat,
    /// The body of `/v1/completions`.
    Text,
    /// The body of `/v1/embeddings`.
    Embeddings,
    /// The body of `/tokenize`.
    Tokenize,
    /// The body of `/detokenize`.
    Detokenize,
    /// The body of `/apply-template`.
    Template,
    /// The body of `/completion`.
    LlamaCompletion,
    /// A prompt or an input that is an object.
    PromptObject,
    /// One of its `content`.
    PromptPart,
    /// The body of `/v1/responses`.
    Responses,
    /// `text` of a response's request.
    ResponsesText,
    /// Its `format`, where that is a schema.
    ResponsesFormat,
    /// `reasoning` of a response's request.
    ResponsesReasoning,
    /// One of its `input`: a message.
    ResponsesMessage,
    /// One of its `input`: a call.
    ResponsesCall,
    /// One of its `input`: what a call gave.
    ResponsesOutput,
    /// One of its `input`: reasoning.
    ResponsesThought,
    /// One of its `tools`.
    ResponsesTool,
    /// One of its `tools`: functions with a common name before theirs.
    ResponsesNamespace,
    /// The body of `/v1/messages`.
    Messages,
    /// `thinking` of a message's request.
    MessagesThinking,
    /// Its `output_config`.
    MessagesOutput,
    /// The format in it.
    MessagesFormat,
    /// Its `tool_choice`.
    MessagesChoice,
    /// One of its `tools`.
    MessagesTool,
    /// One of its `messages`.
    MessagesTurn,
    /// A block of text.
    MessagesText,
    /// A block of reasoning.
    MessagesThought,
    /// A block that calls a tool.
    MessagesCall,
    /// A block with what a tool gave.
    MessagesResult,
    /// The body of `/api/chat`.
    OllamaChat,
    /// The body of `/api/generate`.
    OllamaGenerate,
    /// Their `options`.
    OllamaOptions,
    /// One of a chat's `messages`.
    OllamaMessage,
    /// One of its `tool_calls`.
    OllamaCall,
    /// The `function` of it.
    OllamaFunction,
    /// The body of `/api/show`.
    OllamaShow,
    /// The body of `/api/embed`.
    OllamaEmbed,
    /// The body of `/api/embeddings`.
    OllamaEmbedOne,
    /// `response_format`.
    ResponseFormat,
    /// Its `json_schema`.
    JsonSchema,
    /// `structured_outputs`.
    StructuredOutputs,
    /// `stream_options`.
    StreamOptions,
    /// One of `messages`.
    Message,
    /// One of a message's `content`.
    Part,
    /// One of `tools`.
    Tool,
    /// One of a message's `tool_calls`.
    ToolCall,
    /// The kind of call.
    Function,
}

impl Place {
    fn is_body(self) -> bool {
        let others = [
            Place::Embeddings,
            Place::Tokenize,
            Place::Detokenize,
            Place::Template,
            Place::Responses,
            Place::Messages,
            Place::OllamaChat,
            Place::OllamaGenerate,
            Place::OllamaShow,
            Place::OllamaEmbed,
            Place::OllamaEmbedOne,
        ];
        self.is_completion() || others.contains(&self)
    }

    fn is_completion(self) -> bool {
        matches!(
            self,
            Place::Body | Place::Chat | Place::Text | Place::LlamaCompletion
        )
    }
}

/// The treatment of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// It is read elsewhere, and obeyed.
    Honour,
    /// It is refused, unless its value is one of these, which ask for nothing, or the other field
    /// has that value.
    Refuse {
        idle: &'static [&'static str],
        unless: Option<(&'static str, &'static str)>,
    },
    /// No value of it changes the answer.
    Harmless,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: &'static str,
    rule: Rule,
    /// Its meaning, the alternative, or the reason why it changes nothing.
    note: &'static str,
}

/// The rows of one place.
struct Group {
    place: Place,
    fields: &'static [Field],
}

const fn honour(name: &'static str, note: &'static str) -> Field {
    let rule = Rule::Honour;
    Field { name, rule, note }
}

const fn harmless(name: &'static str, note: &'static str) -> Field {
    let rule = Rule::Harmless;
    Field { name, rule, note }
}

const fn refuse(name: &'static str, idle: &'static [&'static str], note: &'static str) -> Field {
    let rule = Rule::Refuse { idle, unless: None };
    Field { name, rule, note }
}

/// Refused, unless the field `other` has this value.
const fn refuse_unless(
    name: &'static str,
    idle: &'static [&'static str],
    other: &'static str,
    value: &'static str,
    note: &'static str,
) -> Field {
    let unless = Some((other, value));
    let rule = Rule::Refuse { idle, unless };
    Field { name, rule, note }
}

/// Check the names of an object's fields, and refuse what cannot be honoured.
///
/// # Errors
/// The first field that is unknown or refused. `null` asks for nothing, whatever its name.
pub fn check(object: &Object<'_>, place: Place) -> Result<(), ApiError> {
    for (name, value) in object.present() {
        let Some(field) = table::rows(place).find(|field| field.name == name) else {
            return Err(if place.is_body() {
                ApiError::unrecognized(name)
            } else {
                ApiError::unknown_field(object.path(name))
            });
        };
        let Rule::Refuse { idle, unless } = field.rule else {
            continue;
        };
        let is_off = unless
            .is_some_and(|(other, off)| object.get(other).is_some_and(|value| is(value, off)));
        if !is_off && !idle.iter().any(|idle| is(value, idle)) {
            return Err(ApiError::unsupported(object.path(name), field.note));
        }
    }
    Ok(())
}

/// True if a field is read.
pub fn is_honoured(place: Place, name: &str) -> bool {
    let found = table::rows(place).find(|field| field.name == name);
    found.is_some_and(|field| field.rule == Rule::Honour)
}

/// True if a value equals the one written as JSON: 1.0 is 1.
fn is(value: &Value, json: &str) -> bool {
    match value {
        Value::Number(number) => json
            .parse()
            .is_ok_and(|wanted: f64| number.as_f64() == Some(wanted)),
        other => serde_json::from_str::<Value>(json).is_ok_and(|wanted| wanted == *other),
    }
}

/// The names of the fields that are honoured, with their places.
#[cfg(test)]
pub(crate) fn honoured_names() -> impl Iterator<Item = (Place, &'static str)> {
    let of = |group: &'static Group| {
        let fields = group
            .fields
            .iter()
            .filter(|field| field.rule == Rule::Honour);
        fields.map(|field| (group.place, field.name))
    };
    table::groups().flat_map(of)
}

/// The fields that are honoured at `place`, with their meaning.
#[cfg(test)]
pub(crate) fn honoured(place: Place) -> impl Iterator<Item = (&'static str, &'static str)> {
    let fields = table::rows(place).filter(|field| field.rule == Rule::Honour);
    fields.map(|field| (field.name, field.note))
}

/// All places, each once.
#[cfg(test)]
pub(crate) fn places() -> impl Iterator<Item = Place> {
    table::groups().map(|group| group.place)
}

/// The names of the fields that are harmless at `place`.
#[cfg(test)]
pub(crate) fn harmless_names(place: Place) -> impl Iterator<Item = &'static str> {
    let fields = table::rows(place).filter(|field| field.rule == Rule::Harmless);
    fields.map(|field| field.name)
}

#[cfg(test)]
mod tests;

//! Every way a request can fail, as an HTTP status and OpenAI's error object.
//!
//! This is the one place that knows which status belongs to which fault, the engine's included.

mod engine;
mod form;

use crate::{engine::bindings::sterna::inference::config::InvalidSetting, http::Header};
pub use form::Form;
use serde::Serialize;
use serde_json::Value;
use sterna_errors::brief;
use sterna_http_rules::error_form::openai_type;

/// Seconds a client is told to wait where the engine names no time.
const RETRY_AFTER_UNAVAILABLE_S: u64 = 1;

/// Models that the refusal of an unknown one names.
const NAMED_MODELS: usize = 16;

/// Positions of the context, and those that a request needs at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// As many as there are.
    pub limit: u32,
    /// The prompt's, and one for the answer.
    pub needed: u32,
}

/// A failed request: `{"error": {"message", "type", "param", "code"}}` under an HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The fault and its remedy.
    pub message: String,
    /// The field at fault, as a path into the body, for example `messages[2].role`.
    pub param: Option<String>,
    /// A word for programs, in OpenAI's vocabulary where it has one.
    pub code: Option<&'static str>,
    /// `Allow`, `Retry-After` or `WWW-Authenticate`, where the status wants one.
    pub header: Option<Header>,
    /// Of a prompt that does not fit.
    pub overflow: Option<Overflow>,
}

/// The data with which a client resumes an interrupted stream elsewhere. The same request with this
/// seed gives the same tokens on every server of the model; the text of `completion_tokens` of them
/// has been sent whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// In a request with several prompts, the index of the interrupted choice. Those before it are
    /// complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The seed in use: the request's, or the one that was drawn for it.
    pub seed: u64,
    /// Tokens whose text has been sent whole; of the next ones a part may have been.
    pub completion_tokens: usize,
    /// Their ids.
    pub tokens: Vec<u32>,
    /// What resumes the stream as a whole (`resume/`), where the server signs such tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<&'a Resume>,
}

impl ApiError {
    fn new(status: u16, code: Option<&'static str>, message: impl Into<String>) -> Self {
        ApiError {
            status,
            message: brief(&message.into()).into_owned(),
            param: None,
            code,
            header: None,
            overflow: None,
        }
    }

    fn field(code: &'static str, param: String, message: String) -> Self {
        ApiError {
            param: Some(param),
            ..Self::new(400, Some(code), message)
        }
    }

    /// The body is no JSON.
    pub fn invalid_json(error: &serde_json::Error) -> Self {
        Self::new(
            400,
            Some("invalid_json"),
            format!("The body is not valid JSON: {error}."),
        )
    }

    /// The body ended before its end, or could not be read.
    pub fn unreadable_body(error: &std::io::Error) -> Self {
        Self::new(
            400,
            Some("unreadable_body"),
            format!("The body could not be read: {error}."),
        )
    }

    /// The body is JSON, but no object, so that no field can be looked for.
    pub fn not_an_object(got: &Value) -> Self {
        let message = format!(
            "The body must be a JSON object, but it is {}.",
            name_of_type(got)
        );
        Self::new(422, Some("invalid_type"), message)
    }

    /// A field has the wrong type.
    pub fn invalid_type(param: String, expected: &str, got: &Value) -> Self {
        let message = format!(
            "Invalid type for '{param}': expected {expected}, but got {} instead.",
            name_of_type(got)
        );
        Self::field("invalid_type", param, message)
    }

    /// A field has the right type and an unusable value; `why` says what would be right.
    pub fn invalid_value(param: String, why: &str) -> Self {
        let message = format!("Invalid value for '{param}': {why}.");
        Self::field("invalid_value", param, message)
    }

    /// A field without which the request says nothing.
    pub fn missing(param: String) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        Self::field("missing_required_parameter", param, message)
    }

    /// A field of the body that nobody knows, in OpenAI's words.
    pub fn unrecognized(name: &str) -> Self {
        let name = shorten(name);
        let message = format!("Unrecognized request argument supplied: {name}");
        Self::field("unknown_parameter", name, message)
    }

    /// A field within the body's fields that nobody knows.
    pub fn unknown_field(path: String) -> Self {
        let path = shorten(&path);
        let message = format!("Unknown parameter: '{path}'.");
        Self::field("unknown_parameter", path, message)
    }

    /// A field that asks for something this server cannot do, and that would change the answer.
    pub fn unsupported(param: String, accepted: &str) -> Self {
        let message = format!("'{param}' is not supported by this server: {accepted}.");
        Self::field("unsupported_parameter", param, message)
    }

    /// No such route.
    pub fn unknown_route(path: &str) -> Self {
        let message = format!("Unknown route '{}'. GET / lists the routes.", shorten(path));
        Self::new(404, Some("unknown_url"), message)
    }

    /// `Host` has a name that may be anybody's, or the runtime does not tell it.
    pub fn foreign_host(host: Option<&str>) -> Self {
        let message = match host {
            Some(host) => format!(
                "This server does not answer by the name '{}'. The setting allowed_hosts lists the \
                 names it answers by.",
                shorten(host)
            ),
            None => {
                "The setting allowed_hosts cannot be checked: the runtime does not tell by which \
                     name this server was asked. Leave it out, or serve the WASI 0.2 component."
                    .to_owned()
            }
        };
        Self::new(403, Some("host_not_allowed"), message)
    }

    /// A page of another site has sent the request.
    pub fn foreign_origin(origin: Option<&str>) -> Self {
        let message = format!(
            "Pages of other origins may not call this server, but this request comes from '{}'. The setting \
             cors_origin opens it to one origin, to those of this machine, or to all.",
            shorten(origin.unwrap_or("another site"))
        );
        Self::new(403, Some("origin_not_allowed"), message)
    }

    /// Counters would begin anew with every instance, and those are made for single requests.
    pub fn no_metrics() -> Self {
        let message = "This form of the server counts nothing: its instances live for a request or a few. Ask the runtime, \
                       for example Spin by OpenTelemetry, or serve the file with `sterna serve`.";
        Self::new(404, Some("no_metrics"), message)
    }

    /// The route exists, but not with this method.
    pub fn method_not_allowed(path: &str, allow: &'static str) -> Self {
        let message = format!(
            "Method not allowed on '{}'; allowed: {allow}.",
            shorten(path)
        );
        let header = Some(Header::text("allow", allow));
        ApiError {
            header,
            ..Self::new(405, Some("method_not_allowed"), message)
        }
    }

    /// The body is longer than `limit_bytes`.
    pub fn body_too_large(limit_bytes: u32) -> Self {
        let message = format!("The body is too large; the limit is {limit_bytes} bytes.");
        Self::new(413, Some("request_too_large"), message)
    }

    /// The body is short enough, but its values would take too much memory.
    pub fn too_many_values() -> Self {
        let message =
            "The body holds too many values; send fewer messages, functions or token ids.";
        Self::new(413, Some("request_too_large"), message)
    }

    /// The body says that it is something else than JSON.
    pub fn unsupported_media_type() -> Self {
        let message = "The body must be JSON; send it with 'Content-Type: application/json'.";
        Self::new(415, Some("unsupported_media_type"), message)
    }

    /// The prompt is longer than the operator allows.
    pub fn prompt_too_long(param: &str, tokens: u32, most: u32) -> Self {
        let message = format!(
            "The prompt has {tokens} tokens, but this server takes {most} at most. Shorten the prompt."
        );
        Self::field("context_length_exceeded", param.into(), message)
    }

    /// The answer, which is collected before it is sent, would take more than `limit_bytes`.
    pub fn answer_too_large(limit_bytes: usize) -> Self {
        let message = format!(
            "The answer would take more than {} MiB; ask for fewer choices, tokens or log \
             probabilities, or split the request.",
            limit_bytes >> 20
        );
        Self::new(400, Some("answer_too_large"), message)
    }

    /// A key is asked for, and none was sent.
    pub fn missing_key() -> Self {
        Self::unauthorized(
            "missing_api_key",
            "This server asks for an API key; send it as 'Authorization: Bearer KEY'.",
            r#"Bearer realm="sterna""#,
        )
    }

    /// A key was sent that is none of the server's.
    pub fn wrong_key() -> Self {
        Self::unauthorized(
            "invalid_api_key",
            "The API key is not one of this server's.",
            r#"Bearer realm="sterna", error="invalid_token""#,
        )
    }

    /// RFC 9110, 15.5.2: a 401 says how to ask.
    fn unauthorized(code: &'static str, message: &str, challenge: &'static str) -> Self {
        ApiError {
            header: Some(Header::text("www-authenticate", challenge)),
            ..Self::new(401, Some(code), message)
        }
    }

    /// The operator has set something that cannot be used, so no request can be answered.
    pub fn misconfigured(setting: &InvalidSetting) -> Self {
        let message = format!(
            "The server's setting {} cannot be used: {}.",
            setting.name, setting.message
        );
        Self::new(500, Some("misconfigured"), message)
    }

    /// No such model.
    pub fn unknown_model<'a>(id: &str, models: impl IntoIterator<Item = &'a str>) -> Self {
        let mut models = models.into_iter();
        let named = models.by_ref().take(NAMED_MODELS);
        let mut named: Vec<String> = named.map(|name| format!("'{}'", shorten(name))).collect();
        if models.next().is_some() {
            named.push("more".into());
        }
        let there = match &named[..] {
            [] => String::new(),
            named => format!(" There are: {}.", named.join(", ")),
        };
        let message = format!(
            "The model '{}' does not exist.{there} GET /v1/models lists the models.",
            shorten(id)
        );
        ApiError {
            param: Some("model".into()),
            ..Self::new(404, Some("model_not_found"), message)
        }
    }

    /// Nothing can be served now.
    pub fn unavailable(reason: &str) -> Self {
        let header = Some(Header::number("retry-after", RETRY_AFTER_UNAVAILABLE_S));
        let message = format!("The server is not available: {reason}.");
        ApiError {
            header,
            ..Self::new(503, Some("unavailable"), message)
        }
    }

    /// A fault that no request can avoid.
    pub fn internal(reason: &str) -> Self {
        Self::new(
            500,
            Some("internal_error"),
            format!("Internal error: {reason}."),
        )
    }

    /// A header has a value that cannot be used.
    pub fn invalid_header(name: &'static str, why: &str) -> Self {
        let message = format!("Invalid value for the header '{name}': {why}.");
        Self::field("invalid_value", name.into(), message)
    }

    /// Its time was over before it was complete.
    pub fn timed_out() -> Self {
        Self::new(
            504,
            Some("timeout"),
            "The answer was not complete in the time that the header 'X-Request-Timeout', the field \
             'timeout' or this server gives it. Give it more, ask for fewer tokens, or try again \
             when the server has less to do.",
        )
    }

    /// A stream that cannot go on here.
    pub fn cannot_resume(field: &str, header: &str, why: &str) -> Self {
        let message = format!("The stream of '{field}' or {header} cannot be resumed: {why}.");
        Self::field("invalid_resume", field.into(), message)
    }

    /// OpenAI's error object as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        self.document(None)
    }

    /// The same as a stream's last event: with what a resume needs, as `error.resume`.
    pub fn to_event(&self, resume: &Resume) -> Vec<u8> {
        self.document(Some(resume))
    }

    fn document(&self, resume: Option<&Resume>) -> Vec<u8> {
        let body = Body {
            message: &self.message,
            r#type: openai_type(self.status),
            param: self.param.as_deref(),
            code: self.code,
            resume,
        };
        crate::json::to_json(&Envelope { error: body })
    }
}

/// Text from a client, shortened for an error message.
pub fn shorten(text: &str) -> String {
    const LIMIT: usize = 80;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn name_of_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_input_is_not_told_back_in_full() {
        assert_eq!(shorten(&"ä".repeat(81)), format!("{}...", "ä".repeat(80)));
        assert_eq!(shorten("short"), "short");
    }
}

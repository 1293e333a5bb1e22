//! HTTP as this crate needs it: the head of a request, and the headers of a reply.
//!
//! A header value is a constant, a number, a checked setting or a request's checked name, so that
//! no other text of a request can reach a header.

/// The part of a request that is known before its body is read.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path, with its query if it has one.
    pub path: String,
    /// `Content-Type`, if sent.
    pub content_type: Option<String>,
    /// `Content-Length`, if sent and a number.
    pub content_length: Option<u64>,
    /// `Accept`, if sent.
    pub accept: Option<String>,
    /// `If-None-Match`, if sent.
    pub if_none_match: Option<String>,
    /// `Authorization`, if sent.
    pub authorization: Option<String>,
    /// `x-api-key`, if sent: the key as Anthropic's clients send it.
    pub api_key: Option<String>,
    /// `x-request-id`, if sent.
    pub request_id: Option<String>,
    /// `x-request-timeout`, if sent.
    pub timeout: Option<String>,
    /// `Last-Event-ID`, if sent.
    pub last_event_id: Option<String>,
    /// The authority the request is for: of its target, else its `Host`.
    pub authority: Option<String>,
    /// `Origin`, if sent.
    pub origin: Option<String>,
    /// `Sec-Fetch-Site`, if sent.
    pub fetch_site: Option<String>,
}

/// A response header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Lower case, as HTTP/2 wants it.
    pub name: &'static str,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(&'static str),
    Number(u64),
    Tag(u64),
    Checked(String),
}

impl Header {
    /// A header with a constant value.
    pub fn text(name: &'static str, value: &'static str) -> Self {
        Header {
            name,
            value: Value::Text(value),
        }
    }

    /// A header with a number as its value.
    pub fn number(name: &'static str, value: u64) -> Self {
        Header {
            name,
            value: Value::Number(value),
        }
    }

    /// An `ETag` that is this number.
    pub fn entity_tag(number: u64) -> Self {
        Header {
            name: "etag",
            value: Value::Tag(number),
        }
    }

    /// `access-control-allow-origin`: an origin, or `*`.
    pub(crate) fn allow_origin(origin: &str) -> Self {
        Header {
            name: "access-control-allow-origin",
            value: Value::Checked(origin.to_owned()),
        }
    }

    /// The name of a request, under this name: the client's if it is valid, else a drawn one.
    pub(crate) fn request_id(name: &'static str, id: &str) -> Self {
        Header {
            name,
            value: Value::Checked(id.to_owned()),
        }
    }

    /// The value as it is sent.
    pub fn value(&self) -> String {
        match self.value {
            Value::Text(text) => text.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Tag(number) => format!("\"{number:016x}\""),
            Value::Checked(ref text) => text.clone(),
        }
    }
}

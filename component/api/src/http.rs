//! HTTP as this crate needs it: the head of a request, and a reply that is whole or a stream.
//!
//! A header value is a constant, a number or a checked setting, so that no text of a request can reach a header.

use crate::{engine::Engine, error::ApiError, stream::EventStream};
use serde::Serialize;

/// What is known of a request before its body is read.
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
    Origin(String),
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

    /// The value as it is sent.
    pub fn value(&self) -> String {
        match self.value {
            Value::Text(text) => text.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Tag(number) => format!("\"{number:016x}\""),
            Value::Origin(ref origin) => origin.clone(),
        }
    }
}

/// What a request is answered with by the engine `E`.
pub struct Reply<E: Engine> {
    /// The HTTP status.
    pub status: u16,
    /// All headers save those the transport adds.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Body<E>,
}

/// A reply's body.
pub enum Body<E: Engine> {
    /// Bytes that are known now.
    Whole(Vec<u8>),
    /// Server-sent events that appear as the engine works.
    Events(Box<EventStream<E>>),
}

impl<E: Engine> Reply<E> {
    fn new(status: u16, content_type: &'static str, body: Body<E>) -> Self {
        let mut reply = Self::bare(status, body);
        reply
            .headers
            .insert(0, Header::text("content-type", content_type));
        reply
    }

    fn bare(status: u16, body: Body<E>) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body,
        }
    }

    /// A JSON document.
    pub fn json(status: u16, document: Vec<u8>) -> Self {
        Self::new(status, "application/json", Body::Whole(document))
    }

    /// A plain text.
    pub fn text(text: &str) -> Self {
        Self::file("text/plain; charset=utf-8", text)
    }

    /// A text of some type.
    pub fn file(content_type: &'static str, text: &str) -> Self {
        Self::new(200, content_type, Body::Whole(text.as_bytes().to_vec()))
    }

    /// The client has what it asks for.
    pub fn not_modified() -> Self {
        Self::bare(304, Body::Whole(Vec::new()))
    }

    /// A stream of server-sent events.
    pub fn events(events: EventStream<E>) -> Self {
        let mut reply = Self::new(
            200,
            "text/event-stream; charset=utf-8",
            Body::Events(Box::new(events)),
        );
        reply
            .headers
            .push(Header::text("cache-control", "no-cache"));
        // nginx and its relatives collect a response before they pass it on unless told not to.
        reply.headers.push(Header::text("x-accel-buffering", "no"));
        reply
    }

    /// Let the pages of this origin (`*`: of all) read the reply. That opens nothing else: there are no cookies or
    /// sessions that a foreign page could borrow.
    pub fn share_with(&mut self, origin: &str) {
        self.headers.extend([
            Header {
                name: "access-control-allow-origin",
                value: Value::Origin(origin.to_owned()),
            },
            Header::text(
                "access-control-expose-headers",
                "retry-after, www-authenticate",
            ),
        ]);
    }

    /// The answer to `OPTIONS`; where other origins may call, their browsers' preflights are
    /// answered too.
    pub fn options(allow: &'static str, shared: bool) -> Self {
        let mut reply = Self::bare(204, Body::Whole(Vec::new()));
        reply.headers.push(Header::text("allow", allow));
        if shared {
            reply.headers.extend([
                Header::text("access-control-allow-methods", allow),
                // The wildcard stands for every header but this one.
                Header::text("access-control-allow-headers", "authorization, *"),
                Header::number("access-control-max-age", 86_400),
            ]);
        }
        reply
    }
}

impl<E: Engine> From<ApiError> for Reply<E> {
    fn from(error: ApiError) -> Self {
        let mut reply = Self::json(error.status, error.to_json());
        reply.headers.extend(error.header);
        reply
    }
}

/// `value` as JSON. The types given here have string keys and no fallible parts, so this cannot fail.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

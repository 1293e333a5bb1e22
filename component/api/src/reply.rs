//! The answer to a request: a document, or a stream of events.

use crate::{
    engine::Engine,
    error::{ApiError, Form},
    http::Header,
    settings::InvalidSetting,
    stream::EventStream,
};

/// The answer of the engine `E` to a request.
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
    /// Events that appear as the engine works.
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

    /// A stream of events.
    pub fn events(events: EventStream<E>) -> Self {
        let content_type = events.content_type();
        let mut reply = Self::new(200, content_type, Body::Events(Box::new(events)));
        reply
            .headers
            .push(Header::text("cache-control", "no-cache"));
        // nginx and its relatives collect a response before they pass it on unless told not to.
        reply.headers.push(Header::text("x-accel-buffering", "no"));
        reply
    }

    /// Let the pages of this origin (`*`: of all) read the reply. That opens nothing else: there
    /// are no cookies or sessions that a foreign page could borrow.
    pub fn share_with(&mut self, origin: &str) {
        self.headers.extend([
            Header::allow_origin(origin),
            Header::text(
                "access-control-expose-headers",
                "retry-after, www-authenticate, x-request-id",
            ),
        ]);
    }

    /// The answer to `OPTIONS`; where other origins may call, their browsers' preflights are
    /// answered too.
    pub fn options(allow: &'static str, shared: bool) -> Self {
        let mut reply = Self::bare(200, Body::Whole(Vec::new()));
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

    /// The answer to every request while a setting cannot be used. The operator reads logs, and
    /// whoever tries the server its answers; both are told.
    pub fn misconfigured(invalid: &InvalidSetting) -> Self {
        let error = ApiError::misconfigured(invalid);
        eprintln!("{}", error.message);
        error.into()
    }
}

impl<E: Engine> From<ApiError> for Reply<E> {
    fn from(error: ApiError) -> Self {
        let mut reply = Self::json(error.status, error.to_json());
        reply.headers.extend(error.header);
        reply
    }
}

impl<E: Engine> Reply<E> {
    /// A refusal in the form of an API, of the request of this name.
    pub fn error(error: ApiError, form: Form, request_id: &str) -> Self {
        let document = form.document(&error, request_id);
        let mut reply = Self::json(error.status, document);
        reply.headers.extend(error.header);
        reply
    }
}

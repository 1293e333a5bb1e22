//! Answers: those the host gives itself, and the body that ties a guest's answer to its life.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;
use sterna_http_rules::{ErrorForm, error_form};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::client::Client;
use super::keep_alive::KeepAlive;
use super::key_limits::Running;
use super::lifecycle::InFlight;
use super::request_log::RequestLog;
use super::request_memory::Promise;
use crate::api_component::GuestTask;

/// A whole text.
pub(super) fn text(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<HyperOutgoingBody> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error, in OpenAI's form until [`in_form`] gives it another.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response<HyperOutgoingBody> {
    let kind = error_form::openai_type(status.as_u16());
    let body =
        json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    let mut response = text(status, "application/json", body.to_string());
    response
        .extensions_mut()
        .insert(Message(message.to_owned()));
    response
}

/// The message of an error that the host gives itself.
#[derive(Clone)]
struct Message(String);

/// An error that the host gives itself, in the form that the clients of the request's path expect;
/// any other response as it is. `id` is the request's name.
pub(super) fn in_form(
    mut response: Response<HyperOutgoingBody>,
    form: ErrorForm,
    id: &HeaderValue,
) -> Response<HyperOutgoingBody> {
    let Some(Message(message)) = response.extensions_mut().remove() else {
        return response;
    };
    let body = match form {
        ErrorForm::OpenAi => return response,
        ErrorForm::Anthropic => {
            response.headers_mut().insert("request-id", id.clone());
            let kind = error_form::anthropic_type(response.status().as_u16());
            let id = id.to_str().unwrap_or_default();
            json!({
                "type": "error",
                "error": { "type": kind, "message": message },
                "request_id": id,
            })
        }
        ErrorForm::Ollama => json!({ "error": message }),
        ErrorForm::LlamaCpp => {
            let status = response.status().as_u16();
            let kind = error_form::llama_cpp_type(status);
            json!({ "error": { "code": status, "message": message, "type": kind, "param": null } })
        }
    };
    response.map(|_| whole(body.to_string()))
}

fn whole(body: String) -> HyperOutgoingBody {
    Full::new(Bytes::from(body))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The resources of a request until its answer is over, in the order in which they are released:
/// the guest first, and the count of running requests, which the server's stop waits for, last.
#[derive(Default)]
#[expect(dead_code, reason = "held, and let go by dropping")]
pub(super) struct Held {
    pub(super) guest: Option<GuestTask>,
    pub(super) memory: Option<Promise>,
    pub(super) of_key: Option<Running>,
    pub(super) in_flight: Option<InFlight>,
}

/// A body that keeps its guest running and its log line open until hyper drops it: after the last
/// byte, or when the client has left.
pub(super) struct Answer {
    body: HyperOutgoingBody,
    sent: u64,
    /// By `Content-Length`, beyond which hyper asks for no more.
    length: Option<u64>,
    keep_alive: Option<KeepAlive>,
    log: RequestLog,
    client: Arc<Client>,
    _held: Held,
}

impl Answer {
    pub(super) fn new(
        response: Response<HyperOutgoingBody>,
        held: Held,
        mut log: RequestLog,
        client: Arc<Client>,
    ) -> Response<Answer> {
        log.answered(response.status());
        let keep_alive = KeepAlive::of(&response);
        let declared = response.headers().get(hyper::header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
        response.map(|body| {
            let length = declared.or_else(|| body.size_hint().exact());
            let mut answer = Answer {
                body,
                sent: 0,
                length,
                keep_alive,
                log,
                client,
                _held: held,
            };
            answer.note_end();
            answer
        })
    }

    fn note_end(&mut self) {
        if self.length.is_some_and(|length| self.sent >= length) || self.body.is_end_stream() {
            self.log.completed();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.client.answered();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let comment = self.keep_alive.as_mut().map(|it| it.poll_comment(cx));
                return match comment {
                    Some(Poll::Ready(comment)) => Poll::Ready(Some(Ok(Frame::data(comment)))),
                    _ => Poll::Pending,
                };
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(keep_alive), Some(data)) = (&mut self.keep_alive, frame.data_ref()) {
                    keep_alive.sent(data);
                }
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.note_end();
            }
            Some(Err(_)) => {}
            None => self.log.completed(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The API as a WASI 0.3 component: `wasi:http/handler` in, `sterna:inference/engine` and `config`
//! out.
//!
//! Under WASI 0.3 a runtime may give one instance several requests at a time. They take turns here:
//! each lets the others go on before it asks the engine for its next event, and as the engine's
//! step brings an event to every generation that runs, the others then find theirs ready. So they
//! share a batch. Everything else is as in `component/api-p2`.

use std::io;
use sterna_api::{
    answer::Stamp,
    body::Source,
    engine::{Breath, Engine, Imported, PAUSE_MS},
    http::Head,
    reply::{Body, Reply},
    route, settings,
};
use wasip3::{
    clocks::{monotonic_clock, system_clock},
    exports::http::handler::Guest,
    http::types::{ErrorCode, Fields, Method, Request, Response},
    random::random::get_random_u64,
    spawn_local,
    wit_bindgen::{StreamReader, StreamResult, yield_async},
    wit_future, wit_stream,
};

wasip3::http::service::export!(Component);

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let head = head(&request);
        // Whether we liked the body is nobody's concern: the default says that we did.
        let (_, judged) = wit_future::new(|| Ok(()));
        let (stream, _trailers) = Request::consume_body(request, judged);
        let mut body = Incoming {
            stream,
            ended: false,
        };
        let reply = match settings::wit::get() {
            Ok(settings) => {
                let engine = Imported::<Turns>::new();
                route::handle(&engine, &settings, &head, &mut body, stamp()).await
            }
            Err(invalid) => Reply::misconfigured(&invalid),
        };
        Ok(send(reply, body))
    }
}

/// A request's body.
struct Incoming {
    stream: StreamReader<u8>,
    /// To read on after the end would be a trap.
    ended: bool,
}

impl Incoming {
    /// Read and forget what nobody wants, until it ends or is far too long. Many clients look for a
    /// reply only when they have sent everything.
    async fn linger(mut self) {
        let (mut left, mut bytes) = (LINGER_BYTES, Vec::new());
        while left > 0 {
            bytes.clear();
            match self.read(&mut bytes, LINGER_STEP_BYTES).await {
                Ok(true) => left = left.saturating_sub(bytes.len()),
                _ => return,
            }
        }
    }
}

/// Thirty times the limit of a body that is wanted.
const LINGER_BYTES: usize = 128 << 20;
const LINGER_STEP_BYTES: usize = 64 << 10;
/// The largest number of bytes of one read.
const READ_BYTES: usize = 64 << 10;

impl Source for Incoming {
    async fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let room = Vec::with_capacity(most.min(READ_BYTES));
        let (result, read) = self.stream.read(room).await;
        bytes.extend_from_slice(&read);
        self.ended = !matches!(result, StreamResult::Complete(_));
        match result {
            StreamResult::Cancelled => Err(io::ErrorKind::ConnectionAborted.into()),
            _ => Ok(true),
        }
    }
}

fn head(request: &Request) -> Head {
    let fields = request.get_headers();
    let header = |name: &str| {
        let value = fields.get(name).into_iter().next()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    };
    let method = match request.get_method() {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(_) => "OTHER",
    };
    Head {
        method: method.to_owned(),
        path: request.get_path_with_query().unwrap_or_default(),
        content_type: header("content-type"),
        content_length: header("content-length").and_then(|value| value.trim().parse().ok()),
        accept: header("accept"),
        if_none_match: header("if-none-match"),
        authorization: header("authorization"),
        api_key: header("x-api-key"),
        request_id: header("x-request-id"),
        timeout: header("x-request-timeout"),
        last_event_id: header("last-event-id"),
        // In HTTP/1.1 the target holds none. Wasmtime then tells nothing: it takes `Host` away too.
        authority: request.get_authority().or_else(|| header("host")),
        origin: header("origin"),
        fetch_site: header("sec-fetch-site"),
    }
}

fn stamp() -> Stamp {
    let id = u128::from(get_random_u64()) << 64 | u128::from(get_random_u64());
    Stamp {
        id,
        created: u64::try_from(system_clock::now().seconds).unwrap_or_default(),
        clock: || monotonic_clock::now() / 1_000,
    }
}

/// The response, whose body is written by a task of its own.
fn send(reply: Reply<impl Engine>, rest: Incoming) -> Response {
    let headers = Fields::new();
    let header = |name: &str, value: String| {
        // Names and values are constants and numbers; a host that forbids one of them does without
        // it.
        let _ = headers.append(name, value.as_bytes());
    };
    for sent in &reply.headers {
        header(sent.name, sent.value());
    }
    if let Body::Whole(bytes) = &reply.body
        && !bytes.is_empty()
    {
        header("content-length", bytes.len().to_string());
    }
    let (mut out, contents) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    // Ours are all statuses that exist.
    let _ = response.set_status_code(reply.status);
    spawn_local(async move {
        match reply.body {
            Body::Whole(bytes) => {
                out.write_all(bytes).await;
            }
            Body::Events(mut events) => {
                while let Some(event) = events.next().await {
                    // What is left over was not taken: the client is gone, and the generation ends
                    // here.
                    if !out.write_all(event).await.is_empty() {
                        break;
                    }
                }
            }
        }
        drop(out);
        rest.linger().await;
    });
    response
}

/// The host sends, and other requests of this instance go on, only while this one yields.
enum Turns {}

impl Breath for Turns {
    async fn breathe() {
        for _ in 0..TURNS {
            yield_async().await;
        }
    }

    async fn pause() {
        monotonic_clock::wait_for(PAUSE_MS * 1_000_000).await;
    }

    fn now_ms() -> u64 {
        monotonic_clock::now() / 1_000_000
    }
}

/// A chunk passes through several of the host's tasks on its way to the socket; each gets a turn.
const TURNS: u32 = 10;

//! The API as a WASI 0.2 component: `wasi:http/incoming-handler` in, `sterna:inference/engine` and
//! `config` out.
//!
//! Everything here is translation; decisions are in the modules that are tested natively.

use std::io::Write;
use sterna_api::{
    answer::Stamp,
    engine::{Breath, Engine, Imported, PAUSE_MS},
    http::Head,
    now,
    reply::{Body, Reply},
    route, settings,
};
use wasip2::{
    clocks::{monotonic_clock, wall_clock},
    exports::http::incoming_handler::Guest,
    http::types::{
        Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
    },
    io::{poll::poll, streams::InputStream},
    random::random::get_random_u64,
};

wasip2::http::proxy::export!(Component);

struct Component;

impl Guest for Component {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let (head, expects_continue) = head(&request);
        // A fresh request's body and its stream can each be taken once, so neither is absent here.
        let Ok(incoming) = request.consume() else {
            return;
        };
        let Ok(mut stream) = incoming.stream() else {
            return;
        };
        let reply = match settings::wit::get() {
            Ok(settings) => now(route::handle(
                &Imported::<Timer>::new(),
                &settings,
                &head,
                &mut stream,
                stamp(),
            )),
            Err(invalid) => Reply::misconfigured(&invalid),
        };
        if !expects_continue {
            linger(&stream);
        }
        // A failed write means that the client is gone: there is nobody left to tell, and dropping
        // the reply has ended its generation.
        let _ = send(reply, response);
    }
}

/// Read what is left of a body nobody wants, until it ends or pauses.
///
/// Many clients look for a reply only when they have sent everything; closing on them earlier
/// resets the connection, and they never see why. One that pauses is taken to wait for the reply.
fn linger(body: &InputStream) {
    let mut left = LINGER_BYTES;
    while left > 0 {
        let (more, pause) = (
            body.subscribe(),
            monotonic_clock::subscribe_duration(LINGER_PAUSE_NS),
        );
        if !poll(&[&more, &pause]).contains(&0) {
            return;
        }
        match body.skip(left.min(LINGER_STEP_BYTES)) {
            Ok(skipped) => left -= skipped,
            // It ended or broke off, which is the same here.
            Err(_) => return,
        }
    }
}

/// Thirty times the limit of a body that is wanted.
const LINGER_BYTES: u64 = 128 << 20;
const LINGER_STEP_BYTES: u64 = 64 << 10;
const LINGER_PAUSE_NS: u64 = 1_000_000_000;

/// The head, and whether the client waits for a go-ahead before it sends the body.
fn head(request: &IncomingRequest) -> (Head, bool) {
    let fields = request.headers();
    let header = |name: &str| {
        let value = fields.get(name).into_iter().next()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    };
    let method = match request.method() {
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
    let head = Head {
        method: method.to_owned(),
        path: request.path_with_query().unwrap_or_default(),
        content_type: header("content-type"),
        content_length: header("content-length").and_then(|value| value.trim().parse().ok()),
        accept: header("accept"),
        if_none_match: header("if-none-match"),
        authorization: header("authorization"),
        api_key: header("x-api-key"),
        request_id: header("x-request-id"),
        timeout: header("x-request-timeout"),
        last_event_id: header("last-event-id"),
        authority: request.authority(),
        origin: header("origin"),
        fetch_site: header("sec-fetch-site"),
    };
    (head, header("expect").is_some())
}

fn stamp() -> Stamp {
    let id = u128::from(get_random_u64()) << 64 | u128::from(get_random_u64());
    Stamp {
        id,
        created: wall_clock::now().seconds,
        clock: || monotonic_clock::now() / 1_000,
    }
}

fn send(reply: Reply<impl Engine>, response: ResponseOutparam) -> std::io::Result<()> {
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
    let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let outgoing = OutgoingResponse::new(headers);
    outgoing
        .set_status_code(reply.status)
        .map_err(|()| gone())?;
    let body = outgoing.body().map_err(|()| gone())?;
    ResponseOutparam::set(response, Ok(outgoing));
    let mut out = body.write().map_err(|()| gone())?;
    match reply.body {
        Body::Whole(bytes) => out.write_all(&bytes)?,
        Body::Events(events) => {
            let mut events = events;
            while let Some(event) = now(events.next()) {
                out.write_all(&event)?;
                // Not the bindings' own `flush`, which only begins it.
                Write::flush(&mut out)?;
            }
        }
    }
    // The stream is a child of the body and has to go first.
    drop(out);
    OutgoingBody::finish(body, None).map_err(|_| gone())
}

/// Let the host work: send what was written, serve others, notice that the client is gone.
///
/// Written bytes are not sent while the guest computes: a host may run it on the thread that
/// also drives the connection. A timer that is due at once gives that thread away for one turn.
enum Timer {}

impl Breath for Timer {
    async fn breathe() {
        for _ in 0..TURNS {
            monotonic_clock::subscribe_duration(0).block();
        }
    }

    async fn pause() {
        monotonic_clock::subscribe_duration(PAUSE_MS * 1_000_000).block();
    }

    fn now_ms() -> u64 {
        monotonic_clock::now() / 1_000_000
    }
}

/// A chunk may pass through several of the host's tasks on its way to the socket; each gets a turn.
const TURNS: u32 = 3;

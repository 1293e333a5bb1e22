//! Comments in a stream of events that is silent: while a request waits in the queue, or for the
//! first token of a long prompt, proxies between here and its client would give the connection up,
//! and a client that has left would not be noticed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use tokio::time::{Instant, Sleep, sleep};

/// The silence after which a comment is sent. Proxies wait a minute by default (nginx, ALB).
const SILENCE: Duration = Duration::from_secs(15);

/// What clients of server-sent events pass over.
const COMMENT: &[u8] = b":\n\n";

/// Watches one answer.
pub(super) struct KeepAlive {
    silence: Duration,
    timer: Pin<Box<Sleep>>,
    /// The last bytes that were sent: a comment may only follow a whole event.
    last: [u8; 2],
}

impl KeepAlive {
    /// For an answer of server-sent events; others have no comments.
    pub(super) fn of<B>(response: &Response<B>) -> Option<Self> {
        let kind = response.headers().get(CONTENT_TYPE)?;
        let is_events = kind.as_bytes().starts_with(b"text/event-stream");
        is_events.then(|| Self::after(SILENCE))
    }

    fn after(silence: Duration) -> Self {
        KeepAlive {
            silence,
            timer: Box::pin(sleep(silence)),
            last: *b"\n\n",
        }
    }

    /// Bytes of the answer go out.
    pub(super) fn sent(&mut self, data: &[u8]) {
        for &byte in data.iter().rev().take(2).rev() {
            self.last = [self.last[1], byte];
        }
        self.timer.as_mut().reset(Instant::now() + self.silence);
    }

    /// Wait until it is time for a comment.
    pub(super) fn poll_comment(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            std::task::ready!(self.timer.as_mut().poll(cx));
            self.timer.as_mut().reset(Instant::now() + self.silence);
            if self.last == *b"\n\n" {
                return Poll::Ready(Bytes::from_static(COMMENT));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;

    #[tokio::test]
    async fn a_comment_comes_between_events_and_never_within_one() {
        let mut keep_alive = KeepAlive::after(Duration::ZERO);
        for part in [
            &b""[..],
            b"data: x\n\n",
            b"data: y\n",
            b"data: z",
            b"\n",
            b"\n",
        ] {
            keep_alive.sent(part);
            if keep_alive.last == *b"\n\n" {
                let comment = poll_fn(|cx| keep_alive.poll_comment(cx)).await;
                assert_eq!(comment, COMMENT);
                continue;
            }
            // Its time has come, and more of the event has not.
            keep_alive.timer.as_mut().await;
            let mut context = Context::from_waker(Waker::noop());
            keep_alive.silence = Duration::from_secs(60);
            assert!(keep_alive.poll_comment(&mut context).is_pending());
            keep_alive.silence = Duration::ZERO;
        }
    }

    #[tokio::test]
    async fn only_events_have_comments() {
        for (kind, has) in [
            ("text/event-stream; charset=utf-8", true),
            ("application/json", false),
            ("application/x-ndjson", false),
        ] {
            let response = Response::builder().header(CONTENT_TYPE, kind).body(());
            assert_eq!(KeepAlive::of(&response.unwrap()).is_some(), has);
        }
        assert!(KeepAlive::of(&Response::new(())).is_none());
    }
}

//! A request's body on its way to the guest, frame by frame and never collected: its memory is
//! promised as it comes, and a client that dribbles or falls silent does not hold an instance.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use super::Limits;
use super::client::Client;
use super::request_memory::Growth;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It took too long.
    Slow,
    /// Its memory is not there, or others need it more.
    Memory,
}

/// See the module.
pub(super) struct ClientBody {
    body: Incoming,
    client: Arc<Client>,
    memory: Growth,
    /// The frame that has come and has no memory yet.
    held: Option<Frame<Bytes>>,
    whole: Pin<Box<Sleep>>,
    /// Since this server began to wait for a byte; one that is slow itself makes no client late.
    idle: Pin<Box<Sleep>>,
    idle_limit: Duration,
    waiting: bool,
    cut: Arc<OnceLock<Cut>>,
}

impl ClientBody {
    pub(super) fn new(
        body: Incoming,
        client: Arc<Client>,
        memory: Growth,
        limits: &Limits,
    ) -> Self {
        ClientBody {
            body,
            client,
            memory,
            held: None,
            whole: Box::pin(sleep(limits.body_timeout)),
            idle: Box::pin(sleep(limits.body_idle_timeout)),
            idle_limit: limits.body_idle_timeout,
            waiting: false,
            cut: Arc::default(),
        }
    }

    /// Tells, once it failed, why.
    pub(super) fn cut(&self) -> Arc<OnceLock<Cut>> {
        Arc::clone(&self.cut)
    }

    fn fail(&self, why: Cut) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // The first reason is the one.
        let _ = self.cut.set(why);
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    /// The frame that was held, once it has its memory.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if ready!(self.memory.poll_granted(cx)) {
            Poll::Ready(self.held.take().map(Ok))
        } else {
            self.held = None;
            self.fail(Cut::Memory)
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.held.is_some() {
            return this.poll_held(cx);
        }
        if this.memory.poll_taken_back(cx).is_ready() {
            return this.fail(Cut::Memory);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.client.sent_body(bytes);
                if this.body.is_end_stream() {
                    this.client.ended_body();
                }
                this.waiting = false;
                this.memory.ask(bytes);
                this.held = Some(frame);
                this.poll_held(cx)
            }
            Poll::Ready(frame) => {
                this.client.ended_body();
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => {
                if !this.waiting {
                    this.waiting = true;
                    this.idle.as_mut().reset(Instant::now() + this.idle_limit);
                }
                let late = this.whole.as_mut().poll(cx).is_ready();
                if late || this.idle.as_mut().poll(cx).is_ready() {
                    return this.fail(Cut::Slow);
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        self.client.ended_body();
    }
}

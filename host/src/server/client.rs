//! The party that a connection waits for: its client, or this server. Who waits for a client
//! longest makes room when places or memory run out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The client's: no byte of its next request has come.
    Idle,
    /// The client's: a part of a request's head has come.
    Head,
    /// The client's: a body has not come to its end.
    Body,
    /// This server's: a request is being answered.
    Answer,
}

#[derive(Debug)]
struct State {
    turn: Turn,
    since: Instant,
    /// Bytes of a body that have come since then.
    body_bytes: usize,
    /// Since when the client has taken no byte of what is there for it.
    stalled: Option<Instant>,
}

/// The client of one connection.
#[derive(Debug)]
pub(super) struct Client(Mutex<State>);

/// Of a body, so many bytes start its waiting anew: a byte now and then does not.
const PROGRESS_BYTES: usize = 16 << 10;

impl Client {
    /// One that has just connected.
    pub(super) fn new() -> Self {
        Client(Mutex::new(State {
            turn: Turn::Idle,
            since: Instant::now(),
            body_bytes: 0,
            stalled: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, turn: Turn) {
        let mut state = self.state();
        state.turn = turn;
        state.since = Instant::now();
        state.body_bytes = 0;
    }

    /// Bytes have come.
    pub(super) fn sent(&self) {
        let idle = self.state().turn == Turn::Idle;
        if idle {
            self.enter(Turn::Head);
        }
    }

    /// A head is complete, and there is a body or none.
    pub(super) fn sent_head(&self, body: bool) {
        self.enter(if body { Turn::Body } else { Turn::Answer });
    }

    /// Bytes of the body have come.
    pub(super) fn sent_body(&self, bytes: usize) {
        let mut state = self.state();
        state.body_bytes += bytes;
        if state.turn == Turn::Body && state.body_bytes >= PROGRESS_BYTES {
            state.since = Instant::now();
            state.body_bytes = 0;
        }
    }

    /// The body is complete, or nobody waits for it any more.
    pub(super) fn ended_body(&self) {
        let waits = self.state().turn == Turn::Body;
        if waits {
            self.enter(Turn::Answer);
        }
    }

    /// The answer is over.
    pub(super) fn answered(&self) {
        self.enter(Turn::Idle);
    }

    /// Notes that the client takes what is there for it, or does not.
    pub(super) fn takes(&self, takes: bool) {
        let mut state = self.state();
        state.stalled = (!takes).then(|| state.stalled.unwrap_or_else(Instant::now));
    }

    /// Since when this server has waited for it; `None` where it waits for this server.
    pub(super) fn awaited_since(&self) -> Option<Instant> {
        let state = self.state();
        match state.turn {
            Turn::Answer => state.stalled,
            _ => Some(state.since),
        }
    }

    /// Since when a body has been waited for; `None` where none is on its way.
    pub(super) fn sending_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.turn == Turn::Body).then_some(state.since)
    }

    /// When its connection is closed if it goes on sending nothing, or less than a head. Bodies and
    /// answers have limits of their own.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let state = self.state();
        if state.stalled.is_some() {
            // The end of an answer is still on its way.
            return None;
        }
        let limit: Duration = match state.turn {
            Turn::Idle => limits.idle_timeout,
            Turn::Head => limits.header_timeout,
            Turn::Body | Turn::Answer => return None,
        };
        state.since.checked_add(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PerKey;
    use super::*;

    const LIMITS: Limits = Limits {
        max_connections: 1,
        header_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(620),
        body_timeout: Duration::from_secs(60),
        body_idle_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(60),
        per_key: PerKey {
            running: None,
            per_minute: None,
        },
    };

    /// Seconds from when it is awaited to the deadline.
    fn limit(client: &Client) -> Option<u64> {
        let limit = client.deadline(&LIMITS)? - client.awaited_since()?;
        Some(limit.as_secs())
    }

    /// Until the clock says something else.
    fn tick() {
        let before = Instant::now();
        while Instant::now() == before {}
    }

    #[test]
    fn the_header_limit_runs_from_a_heads_first_byte() {
        let client = Client::new();
        assert_eq!(limit(&client), Some(620));
        let connected = client.awaited_since();
        tick();
        client.sent();
        assert_eq!(limit(&client), Some(30));
        let began = client.awaited_since();
        assert!(began > connected);
        tick();
        client.sent();
        assert_eq!(
            client.awaited_since(),
            began,
            "a further byte gives no further time"
        );
        client.sent_head(false);
        assert_eq!((limit(&client), client.awaited_since()), (None, None));
        client.sent();
        assert_eq!(
            limit(&client),
            None,
            "a request sent ahead waits for its turn"
        );
        client.answered();
        assert_eq!(limit(&client), Some(620));
    }

    #[test]
    fn a_byte_now_and_then_is_no_progress() {
        let client = Client::new();
        client.sent_head(true);
        let began = client.awaited_since();
        tick();
        client.sent_body(1);
        assert_eq!(client.awaited_since(), began);
        client.sent_body(PROGRESS_BYTES);
        assert!(client.awaited_since() > began);
        client.ended_body();
        assert_eq!(client.awaited_since(), None);
    }

    #[test]
    fn one_that_reads_nothing_is_awaited_too() {
        let client = Client::new();
        client.sent_head(false);
        client.takes(false);
        let stalled = client.awaited_since();
        assert!(stalled.is_some());
        tick();
        client.takes(false);
        assert_eq!(client.awaited_since(), stalled);
        client.answered();
        assert_eq!(
            client.deadline(&LIMITS),
            None,
            "the end of the answer is on its way"
        );
        client.takes(true);
        assert_eq!(limit(&client), Some(620));
    }
}

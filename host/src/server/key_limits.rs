//! The share of the server that each API key may take: requests at a time, and requests a minute.
//!
//! What generates or computes counts, so every POST; what is only read does not. A request without
//! a known key is refused by the component and takes nothing from anybody.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response};
use sterna_http_rules::keys;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

/// The limits, the same for every key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKey {
    /// Requests that are being answered at a time.
    pub running: Option<u32>,
    /// Requests that begin in a minute. So many may come at once after a quiet minute.
    pub per_minute: Option<u32>,
}

/// The keys, and what each has taken.
pub(super) struct KeyLimits {
    limits: PerKey,
    keys: Vec<String>,
    taken: Vec<Arc<Taken>>,
}

struct Taken {
    running: AtomicU32,
    bucket: Mutex<Bucket>,
}

/// A token bucket: full after a minute.
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// A running request of a key, until it is dropped.
pub(super) struct Running(Arc<Taken>);

/// What remains to a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Allowance {
    limit: u32,
    remaining: u32,
    /// Until there is as much as there may be.
    reset: Duration,
}

/// Why a key's request is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Exceeded {
    /// So many run already.
    Running(u32),
    /// So many began within a minute; the next one may after `wait`.
    PerMinute {
        allowance: Allowance,
        wait: Duration,
    },
}

/// What an admitted request holds of its key, and what is told of it.
pub(super) type Entered = (Option<Running>, Option<Allowance>);

impl KeyLimits {
    pub(super) fn new(limits: PerKey, keys: Vec<String>, now: Instant) -> Self {
        let taken = || {
            Arc::new(Taken {
                running: AtomicU32::new(0),
                bucket: Mutex::new(Bucket {
                    tokens: f64::from(limits.per_minute.unwrap_or(0)),
                    at: now,
                }),
            })
        };
        let has_limit = limits != PerKey::default();
        let keys = if has_limit { keys } else { Vec::new() };
        KeyLimits {
            limits,
            taken: keys.iter().map(|_| taken()).collect(),
            keys,
        }
    }

    /// Count a request, if it is one that counts.
    ///
    /// # Errors
    /// Its key has no more.
    pub(super) fn enter<B>(&self, request: &Request<B>, now: Instant) -> Result<Entered, Exceeded> {
        let key = self.key_of(request);
        let Some(taken) = key.and_then(|key| self.taken.get(key)) else {
            return Ok((None, None));
        };
        let running = match self.limits.running {
            Some(most) => Some(taken.run(most)?),
            None => None,
        };
        let allowance = match self.limits.per_minute {
            Some(limit) => Some(taken.begin(limit, now)?),
            None => None,
        };
        Ok((running, allowance))
    }

    fn key_of<B>(&self, request: &Request<B>) -> Option<usize> {
        if self.keys.is_empty() || request.method() != Method::POST {
            return None;
        }
        let text = |name: &HeaderName| request.headers().get(name)?.to_str().ok();
        keys::known(
            &self.keys,
            &keys::given(text(&AUTHORIZATION), text(&API_KEY)),
        )
    }
}

impl Taken {
    fn run(self: &Arc<Self>, most: u32) -> Result<Running, Exceeded> {
        let more = |running| (running < most).then_some(running + 1);
        match self.running.fetch_update(SeqCst, SeqCst, more) {
            Ok(_) => Ok(Running(Arc::clone(self))),
            Err(_) => Err(Exceeded::Running(most)),
        }
    }

    fn begin(&self, limit: u32, now: Instant) -> Result<Allowance, Exceeded> {
        let (full, a_second) = (f64::from(limit), f64::from(limit) / 60.0);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * a_second).min(full);
        bucket.at = bucket.at.max(now);
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        let allowance = Allowance {
            limit,
            // At most the limit, which is a u32.
            remaining: bucket.tokens as u32,
            reset: Duration::from_secs_f64((full - bucket.tokens) / a_second),
        };
        if enough {
            return Ok(allowance);
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.tokens) / a_second);
        Err(Exceeded::PerMinute { allowance, wait })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Allowance {
    /// Tell the client, as OpenAI does.
    pub(super) fn tell<B>(&self, response: &mut Response<B>) {
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        let reset = format!("{:.3}s", self.reset.as_secs_f64());
        if let Ok(reset) = HeaderValue::from_str(&reset) {
            headers.insert(RESET, reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, key: &str) -> Request<()> {
        let request = Request::builder().method(method);
        let request = request.header("authorization", format!("Bearer {key}"));
        request.body(()).unwrap()
    }

    fn limits(running: Option<u32>, per_minute: Option<u32>, now: Instant) -> KeyLimits {
        let limits = PerKey {
            running,
            per_minute,
        };
        KeyLimits::new(limits, vec!["a".into(), "b".into()], now)
    }

    #[test]
    fn each_key_has_so_many_at_a_time() {
        let now = Instant::now();
        let limits = limits(Some(2), None, now);
        let enter = |key| limits.enter(&request("POST", key), now);
        let first = enter("a").unwrap();
        let _second = enter("a").unwrap();
        assert_eq!(enter("a").err(), Some(Exceeded::Running(2)));
        assert!(enter("b").is_ok(), "another key's are its own");
        drop(first);
        assert!(enter("a").is_ok());
        assert_eq!(enter("a").unwrap().1, None, "nothing is told of no rate");
    }

    #[test]
    fn each_key_begins_so_many_a_minute() {
        let start = Instant::now();
        let limits = limits(None, Some(6), start);
        let after = |seconds: f64| {
            let now = start + Duration::from_secs_f64(seconds);
            limits.enter(&request("POST", "a"), now)
        };
        for left in (0..6).rev() {
            let (_, allowance) = after(0.0).unwrap();
            let allowance = allowance.unwrap();
            assert_eq!((allowance.limit, allowance.remaining), (6, left));
            assert_eq!(allowance.reset.as_secs(), 10 * u64::from(6 - left));
        }
        let Err(Exceeded::PerMinute { allowance, wait }) = after(4.0) else {
            panic!("six a minute");
        };
        assert_eq!((allowance.remaining, wait.as_secs_f64().round()), (0, 6.0));
        assert!(after(10.0).is_ok());
        assert!(after(10.0).is_err(), "one came back in ten seconds");
        assert!(limits.enter(&request("POST", "b"), start).is_ok());
        // A quiet hour gives no more than a minute's.
        assert_eq!((0..9).filter(|_| after(3600.0).is_ok()).count(), 6);
        assert!(
            after(0.0).is_err(),
            "a clock that stands still gives nothing"
        );
    }

    #[test]
    fn what_is_refused_for_many_at_a_time_is_not_counted_as_begun() {
        let now = Instant::now();
        let limits = limits(Some(1), Some(2), now);
        let held = limits.enter(&request("POST", "a"), now).unwrap();
        for _ in 0..5 {
            let refused = limits.enter(&request("POST", "a"), now);
            assert_eq!(refused.err(), Some(Exceeded::Running(1)));
        }
        drop(held);
        assert!(limits.enter(&request("POST", "a"), now).is_ok());
        // And what began too soon runs no longer.
        for _ in 0..2 {
            let refused = limits.enter(&request("POST", "a"), now).err();
            assert!(
                matches!(refused, Some(Exceeded::PerMinute { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn only_what_computes_for_a_known_key_counts() {
        let now = Instant::now();
        let limits = limits(Some(1), Some(1), now);
        let _held = limits.enter(&request("POST", "a"), now).unwrap();
        for (method, key) in [("GET", "a"), ("OPTIONS", "a"), ("POST", "c"), ("POST", "")] {
            let entered = limits.enter(&request(method, key), now).unwrap();
            assert!(entered.0.is_none() && entered.1.is_none(), "{method} {key}");
        }
    }

    #[test]
    fn the_client_is_told_what_remains() {
        let mut response = Response::new(());
        let allowance = Allowance {
            limit: 60,
            remaining: 59,
            reset: Duration::from_millis(1000),
        };
        allowance.tell(&mut response);
        let value = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(
            (value(&LIMIT), value(&REMAINING), value(&RESET)),
            ("60", "59", "1.000s")
        );
    }
}

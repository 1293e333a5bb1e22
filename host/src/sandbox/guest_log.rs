//! The stdout and stderr of a baked engine, as lines of the server's log: limited in number and
//! length, and without control characters. It is a panic's message, or whatever else a file's
//! author chose to say.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes of a line; the rest of a longer one is the next.
const LINE_BYTES: usize = 1024;
/// Lines that may come at once.
const LINES: u32 = 64;
/// The time between two lines once the first ones are used up.
const EACH: Duration = Duration::from_secs(1);
/// Bytes the engine may write at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The log of all instances of an engine, one after another.
#[derive(Clone, Debug)]
pub(super) struct GuestLog(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    /// The line that has no end yet.
    line: Vec<u8>,
    /// Lines that may come now.
    left: u32,
    /// Since when further ones are counted.
    since: Instant,
    /// Lines left out since the last one.
    dropped: u64,
}

impl GuestLog {
    pub(super) fn new() -> Self {
        GuestLog(Arc::new(Mutex::new(Lines {
            line: Vec::new(),
            left: LINES,
            since: Instant::now(),
            dropped: 0,
        })))
    }

    /// End the line that an instance left unfinished.
    pub(super) fn end_line(&self) {
        self.lines(|lines| {
            if !lines.line.is_empty() {
                lines.end_line(Instant::now());
            }
        });
    }

    fn lines<R>(&self, with: impl FnOnce(&mut Lines) -> R) -> R {
        // Nothing panics while it holds the lock.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Lines {
    fn write(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line(now);
            } else {
                self.line.push(byte);
                if self.line.len() == LINE_BYTES {
                    self.end_line(now);
                }
            }
        }
    }

    fn end_line(&mut self, now: Instant) {
        let line = printable(&std::mem::take(&mut self.line));
        if let Some(dropped) = self.take_turn(now) {
            if dropped > 0 {
                tracing::warn!(dropped, "the engine wrote more lines than are logged");
            }
            tracing::warn!("the engine says: {line}");
        }
    }

    /// Grants one more line, with the number of those left out before it.
    fn take_turn(&mut self, now: Instant) -> Option<u64> {
        let waited = now.saturating_duration_since(self.since);
        let more = u32::try_from(waited.as_secs() / EACH.as_secs()).unwrap_or(LINES);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(LINES);
            self.since = now;
        }
        if self.left == 0 {
            self.dropped += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

/// The line without anything that a terminal or a log's reader would take for more than text.
fn printable(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for character in String::from_utf8_lossy(line).chars() {
        if character.is_control() {
            // Writing to a string does not fail.
            let _ = write!(text, "{}", character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.3 alone asks for it.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lines(|lines| lines.write(&bytes, Instant::now()));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_at_once_and_then_one_a_second() {
        let log = GuestLog::new();
        let start = Instant::now();
        log.lines(|lines| {
            lines.since = start;
            let taken = (0..1000).filter(|_| lines.take_turn(start).is_some());
            assert_eq!(taken.count(), LINES as usize);
            assert_eq!(lines.take_turn(start + EACH / 2), None);
            let dropped = 1000 - u64::from(LINES) + 1;
            assert_eq!(lines.take_turn(start + EACH), Some(dropped));
            assert_eq!(lines.take_turn(start + EACH), None);
            let later = start + EACH * 100_000;
            let taken = (0..1000).filter(|_| lines.take_turn(later).is_some());
            assert_eq!(taken.count(), LINES as usize);
        });
    }

    #[test]
    fn lines_without_an_end_are_cut_and_hold_no_memory() {
        let log = GuestLog::new();
        let text = vec![b'a'; 10 * LINE_BYTES + 7];
        log.lines(|lines| {
            lines.write(&text, Instant::now());
            assert_eq!(lines.line.len(), 7);
            assert_eq!(lines.left, LINES - 10);
        });
        log.end_line();
        log.lines(|lines| assert_eq!((lines.line.len(), lines.left), (0, LINES - 11)));
    }

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\u{9b}c\u{e9}\t".as_bytes()),
            "a\\u{1b}[2Jb\\r\\u{9b}c\u{e9}\\t"
        );
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}

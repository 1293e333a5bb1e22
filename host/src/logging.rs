//! Log lines on stderr: text for people, JSON for collectors. They hold no query string, no key and
//! no prompt, whatever is switched on. A thread of its own writes them: where nobody reads stderr,
//! lines are dropped and counted, and nothing waits.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Context;
use clap::ValueEnum;
use tracing::{Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that may wait to be written: some 2 MB.
const LINES: usize = 8192;

/// Lines that were dropped because nobody took them from stderr.
#[must_use]
pub fn dropped_lines() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}

/// Held by [`init`]'s result and by [`exit`], of which the first to come takes it.
static WORKER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Writes the lines that wait when it is dropped, and gives up after a second.
#[must_use = "lines that wait when the process ends are lost without it"]
#[non_exhaustive]
pub struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        flush();
    }
}

fn flush() {
    let worker = WORKER.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(worker);
}

/// End the process from any thread, after the lines that wait are written (at most a second).
pub fn exit(code: i32) -> ! {
    flush();
    std::process::exit(code)
}

/// An error as a line of the log, for somebody who cannot use the log itself. It has no time.
#[must_use]
pub fn error_line(message: &str) -> String {
    match FORMAT.get().copied().unwrap_or_default() {
        LogFormat::Text => format!("ERROR {message}\n"),
        LogFormat::Json => {
            let line = serde_json::json!({"level": "ERROR", "fields": {"message": message}});
            format!("{line}\n")
        }
    }
}

/// Start logging, until the process ends; the result is kept until then. `STERNA_LOG` selects what
/// (`warn`, `sterna=debug`); the default is `info`.
///
/// # Errors
/// `STERNA_LOG` cannot be understood.
pub fn init(format: LogFormat) -> anyhow::Result<Flush> {
    FORMAT.get_or_init(|| format);
    let selected = match std::env::var("STERNA_LOG") {
        Err(std::env::VarError::NotPresent) => "info".to_owned(),
        selected => selected.context("STERNA_LOG cannot be used")?,
    };
    let ansi = std::io::stderr().is_terminal();
    let (writer, worker) = writer(std::io::stderr(), LINES);
    let dropped = writer.error_counter();
    let subscriber = subscriber(format, &selected, ansi, writer)?;
    // A second call (tests in one process) keeps the first subscriber.
    if subscriber.try_init().is_ok() {
        DROPPED.get_or_init(|| dropped);
        *WORKER.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
    }
    Ok(Flush)
}

/// A thread that writes to `stream`, and what hands lines to it without waiting.
fn writer(stream: impl Write + Send + 'static, lines: usize) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default()
        .buffered_lines_limit(lines)
        .thread_name("log");
    builder.lossy(true).finish(stream)
}

fn subscriber<W>(
    format: LogFormat,
    selected: &str,
    ansi: bool,
    writer: W,
) -> anyhow::Result<impl Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a, Writer: Write> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(selected).context(
        "STERNA_LOG cannot be used: expected a level (error, warn, info, debug, trace), or levels by target such as \
         sterna=debug,info",
    )?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(ansi)
        // It would report a closed stderr on stderr, and panic.
        .log_internal_errors(false)
        .with_target(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(filter_fn(is_discreet));
    Ok(tracing_subscriber::registry().with(filter).with(lines))
}

/// True if such a line may be written. Below warnings, libraries tell what passes through them:
/// wasmtime, for example, the arguments and results of every call, and so paths with their queries
/// and bodies with their prompts.
fn is_discreet(line: &Metadata<'_>) -> bool {
    let own = line.target().split("::").next() == Some("sterna");
    own || *line.level() <= Level::WARN
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Written;

        fn make_writer(&'a self) -> Written {
            self.clone()
        }
    }

    /// Holds its first line until it may go on.
    struct Stuck(Written, Option<std::sync::mpsc::Receiver<()>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(go_on) = self.1.take() {
                go_on.recv().unwrap();
            }
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_counted_and_nothing_waits() {
        let written = Written::default();
        let (go_on, waits) = std::sync::mpsc::channel();
        let (mut writer, worker) = writer(Stuck(written.clone(), Some(waits)), 4);
        let dropped = writer.error_counter();
        for _ in 0..100 {
            writer.write_all(b"line\n").unwrap();
        }
        let lost = dropped.dropped_lines();
        // Four wait, and the thread may have taken one.
        assert!((95..=96).contains(&lost), "{lost}");
        go_on.send(()).unwrap();
        drop(worker);
        let kept = written.0.lock().unwrap().len() / b"line\n".len();
        assert_eq!(kept + lost, 100);
    }

    fn written(format: LogFormat, selected: &str) -> String {
        let written = Written::default();
        let lines = subscriber(format, selected, false, written.clone()).unwrap();
        tracing::subscriber::with_default(lines, || {
            tracing::trace!(target: "wasmtime_wasi_http::p2", path = "/v1/models?key=secret", "call");
            tracing::debug!(target: "hyper::proto", "read secret");
            tracing::info!(target: "sternal", "secret");
            tracing::warn!(target: "hyper::proto", "odd");
            tracing::trace!(target: "sterna::server", "ours");
            tracing::info!("line");
        });
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn libraries_say_only_what_is_wrong() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let all = written(format, "trace");
            assert!(!all.contains("secret"), "{all}");
            for own in ["odd", "ours", "line"] {
                assert!(all.contains(own), "{all}");
            }
            let named = written(format, "wasmtime_wasi_http=trace,hyper=debug,info");
            assert!(
                !named.contains("secret") && !named.contains("ours"),
                "{named}"
            );
            assert!(named.contains("odd") && named.contains("line"), "{named}");
        }
    }

    #[test]
    fn a_selection_that_says_nothing_known_is_refused() {
        for wrong in ["sterna=loud", "=", "a=b=c"] {
            let Err(error) = subscriber(LogFormat::Text, wrong, false, io::stderr) else {
                panic!("{wrong} was taken");
            };
            assert!(format!("{error:#}").contains("STERNA_LOG"), "{error:#}");
        }
    }
}

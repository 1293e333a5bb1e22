//! New requests do not stall running ones: prompts are refused by their size or beside the engine's
//! thread, and between two steps that thread takes so much and no more.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde_json::json;
use sterna::engine::Generation;
use sterna::engine::driven::{Answered, DrivenEngine, EngineSource, Texts};
use sterna::engine::handle::EngineHandle;
use sterna_engine::error::EngineError;
use sterna_engine::request::{
    Conversation, Delivery, EngineStats, GenerationId, ModelInfo, Prompt, Request, Submitted,
};
use sterna_engine::scheduler::PromptSize;

use crate::engine_thread::linked;
use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, demo_with_context, greedy, wait_until};

/// Requests that may be queued or running: `EngineOptions`' defaults.
const MOST: usize = 64 + 8;

/// The calls of an engine, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Submit,
    Cancel,
    Step,
}

/// An engine that takes notes, and stays in its first step until it is let go.
struct Noting {
    engine: Box<dyn DrivenEngine>,
    notes: Arc<Mutex<Vec<Asked>>>,
    begun: Sender<()>,
    go_on: Option<Receiver<()>>,
}

impl Noting {
    fn note(&self, asked: Asked) {
        self.notes.lock().unwrap().push(asked);
    }
}

impl DrivenEngine for Noting {
    fn info(&mut self) -> ModelInfo {
        self.engine.info()
    }
    fn prompt_size(&mut self) -> anyhow::Result<PromptSize> {
        self.engine.prompt_size()
    }
    fn submit(&mut self, request: Request) -> Answered<Submitted> {
        self.note(Asked::Submit);
        self.engine.submit(request)
    }
    fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> anyhow::Result<bool> {
        let stepped = self.engine.step(deliver)?;
        if stepped {
            self.note(Asked::Step);
            if let Some(go_on) = self.go_on.take() {
                self.begun.send(()).unwrap();
                go_on.recv().unwrap();
            }
        }
        Ok(stepped)
    }
    fn cancel(&mut self, id: GenerationId) -> anyhow::Result<bool> {
        self.note(Asked::Cancel);
        self.engine.cancel(id)
    }
    fn stats(&mut self) -> anyhow::Result<EngineStats> {
        self.engine.stats()
    }
}

/// The source of the engine, and texts that wait until they are let go.
struct NotingEngines {
    notes: Arc<Mutex<Vec<Asked>>>,
    channels: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    /// While it is set, no text is looked at.
    texts_wait: Arc<AtomicBool>,
}

struct WaitingTexts {
    texts: Box<dyn Texts>,
    wait: Arc<AtomicBool>,
}

impl Texts for WaitingTexts {
    fn tokenize(&mut self, text: &str, add_special: bool) -> Answered<Vec<u32>> {
        self.texts.tokenize(text, add_special)
    }
    fn detokenize(&mut self, tokens: &[u32]) -> Answered<String> {
        self.texts.detokenize(tokens)
    }
    fn apply_template(&mut self, conversation: Conversation) -> Answered<String> {
        self.texts.apply_template(conversation)
    }
    fn admit(&mut self, request: Request) -> Answered<Request> {
        wait_until("leave to go on", || !self.wait.load(SeqCst));
        self.texts.admit(request)
    }
}

impl EngineSource for NotingEngines {
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>> {
        let (begun, go_on) = self.channels.lock().unwrap().take().unwrap();
        Ok(Box::new(Noting {
            engine: linked().start()?,
            notes: Arc::clone(&self.notes),
            begun,
            go_on: Some(go_on),
        }))
    }
    fn texts(&self) -> anyhow::Result<Box<dyn Texts>> {
        Ok(Box::new(WaitingTexts {
            texts: linked().texts()?,
            wait: Arc::clone(&self.texts_wait),
        }))
    }
    fn max_queue(&self) -> u32 {
        linked().max_queue()
    }
}

/// An engine with one generation, in the middle of its first step.
struct InAStep {
    engine: EngineHandle,
    first: Generation,
    notes: Arc<Mutex<Vec<Asked>>>,
    go_on: Sender<()>,
    texts_wait: Arc<AtomicBool>,
}

fn request(prompt: Prompt) -> Request {
    Request {
        max_tokens: Some(3),
        ..Request::new(prompt)
    }
}

fn in_a_step() -> InAStep {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let texts_wait = Arc::new(AtomicBool::new(false));
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel();
    let engines = NotingEngines {
        notes: Arc::clone(&notes),
        channels: Mutex::new(Some((begun, may_go_on))),
        texts_wait: Arc::clone(&texts_wait),
    };
    let engine = EngineHandle::start(Arc::new(engines), 1).unwrap();
    let long = Request {
        max_tokens: Some(100),
        ..Request::new(Prompt::Tokens(vec![5]))
    };
    let first = {
        let mut asking: Asking<'_, Generation> = Box::pin(engine.generate(long));
        poll_until_ready(&mut asking).unwrap()
    };
    has_begun.recv().unwrap();
    InAStep {
        engine,
        first,
        notes,
        go_on,
        texts_wait,
    }
}

type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + 'a>>;

fn poll<T>(asking: &mut Asking<'_, T>) -> Poll<Result<T, EngineError>> {
    asking
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

fn poll_until_ready<T>(asking: &mut Asking<'_, T>) -> Result<T, EngineError> {
    let mut result = None;
    wait_until("an answer", || match poll(asking) {
        Poll::Ready(answer) => {
            result = Some(answer);
            true
        }
        Poll::Pending => false,
    });
    result.unwrap()
}

/// As many as may ask while a step goes on: it ends, and the next one does not wait for all of
/// them. Who leaves is not kept waiting behind them.
#[test]
fn a_flood_of_requests_does_not_keep_the_next_step_waiting() {
    let InAStep {
        engine,
        first,
        notes,
        go_on,
        ..
    } = in_a_step();
    let mut asking: Vec<Asking<'_, Generation>> = (1..MOST)
        .map(|_| Box::pin(engine.generate(request(Prompt::Tokens(vec![7])))) as _)
        .collect();
    for asking in &mut asking {
        assert!(poll(asking).is_pending());
    }
    // Asked last.
    drop(first);
    go_on.send(()).unwrap();
    let generations: Vec<Generation> = asking
        .iter_mut()
        .map(|asking| poll_until_ready(asking).unwrap())
        .collect();
    assert_eq!(generations.len(), MOST - 1);
    let notes = notes.lock().unwrap();
    assert_eq!(notes[..3], [Asked::Submit, Asked::Step, Asked::Cancel]);
    let between_steps = notes[3..].split(|asked| *asked == Asked::Step);
    let most = between_steps.map(<[Asked]>::len).max().unwrap();
    assert!((1..=16).contains(&most), "{notes:?}");
}

/// The engine is busy, and says no all the same: who is inside counts towards the queue's limit.
#[test]
fn who_waits_to_be_admitted_counts_towards_the_queue() {
    let InAStep {
        engine,
        first,
        go_on,
        texts_wait,
        ..
    } = in_a_step();
    texts_wait.store(true, SeqCst);
    let ask = || -> Asking<'_, Generation> {
        Box::pin(engine.generate(request(Prompt::Text("Once".into()))))
    };
    let mut asking: Vec<_> = (1..MOST).map(|_| ask()).collect();
    for asking in &mut asking {
        assert!(poll(asking).is_pending());
    }
    let refused = poll_until_ready(&mut ask()).err();
    assert!(
        matches!(refused, Some(EngineError::Overloaded { .. })),
        "{refused:?}"
    );
    // One leaves while it waits: there is a place again.
    asking.pop();
    let mut late = ask();
    assert!(poll(&mut late).is_pending());
    texts_wait.store(false, SeqCst);
    go_on.send(()).unwrap();
    for asking in asking.iter_mut().chain([&mut late]) {
        poll_until_ready(asking).unwrap();
    }
    drop(first);
    assert_eq!(engine.metrics().generations_started.get(), MOST as u64);
}

/// The end of the server is not kept waiting by what is being tokenised, or waits for its turn.
#[test]
fn the_end_is_told_to_who_waits_to_be_admitted() {
    let InAStep {
        engine,
        go_on,
        texts_wait,
        ..
    } = in_a_step();
    texts_wait.store(true, SeqCst);
    let mut asking: Vec<Asking<'_, Generation>> = (0..5)
        .map(|_| Box::pin(engine.generate(request(Prompt::Text("Once".into())))) as _)
        .collect();
    for asking in &mut asking {
        assert!(poll(asking).is_pending());
    }
    engine.end_all();
    for asking in &mut asking {
        let ended = poll_until_ready(asking).err();
        assert!(
            matches!(ended, Some(EngineError::Unavailable(_))),
            "{ended:?}"
        );
    }
    texts_wait.store(false, SeqCst);
    go_on.send(()).unwrap();
}

/// A long input is embedded in parts, with steps of what is running between them.
#[test]
fn an_embedding_lets_running_generations_go_on() {
    let InAStep {
        engine,
        mut first,
        notes,
        go_on,
        ..
    } = in_a_step();
    let tokens = engine.info().context_length as usize;
    let request = Request::to_embed(Prompt::Tokens(vec![9; tokens]));
    let mut starting: Asking<'_, _> = Box::pin(engine.generate(request));
    assert!(poll(&mut starting).is_pending());
    go_on.send(()).unwrap();
    let mut embedding = poll_until_ready(&mut starting).unwrap();
    assert_eq!(embedding.prompt_tokens() as usize, tokens);
    let mut next: Asking<'_, _> = Box::pin(embedding.next());
    let event = poll_until_ready(&mut next).unwrap().unwrap();
    assert!(event.embedding.is_some() && event.finish.is_some());
    let steps = notes
        .lock()
        .unwrap()
        .iter()
        .filter(|asked| **asked == Asked::Step)
        .count();
    assert!(
        steps > 1,
        "{steps} steps beside an input of {tokens} tokens"
    );
    let mut next: Asking<'_, _> = Box::pin(first.next());
    assert!(poll_until_ready(&mut next).unwrap().is_some());
}

/// The longest time between two events of a stream, and its text.
fn longest_gap(server: &Server) -> (Duration, String) {
    let mut events = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 400, true));
    let mut text = events.next().unwrap()["choices"][0]["text"].to_string();
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    for event in events {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        text += event["choices"][0]["text"].as_str().unwrap();
    }
    (longest, text)
}

/// Bodies of 4 MB, each of one kind, refused one after the other while streams run.
fn does_not_stall(server: &Server) {
    let bodies: Vec<Vec<u8>> = ["a", " ", "word ", "\u{1F600}"]
        .iter()
        .map(|pattern| {
            let text = pattern.repeat(4_000_000 / pattern.len());
            json!({ "prompt": text, "max_tokens": 1 })
                .to_string()
                .into_bytes()
        })
        .collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (quiet, expected) = longest_gap(server);
        for body in &bodies {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let answer = server.connect().request(
                        "POST",
                        "/v1/completions",
                        &["Content-Type: application/json"],
                        body,
                    );
                    let message = answer.error(400);
                    assert!(message.contains("context"), "{message}");
                }
            });
        }
        // Time is what this is about. A busy machine may stall a stream by itself, but not each
        // time; on a thread that tokenises them each of these bodies took half a second.
        let attempts: Vec<Duration> = (0..3)
            .map(|_| {
                let (gap, text) = longest_gap(server);
                assert_eq!(text, expected);
                gap
            })
            .collect();
        stop.store(true, SeqCst);
        let best = attempts.iter().min().unwrap();
        let allowed = 4 * quiet + Duration::from_millis(300);
        assert!(*best < allowed, "{attempts:?}, quiet {quiet:?}");
    });
    assert_eq!(server.metric("sterna_generations_started_total"), 4.0);
}

#[test]
fn prompts_that_are_refused_do_not_stall_a_stream() {
    does_not_stall(&Server::start(&[]));
}

/// With a context that is too long for the bytes alone to tell.
#[test]
fn nor_do_they_where_they_have_to_be_tokenised() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo_with_context(folder.path(), 1 << 18);
    does_not_stall(&Server::start(&["--model", model.to_str().unwrap()]));
}

#[test]
fn a_stream_goes_on_while_many_are_refused() {
    let server = Server::start(&["--max-sequences", "1"]);
    let events = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 48, true));
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let body = greedy(&[LILY; 100].join(" "), 5, false);
                server.post("/v1/completions", &body).error(400)
            });
        }
    });
    assert_eq!(events.text(), LILY_GREEDY);
    assert_eq!(server.metric("sterna_generations_started_total"), 1.0);
    let refused = "sterna_http_requests_total{route=\"/v1/completions\",status=\"400\"}";
    assert_eq!(server.metric(refused), 64.0);
}

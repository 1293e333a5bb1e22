//! An engine that attacks its host: what it does in its next step is the prompt of a request.
//! `good` answers `ok`; every other prompt is an attack, named in [`attack`]. Attacks that a host
//! survives end in a trap, or answer what came of them.

#![allow(
    missing_docs,
    reason = "the generated exports are documented in wit/engine.wit"
)]

mod lent;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

wit_bindgen::generate!({ path: "../../wit", world: "scheduler-provider" });

use exports::sterna::inference::{engine as wit, scheduler};

/// A context that makes `start` answer with names that nobody can show.
const CONTEXT_OF_LONG_NAMES: u32 = 666;
/// The same with a context beyond any model's.
const CONTEXT_OF_NO_MODEL: u32 = 667;

#[derive(Default)]
struct Queue {
    opened: u64,
    /// Number and prompt.
    waiting: VecDeque<(u64, String)>,
}

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::default();
}

struct Component;

/// Do what the prompt says, and answer what came of it.
fn attack(prompt: &str) -> String {
    match prompt {
        "good" => return "ok".into(),
        "trap" => panic!("\u{1b}[31mthis engine fails\nfaked: a line of the log"),
        "loop" => forever(),
        "stack" => return deep(1).to_string(),
        "wait" => std::thread::sleep(Duration::from_secs(36_000)),
        "exit" => std::process::exit(0),
        "memory" => return grow(),
        "log" => {
            for line in 0..5_000 {
                // Whether anybody reads it is what is tried.
                let _ = writeln!(
                    std::io::stderr(),
                    "line {line} \u{1b}[2J {}",
                    "x".repeat(300)
                );
            }
        }
        other => lent::attack(other),
    }
    "survived".into()
}

fn forever() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

fn deep(n: u64) -> u64 {
    if std::hint::black_box(n) == 0 {
        return 0;
    }
    1 + deep(std::hint::black_box(n + 1))
}

/// As many MiB as there are.
fn grow() -> String {
    const MIB: usize = 1 << 20;
    let mut held = Vec::new();
    loop {
        let mut piece: Vec<u8> = Vec::new();
        if piece.try_reserve_exact(16 * MIB).is_err() {
            return (held.len() * 16).to_string();
        }
        held.push(piece);
    }
}

fn event(text: String, finish: bool) -> wit::Event {
    let usage = wit::Usage {
        prompt_tokens: 1,
        completion_tokens: 1,
        cached_tokens: 0,
    };
    wit::Event {
        text,
        tokens: vec![0],
        finish: finish.then_some(wit::Finish {
            reason: wit::FinishReason::Length,
            usage,
        }),
        details: Vec::new(),
        prompt: Vec::new(),
        embedding: None,
    }
}

impl scheduler::Guest for Component {
    fn start(options: scheduler::Options) -> Result<wit::ModelInfo, wit::Error> {
        let context = options.max_context;
        let long = context == Some(CONTEXT_OF_LONG_NAMES);
        Ok(wit::ModelInfo {
            id: if long {
                "h\n".repeat(1 << 20)
            } else {
                "hostile".into()
            },
            created: 0,
            architecture: "none".into(),
            context_length: if context == Some(CONTEXT_OF_NO_MODEL) {
                u32::MAX
            } else {
                1024
            },
            vocab_size: 1,
            parameters: 0,
            head_type: "none".into(),
            kv_type: "none".into(),
            isa: "none".into(),
            max_sequences: 8,
            embedding_size: 4,
            generates: true,
            reasoning_tags: None,
            call_form: None,
            fingerprint: String::new(),
        })
    }

    fn measure() -> scheduler::PromptSize {
        scheduler::PromptSize {
            context: 1024,
            token_bytes: 0,
            whitespace: true,
        }
    }

    /// A token for each character, so that `submit` knows what to do.
    fn admit(request: wit::Request, _: u32) -> Result<Vec<u32>, wit::Error> {
        match request.prompt {
            wit::Prompt::Text(text) if text == "loop in admit" => forever(),
            wit::Prompt::Text(text) => Ok(text.chars().map(u32::from).collect()),
            _ => Err(wit::Error::Unavailable("this engine takes text".into())),
        }
    }

    fn submit(request: wit::Request) -> Result<scheduler::Submitted, wit::Error> {
        let wit::Prompt::Tokens(tokens) = request.prompt else {
            return Err(wit::Error::Unavailable("this engine takes tokens".into()));
        };
        let prompt: String = tokens.into_iter().filter_map(char::from_u32).collect();
        if prompt == "loop in submit" {
            forever();
        }
        QUEUE.with_borrow_mut(|queue| {
            // Two generations of one number.
            queue.opened += u64::from(prompt != "same number");
            queue.waiting.push_back((queue.opened, prompt));
            Ok(scheduler::Submitted {
                id: queue.opened,
                prompt_tokens: 1,
                reasons: false,
            })
        })
    }

    fn step() -> Option<Vec<scheduler::Delivery>> {
        let (id, prompt) = QUEUE.with_borrow_mut(|queue| queue.waiting.pop_front())?;
        let events = match prompt.as_str() {
            "many events" => (0..100_000).map(|_| event("a".into(), false)).collect(),
            "long embedding" => vec![wit::Event {
                embedding: Some(vec![1.0; 10 << 20]),
                ..event(String::new(), true)
            }],
            "long text" => vec![event("a".repeat(50 << 20), true)],
            "nobody's event" => {
                let events = vec![event("stray".into(), true), event("ok".into(), true)];
                return Some(deliveries([id + 1000, id], events));
            }
            _ => vec![event(attack(&prompt), true)],
        };
        Some(deliveries(std::iter::repeat(id), events))
    }

    fn cancel(_: u64) -> bool {
        true
    }

    fn stats() -> scheduler::EngineStats {
        // The largest numbers there are.
        let all = u64::MAX;
        scheduler::EngineStats {
            queued: 0,
            running: 0,
            kv_bytes: all,
            kv_idle_bytes: all,
            kv_allocated_bytes: all,
            kv_reserved_bytes: all,
            kv_limit_bytes: all,
            prompt_tokens: all,
            cached_tokens: all,
            preempted: all,
            tokens_generated: all,
            finished: all,
            cancelled: all,
            failed: all,
            steps: all,
            drafted: all,
            accepted: all,
            retry_after_ms: u32::MAX,
        }
    }
}

fn deliveries(
    ids: impl IntoIterator<Item = u64>,
    events: Vec<wit::Event>,
) -> Vec<scheduler::Delivery> {
    let events = ids.into_iter().zip(events);
    let delivery = |(id, event)| scheduler::Delivery {
        id,
        event: Ok(event),
    };
    events.map(delivery).collect()
}

/// Nobody makes one: the host drives the engine.
struct Generation;

impl wit::Guest for Component {
    type Generation = Generation;

    fn models() -> Vec<wit::ListedModel> {
        Vec::new()
    }

    fn model(_: Option<String>, _: u32) -> Result<Option<wit::ModelInfo>, wit::Error> {
        Ok(None)
    }

    fn generate(_: wit::Request) -> Result<wit::Generation, wit::Error> {
        Ok(wit::Generation::new(Generation))
    }

    fn tokenize(_: String, _: String, _: bool) -> Result<Vec<u32>, wit::Error> {
        forever()
    }

    fn detokenize(_: String, _: Vec<u32>) -> Result<String, wit::Error> {
        forever()
    }

    fn apply_template(_: String, _: wit::Conversation) -> Result<String, wit::Error> {
        forever()
    }
}

impl wit::GuestGeneration for Generation {
    fn prompt_tokens(&self) -> u32 {
        1
    }

    fn reasons(&self) -> bool {
        false
    }

    fn next(&self) -> Result<Option<wit::Event>, wit::Error> {
        Ok(None)
    }
}

export!(Component);

//! An engine that computes nothing and says when: a step takes [`STEP`] of CPU time without a call
//! that would let the host work, and gives every open generation an event with the text
//! `STEP-NUMBER BEGIN END;` (nanoseconds of Unix time). So a client can tell whether an event
//! reached it before the next one was computed, and whether several generations shared a step.
//! Batching is that of the real engine component: `next` steps until the caller's own generation
//! has an event, and keeps what the step brought the others.

#![allow(
    missing_docs,
    reason = "the generated exports are documented in wit/engine.wit"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

wit_bindgen::generate!({ path: "../../wit", world: "engine-provider" });

use exports::sterna::inference::engine as wit;

const MODEL: &str = "steps";
/// Much longer than an event's way through an idle connection on a busy machine.
const STEP: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Batch {
    steps: u32,
    opened: u32,
    /// The tokens each open generation is still to get, and the events that wait for its `next`.
    open: BTreeMap<u32, (u32, VecDeque<wit::Event>)>,
}

thread_local! {
    static BATCH: RefCell<Batch> = RefCell::default();
}

struct Component;

struct Generation(u32);

impl Batch {
    fn step(&mut self) {
        self.steps += 1;
        let begin = now();
        while now().saturating_sub(begin) < STEP {
            // Looking at the clock too is no call in which a host does other work.
            std::hint::black_box((0..10_000_u32).fold(0_u32, |sum, i| sum.rotate_left(1) ^ i));
        }
        let text = format!("{} {} {};", self.steps, begin.as_nanos(), now().as_nanos());
        for (left, waiting) in self.open.values_mut().filter(|(left, _)| *left > 0) {
            *left -= 1;
            let usage = wit::Usage {
                prompt_tokens: 1,
                completion_tokens: 1,
                cached_tokens: 0,
            };
            waiting.push_back(wit::Event {
                text: text.clone(),
                tokens: vec![self.steps],
                finish: (*left == 0).then_some(wit::Finish {
                    reason: wit::FinishReason::Length,
                    usage,
                }),
                details: Vec::new(),
                prompt: Vec::new(),
                embedding: None,
            });
        }
    }
}

fn info() -> wit::ModelInfo {
    wit::ModelInfo {
        id: MODEL.into(),
        created: 0,
        architecture: "none".into(),
        context_length: 1024,
        vocab_size: 1,
        parameters: 0,
        head_type: "none".into(),
        kv_type: "none".into(),
        isa: "none".into(),
        max_sequences: 1024,
        embedding_size: 4,
        generates: true,
        reasoning_tags: None,
        call_form: None,
        fingerprint: String::new(),
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl wit::Guest for Component {
    type Generation = Generation;

    fn models() -> Vec<wit::ListedModel> {
        vec![wit::ListedModel {
            id: MODEL.into(),
            alias_of: None,
            created: 0,
            state: wit::ModelState::Loaded,
            info: Some(info()),
        }]
    }

    fn model(_: Option<String>, _: u32) -> Result<Option<wit::ModelInfo>, wit::Error> {
        Ok(Some(info()))
    }

    fn generate(request: wit::Request) -> Result<wit::Generation, wit::Error> {
        BATCH.with_borrow_mut(|batch| {
            batch.opened += 1;
            let tokens = request.max_tokens.unwrap_or(1);
            batch.open.insert(batch.opened, (tokens, VecDeque::new()));
            Ok(wit::Generation::new(Generation(batch.opened)))
        })
    }

    fn tokenize(_: String, _: String, _: bool) -> Result<Vec<u32>, wit::Error> {
        Err(nothing_else())
    }

    fn detokenize(_: String, _: Vec<u32>) -> Result<String, wit::Error> {
        Err(nothing_else())
    }

    fn apply_template(_: String, _: wit::Conversation) -> Result<String, wit::Error> {
        Err(nothing_else())
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
        BATCH.with_borrow_mut(|batch| {
            loop {
                match batch.open.get_mut(&self.0) {
                    Some((left, waiting)) if *left > 0 || !waiting.is_empty() => {
                        if let Some(event) = waiting.pop_front() {
                            return Ok(Some(event));
                        }
                    }
                    _ => return Ok(None),
                }
                batch.step();
            }
        })
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        BATCH.with_borrow_mut(|batch| batch.open.remove(&self.0));
    }
}

fn nothing_else() -> wit::Error {
    wit::Error::Unavailable("this engine only generates".into())
}

export!(Component);

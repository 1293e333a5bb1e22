//! The engine's thread, asked directly: what the server's timing would show only now and then.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};

use sterna::engine::driven::{Answered, DrivenEngine, EngineSource, LinkedEngines, Texts};
use sterna::engine::handle::EngineHandle;
use sterna::engine::step_limit::StepLimit;
use sterna_engine::options::EngineOptions;
use sterna_engine::request::{
    Delivery, EngineStats, GenerationId, ModelInfo, Prompt, Request, Submitted,
};
use sterna_engine::scheduler::PromptSize;
use sterna_engine::synthetic;
use sterna_kernels::{DenseType, Isa};

use crate::support::wait_until;

/// An engine whose first step fails, the way a trap in a sandbox or a panic in this process does.
struct Fragile {
    engine: Box<dyn DrivenEngine>,
    panics: bool,
}

impl DrivenEngine for Fragile {
    fn info(&mut self) -> ModelInfo {
        self.engine.info()
    }
    fn prompt_size(&mut self) -> anyhow::Result<PromptSize> {
        self.engine.prompt_size()
    }
    fn submit(&mut self, request: Request) -> Answered<Submitted> {
        self.engine.submit(request)
    }
    fn step(&mut self, _deliver: &mut dyn FnMut(Delivery)) -> anyhow::Result<bool> {
        assert!(!self.panics, "as a bug would");
        anyhow::bail!("wasm trap: unreachable")
    }
    fn cancel(&mut self, id: GenerationId) -> anyhow::Result<bool> {
        self.engine.cancel(id)
    }
    fn stats(&mut self) -> anyhow::Result<EngineStats> {
        self.engine.stats()
    }
}

/// Its first engines are fragile, the ones after `failures` of them are not; `None` where there are
/// no further ones.
struct FragileEngines {
    engines: LinkedEngines,
    panics: bool,
    failures: usize,
    last: bool,
    started: AtomicUsize,
}

impl EngineSource for FragileEngines {
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>> {
        let started = self.started.fetch_add(1, Relaxed);
        let engine = self.engines.start()?;
        if started < self.failures {
            let panics = self.panics;
            return Ok(Box::new(Fragile { engine, panics }));
        }
        anyhow::ensure!(!self.last, "no memory");
        Ok(engine)
    }
    fn texts(&self) -> anyhow::Result<Box<dyn Texts>> {
        self.engines.texts()
    }
    fn max_queue(&self) -> u32 {
        self.engines.max_queue()
    }
}

fn fragile(panics: bool, failures: usize, last: bool) -> EngineHandle {
    let engines = FragileEngines {
        engines: linked(),
        panics,
        failures,
        last,
        started: AtomicUsize::new(0),
    };
    EngineHandle::start(Arc::new(engines), 1).unwrap()
}

pub(crate) fn linked() -> LinkedEngines {
    let model = synthetic::model("tiny", DenseType::F16).unwrap();
    let options = EngineOptions {
        threads: 1,
        ..EngineOptions::new(Isa::detect())
    };
    LinkedEngines {
        model: Arc::new(model),
        options,
        step_limit: StepLimit::default(),
    }
}

fn engine() -> EngineHandle {
    EngineHandle::start(Arc::new(linked()), 1).unwrap()
}

/// The text of the first generation, and the number of tokens of the one after it.
async fn fail_then_go_on(engine: &EngineHandle) -> (String, usize) {
    let request = || Request {
        max_tokens: Some(5),
        ..Request::new(Prompt::Text("Once".into()))
    };
    let mut generation = engine.generate(request()).await.unwrap();
    let error = generation.next().await.unwrap_err().to_string();
    assert_eq!(generation.next().await.unwrap(), None);
    let mut generation = engine.generate(request()).await.unwrap();
    let mut tokens = 0;
    while let Some(event) = generation.next().await.unwrap() {
        tokens += event.tokens.len();
    }
    (error, tokens)
}

/// A trap or a panic ends the generations that ran, with an error, and nothing else.
#[test]
fn an_engine_that_fails_is_started_again() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for panics in [false, true] {
        let engine = fragile(panics, 1, false);
        let (error, tokens) = runtime.block_on(fail_then_go_on(&engine));
        assert!(error.contains("the engine failed"), "{error}");
        assert_eq!(tokens, 5);
        assert!(engine.is_running());
    }
}

#[test]
fn an_engine_that_cannot_be_started_again_is_reported() {
    let engine = fragile(false, 1, true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let request = Request::new(Prompt::Text("Once".into()));
        let mut generation = engine.generate(request.clone()).await.unwrap();
        assert!(generation.next().await.is_err());
        wait_until("the thread's end", || !engine.is_running());
        let refused = engine.generate(request).await.err().unwrap();
        assert!(refused.to_string().contains("stopped"), "{refused}");
    });
}

/// The engine has accepted the request, and nobody has yet taken its answer: leaving now must
/// cancel too.
#[test]
fn leaving_between_acceptance_and_answer_cancels() {
    let engine = engine();
    {
        // Token ids need no admission: the engine is asked at the first poll.
        let mut asking = pin!(engine.generate(Request::new(Prompt::Tokens(vec![5]))));
        let mut context = Context::from_waker(Waker::noop());
        // Pending, unless the engine was faster than this line: then the answer itself is dropped
        // below.
        let _answer = asking.as_mut().poll(&mut context);
        wait_until("acceptance", || {
            engine.metrics().generations_started.get() == 1
        });
    }
    wait_until("cancellation", || {
        engine.metrics().generations_cancelled.get() == 1
    });
}

#[test]
fn a_generation_that_has_ended_is_not_cancelled() {
    let engine = engine();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let request = Request {
            max_tokens: Some(5),
            ..Request::new(Prompt::Text("Once".into()))
        };
        let mut generation = engine.generate(request).await.unwrap();
        let mut tokens = 0;
        while let Some(event) = generation.next().await.unwrap() {
            tokens += event.tokens.len();
        }
        assert_eq!(tokens, 5);
        assert_eq!(
            generation.next().await.unwrap(),
            None,
            "the end stays the end"
        );
    });
    assert_eq!(engine.metrics().generations_cancelled.get(), 0);
}

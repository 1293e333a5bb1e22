//! The engine's thread, asked directly: what the server's timing would show only now and then.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use sterna::driven_engine::LinkedEngines;
use sterna::engine_actor::EngineHandle;
use sterna_engine::engine::EngineOptions;
use sterna_engine::request::{Prompt, Request};
use sterna_engine::synthetic;
use sterna_kernels::{DenseType, Isa};

use crate::support::wait_until;

fn engine() -> EngineHandle {
    let model = synthetic::model("tiny", DenseType::F16).unwrap();
    let options = EngineOptions {
        threads: 1,
        ..EngineOptions::new(Isa::detect())
    };
    let model = Arc::new(model);
    EngineHandle::start(Arc::new(LinkedEngines { model, options }), 1).unwrap()
}

/// The engine has accepted the request, and nobody has yet taken its answer: leaving now must cancel too.
#[test]
fn leaving_between_acceptance_and_answer_cancels() {
    let engine = engine();
    {
        let mut asking = pin!(engine.generate(Request::new(Prompt::Text("Once".into()))));
        let mut context = Context::from_waker(Waker::noop());
        // Pending, unless the engine was faster than this line: then the answer itself is dropped below.
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

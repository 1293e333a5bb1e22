//! The interface `scheduler`: a host that serves many callers from one instance steps the engine itself.

use std::cell::RefCell;

use sterna_kernels::Isa;

use super::exports::sterna::inference::scheduler;
use super::wit;
use super::{Component, INSTANCE, Instance, convert, model, with_instance, with_model};
use crate::engine::{EngineOptions, clamp_u32};
use crate::request::GenerationId;

impl scheduler::Guest for Component {
    fn start(options: scheduler::Options) -> Result<wit::ModelInfo, wit::Error> {
        let mut fresh = false;
        INSTANCE.with(|instance| {
            instance.get_or_init(|| {
                fresh = true;
                start(&options).map(RefCell::new)
            });
        });
        if !fresh {
            let reason = "the engine has started; its options cannot be changed".to_owned();
            return Err(wit::Error::Unavailable(reason));
        }
        with_instance(|instance| Ok(convert::info(instance.engine.info())))
    }

    fn submit(request: wit::Request) -> Result<scheduler::Submitted, wit::Error> {
        let name = request.model.clone();
        with_model(&name, |instance| {
            let (id, prompt_tokens) = instance.engine.submit(convert::request(request))?;
            Ok(scheduler::Submitted {
                id: id.0,
                prompt_tokens,
            })
        })
    }

    fn step() -> Option<Vec<scheduler::Delivery>> {
        let stepped = with_instance(|instance| {
            let Instance { engine, events } = instance;
            let mut deliveries = Vec::new();
            let stepped = engine.step(&mut |(id, event)| match events.get_mut(&id) {
                // Started through `engine`, where `next` asks for it.
                Some(waiting) => waiting.push_back(event),
                None => deliveries.push(scheduler::Delivery {
                    id: id.0,
                    event: event.map(convert::event).map_err(convert::error),
                }),
            });
            Ok(stepped.then_some(deliveries))
        });
        // An engine that did not start has nothing to do; `start` said why.
        stepped.unwrap_or_default()
    }

    fn cancel(id: u64) -> bool {
        with_instance(|instance| Ok(instance.engine.cancel(GenerationId(id)))).unwrap_or_default()
    }

    fn stats() -> scheduler::EngineStats {
        let stats = with_instance(|instance| Ok(instance.engine.stats())).unwrap_or_default();
        scheduler::EngineStats {
            queued: clamp_u32(stats.queued),
            running: clamp_u32(stats.running),
            kv_bytes: stats.kv_bytes,
            kv_allocated_bytes: stats.kv_allocated_bytes,
            kv_reserved_bytes: stats.kv_reserved_bytes,
            kv_limit_bytes: stats.kv_limit_bytes,
            prompt_tokens: stats.prompt_tokens,
            tokens_generated: stats.tokens_generated,
            finished: stats.finished,
            cancelled: stats.cancelled,
            failed: stats.failed,
            steps: stats.steps,
            drafted: stats.drafted,
            accepted: stats.accepted,
        }
    }
}

fn start(options: &scheduler::Options) -> Result<Instance, String> {
    let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    let isa = Isa::from_env().map_err(|error| error.to_string())?;
    let defaults = EngineOptions::new(isa);
    let options = EngineOptions {
        max_sequences: options.max_sequences.map_or(defaults.max_sequences, size),
        max_queue: options.max_queue.map_or(defaults.max_queue, size),
        max_context: options.max_context.map(size),
        max_kv_bytes: options.max_kv_bytes,
        ..defaults
    };
    Instance::new(model()?, options)
}

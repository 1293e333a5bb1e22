//! The interface `scheduler`: a host that serves many callers from one instance steps the engine
//! itself.

use std::cell::RefCell;
use std::sync::Arc;

use sterna_kernels::{Isa, KvType};

use super::exports::sterna::inference::scheduler;
use super::{
    BAKED, Component, INSTANCE, Instance, model, wit, with_instance, with_model, with_texts,
};
use crate::model::Model;
use crate::options::{EngineOptions, MaxStep};
use crate::request::GenerationId;
use crate::scheduler::Gate;

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
        with_instance(|instance| Ok(instance.engine.info().into()))
    }

    fn measure() -> scheduler::PromptSize {
        let size = with_instance(|instance| Ok(instance.engine.gate().size()));
        // An engine that did not start takes no prompt; `start` said why.
        size.map_or(
            scheduler::PromptSize {
                context: 0,
                token_bytes: 0,
                whitespace: true,
            },
            Into::into,
        )
    }

    fn admit(request: wit::Request, context: u32) -> Result<Vec<u32>, wit::Error> {
        let name = request.model.clone();
        with_texts(&name, |model| {
            let admitted = gate(model, context).admit(request.into())?;
            Ok(admitted.tokens)
        })
    }

    fn submit(request: wit::Request) -> Result<scheduler::Submitted, wit::Error> {
        let name = request.model.clone();
        with_model(&name, |instance| {
            let submitted = instance.engine.submit(request.into())?;
            Ok(scheduler::Submitted {
                id: submitted.id.0,
                prompt_tokens: submitted.prompt_tokens,
                reasons: submitted.reasons,
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
                    event: event.map(Into::into).map_err(Into::into),
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
        let stats = with_instance(|instance| Ok(instance.engine.stats()));
        stats.unwrap_or_default().into()
    }
}

fn gate(model: &Arc<Model>, context: u32) -> Gate {
    let context = usize::try_from(context).unwrap_or(usize::MAX);
    Gate::new(Arc::clone(model), context.min(model.config.context_length))
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
        max_step: MaxStep::of_ms(options.max_step_ms),
        prefix_cache: options.prefix_cache.unwrap_or(defaults.prefix_cache),
        kv_type: options.kv_type.map_or(defaults.kv_type, |ty| match ty {
            scheduler::KvType::Float32 => KvType::F32,
            scheduler::KvType::Float16 => KvType::F16,
            scheduler::KvType::Int8 => KvType::Int8,
        }),
        ..defaults
    };
    let model = model()?;
    // Its buffers are of no use to an engine with other options.
    drop(BAKED.take());
    Instance::new(model, options)
}

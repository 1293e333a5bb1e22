//! `engine.wasm`: the exports of `wit/bake.wit`'s world `engine-bakeable`.
//!
//! `sterna bake` calls `load-model` and takes a snapshot of the memory: then the model is there when an
//! instance starts. Else it is loaded on first use, once per instance: from the path in the environment
//! variable `STERNA_MODEL`, else the first `*.gguf` or Hugging Face directory in `/model`.
//!
//! There is nobody to drive the engine but its callers: `next` steps it until the caller's own generation
//! has an event, and keeps what the step brought the others.

#![allow(
    missing_docs,
    reason = "the generated exports are documented in wit/engine.wit"
)]

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_kernels::Isa;

use crate::engine::{Engine, EngineOptions};
use crate::error::EngineError;
use crate::model::{LoadOptions, Model};
use crate::request::{self, GenerationId, Request, Sampling};

wit_bindgen::generate!({ path: "../../wit", world: "engine-bakeable" });

use exports::sterna::inference::engine as wit;

/// Where a model is looked for without `STERNA_MODEL`.
const MODEL_DIRECTORY: &str = "/model";

/// An engine, and events that await their generation's `next`. A tree, because a hash map would keep its
/// keys across a snapshot.
struct Instance {
    engine: Engine,
    events: BTreeMap<GenerationId, VecDeque<Result<request::Event, EngineError>>>,
}

thread_local! {
    /// Loaded once. A failure is kept too: every call gets the same reason.
    static INSTANCE: OnceCell<Result<RefCell<Instance>, String>> = const { OnceCell::new() };
    /// What `load-model` left for the first call after the snapshot.
    static BAKED: Cell<Option<Instance>> = const { Cell::new(None) };
}

/// Run `call` on the instance, loading it first if need be.
fn with_instance<R>(
    call: impl FnOnce(&mut Instance) -> Result<R, wit::Error>,
) -> Result<R, wit::Error> {
    INSTANCE.with(
        |instance| match instance.get_or_init(|| load().map(RefCell::new)) {
            Ok(instance) => call(&mut instance.borrow_mut()),
            Err(reason) => Err(wit::Error::Unavailable(reason.clone())),
        },
    )
}

/// As `with_instance`, for a call that names a model.
fn with_model<R>(
    name: &str,
    call: impl FnOnce(&mut Instance) -> Result<R, EngineError>,
) -> Result<R, wit::Error> {
    with_instance(|instance| {
        if instance.engine.model().id != name {
            return Err(wit::Error::UnknownModel(name.to_string()));
        }
        call(instance).map_err(error)
    })
}

fn load() -> Result<Instance, String> {
    // The environment is read here and not in `load-model`: libc keeps the first copy it gets.
    let isa = Isa::from_env().map_err(|error| error.to_string())?;
    match BAKED.take() {
        Some(baked) if baked.engine.isa().name() == isa.name() => return Ok(baked),
        Some(baked) => return Instance::new(baked.engine.model().clone(), isa),
        None => {}
    }
    let path = match std::env::var_os("STERNA_MODEL") {
        Some(path) => PathBuf::from(path),
        None => find_model(Path::new(MODEL_DIRECTORY))?,
    };
    let model = Model::load(&path, &LoadOptions::default(), &mut |_, _| {})
        .map_err(|error| error.to_string())?;
    Instance::new(Arc::new(model), isa)
}

/// The directory itself, if it is a Hugging Face directory, else the first model in it by name.
fn find_model(directory: &Path) -> Result<PathBuf, String> {
    let remedy = "set STERNA_MODEL, or preopen a directory with a *.gguf file or a Hugging Face directory as /model";
    if directory.join("config.json").is_file() {
        return Ok(directory.to_path_buf());
    }
    let entries = std::fs::read_dir(directory)
        .map_err(|error| format!("no {}: {error}; {remedy}", directory.display()))?;
    let mut models: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|end| end == "gguf") || path.join("config.json").is_file()
        })
        .collect();
    models.sort();
    models
        .into_iter()
        .next()
        .ok_or_else(|| format!("no model in {}; {remedy}", directory.display()))
}

struct Component;

impl Guest for Component {
    fn load_model(path: String, id: String) -> Result<(), String> {
        let options = LoadOptions {
            id: Some(id),
            ..LoadOptions::default()
        };
        let model = Model::load(Path::new(&path), &options, &mut |_, _| {})
            .map_err(|error| error.to_string())?;
        BAKED.set(Some(Instance::new(Arc::new(model), Isa::detect())?));
        Ok(())
    }
}

/// A generation's handle. Dropped, it cancels.
struct Generation {
    id: GenerationId,
    prompt_tokens: u32,
    finished: Cell<bool>,
}

impl wit::Guest for Component {
    type Generation = Generation;

    fn models() -> Vec<wit::ModelInfo> {
        // A list cannot carry the reason; `generate` gives it.
        with_instance(|instance| Ok(vec![info(instance.engine.info())])).unwrap_or_default()
    }

    fn generate(request: wit::Request) -> Result<wit::Generation, wit::Error> {
        with_model(&request.model, |instance| {
            let (id, prompt_tokens) = instance.engine.submit(Request {
                prompt: prompt(request.prompt),
                max_tokens: request.max_tokens,
                stop: request.stop,
                sampling: sampling(&request.sampling),
            })?;
            instance.events.insert(id, VecDeque::new());
            Ok(wit::Generation::new(Generation {
                id,
                prompt_tokens,
                finished: Cell::new(false),
            }))
        })
    }

    fn embed(model: String, input: wit::Prompt) -> Result<wit::Embedding, wit::Error> {
        with_model(&model, |instance| {
            let (vector, prompt_tokens) = instance.engine.embed(prompt(input))?;
            Ok(wit::Embedding {
                vector,
                prompt_tokens,
            })
        })
    }

    fn tokenize(model: String, text: String, add_special: bool) -> Result<Vec<u32>, wit::Error> {
        with_model(&model, |instance| {
            instance.engine.model().tokenize(&text, add_special)
        })
    }

    fn detokenize(model: String, tokens: Vec<u32>) -> Result<String, wit::Error> {
        with_model(&model, |instance| {
            Ok(instance.engine.model().detokenize(&tokens))
        })
    }

    fn apply_template(model: String, messages: Vec<wit::Message>) -> Result<String, wit::Error> {
        let messages: Vec<_> = messages.into_iter().map(message).collect();
        with_model(&model, |instance| {
            instance.engine.model().apply_template(&messages)
        })
    }
}

impl wit::GuestGeneration for Generation {
    fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }

    fn next(&self) -> Result<Option<wit::Event>, wit::Error> {
        if self.finished.get() {
            return Ok(None);
        }
        let event = with_instance(|instance| instance.next(self.id).map_err(error));
        self.finished.set(!matches!(
            &event,
            Ok(Some(request::Event { finish: None, .. }))
        ));
        Ok(event?.map(|event| wit::Event {
            text: event.text,
            tokens: event.tokens,
            finish: event.finish.map(finish),
        }))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // Without an instance there is nothing to cancel.
        let _ = with_instance(|instance| {
            instance.engine.cancel(self.id);
            instance.events.remove(&self.id);
            Ok(())
        });
    }
}

impl Instance {
    fn new(model: Arc<Model>, isa: Isa) -> Result<Self, String> {
        let engine =
            Engine::new(model, EngineOptions::new(isa)).map_err(|error| error.to_string())?;
        Ok(Instance {
            engine,
            events: BTreeMap::new(),
        })
    }

    /// Step until the generation has an event.
    fn next(&mut self, id: GenerationId) -> Result<Option<request::Event>, EngineError> {
        loop {
            if let Some(event) = self.events.get_mut(&id).and_then(VecDeque::pop_front) {
                return event.map(Some);
            }
            let events = &mut self.events;
            let stepped = self.engine.step(&mut |(id, event)| {
                if let Some(waiting) = events.get_mut(&id) {
                    waiting.push_back(event);
                }
            });
            if !stepped {
                return Ok(None);
            }
        }
    }
}

fn info(info: crate::engine::ModelInfo) -> wit::ModelInfo {
    wit::ModelInfo {
        id: info.id,
        created: info.created,
        architecture: info.architecture,
        context_length: info.context_length,
        vocab_size: info.vocab_size,
        parameters: info.parameters,
        head_type: info.head_type,
        isa: info.isa,
        max_sequences: info.max_sequences,
    }
}

fn prompt(prompt: wit::Prompt) -> request::Prompt {
    match prompt {
        wit::Prompt::Messages(messages) => {
            request::Prompt::Messages(messages.into_iter().map(message).collect())
        }
        wit::Prompt::Text(text) => request::Prompt::Text(text),
        wit::Prompt::Tokens(tokens) => request::Prompt::Tokens(tokens),
    }
}

fn message(message: wit::Message) -> request::Message {
    request::Message {
        role: message.role,
        content: message.content,
    }
}

fn sampling(sampling: &wit::Sampling) -> Sampling {
    Sampling {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        seed: sampling.seed,
    }
}

fn finish(finish: request::Finish) -> wit::Finish {
    wit::Finish {
        reason: match finish.reason {
            request::FinishReason::Stop => wit::FinishReason::Stop,
            request::FinishReason::Length => wit::FinishReason::Length,
        },
        usage: wit::Usage {
            prompt_tokens: finish.usage.prompt_tokens,
            completion_tokens: finish.usage.completion_tokens,
            cached_tokens: finish.usage.cached_tokens,
        },
    }
}

fn error(error: EngineError) -> wit::Error {
    match error {
        EngineError::InvalidRequest { field, message } => {
            wit::Error::InvalidRequest(wit::InvalidRequest { field, message })
        }
        EngineError::ContextOverflow { limit, requested } => {
            wit::Error::ContextOverflow(wit::ContextOverflow { limit, requested })
        }
        EngineError::Overloaded { retry_after_ms } => wit::Error::Overloaded(retry_after_ms),
        EngineError::Unavailable(reason) => wit::Error::Unavailable(reason),
        EngineError::Internal(reason) => wit::Error::Internal(reason),
    }
}

export!(Component);

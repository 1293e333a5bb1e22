//! `engine.wasm`: the exports of `wit/bake.wit`'s world `engine-bakeable`.
//!
//! `sterna bake` calls `load-model` and takes a snapshot of the memory: then the model is there
//! when an instance starts. Else it is loaded on first use, once per instance: from the path in the
//! environment variable `STERNA_MODEL`, else the first `*.gguf` or Hugging Face directory in
//! `/model`.
//!
//! Through `engine` there is nobody to drive it but its callers: `next` steps it until the caller's
//! own generation has an event, and keeps what the step brought the others. Through `scheduler`
//! (`driven`) a host drives it.
//!
//! If the host lends its kernels (`wit/kernels.wit`), they compute. That is asked after the
//! snapshot.

#![allow(
    missing_docs,
    reason = "the generated exports are documented in wit/engine.wit"
)]

mod driven;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_kernels::{Isa, KvType};

use crate::engine::Engine;

use crate::error::EngineError;
use crate::files::LoadOptions;
use crate::forward::lent_kernels;
use crate::model::Model;
use crate::optimisations::Optimisations;
use crate::options::EngineOptions;
use crate::request::{self, GenerationId, Submitted};

wit_bindgen::generate!({ path: "../../wit", world: "engine-bakeable" });

use exports::sterna::inference::engine as wit;

crate::convert_engine_types!(exports::sterna::inference::engine);
crate::convert_scheduler_types!(exports::sterna::inference::scheduler);

/// The path of the model without `STERNA_MODEL`.
const MODEL_DIRECTORY: &str = "/model";

/// An engine, and events that await their generation's `next`. A tree, because a hash map would
/// keep its keys across a snapshot.
struct Instance {
    engine: Engine,
    events: BTreeMap<GenerationId, VecDeque<Result<request::Event, EngineError>>>,
}

thread_local! {
    /// Loaded once. A failure is kept too: every call gets the same reason.
    static INSTANCE: OnceCell<Result<RefCell<Instance>, String>> = const { OnceCell::new() };
    /// The instance that `load-model` left for the first call after the snapshot.
    static BAKED: Cell<Option<Instance>> = const { Cell::new(None) };
    /// Found once.
    static MODEL: OnceCell<Result<Arc<Model>, String>> = const { OnceCell::new() };
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
        call(instance).map_err(Into::into)
    })
}

/// The engine with its defaults.
fn load() -> Result<Instance, String> {
    // The environment is read here and not in `load-model`: libc keeps the first copy it gets.
    let isa = Isa::from_env().map_err(|error| error.to_string())?;
    let optimisations =
        Optimisations::without(&std::env::var("STERNA_WITHOUT").unwrap_or_default())?;
    let kv_type = kv_type()?;
    let options = EngineOptions {
        optimisations,
        speculation: optimisations.speculation(),
        prefix_cache: optimisations.prefix_cache,
        kv_type,
        ..EngineOptions::new(isa)
    };
    // Its buffers are of use only to an engine that computes by itself.
    let lent = lent_kernels();
    match BAKED.take() {
        Some(baked)
            if !lent
                && baked.engine.isa().name() == isa.name()
                && optimisations == Optimisations::ALL
                && kv_type == KvType::default() =>
        {
            Ok(baked)
        }
        Some(baked) => Instance::new(baked.engine.model().clone(), options),
        None => Instance::new(model()?, options),
    }
}

/// The type of keys and values that the environment asks for.
fn kv_type() -> Result<KvType, String> {
    match std::env::var("STERNA_KV_TYPE") {
        Err(_) => Ok(KvType::default()),
        Ok(name) => KvType::from_name(&name).ok_or_else(|| {
            let names = KvType::ALL.map(KvType::name).join(", ");
            format!("STERNA_KV_TYPE is {name:?}: it must be one of {names}")
        }),
    }
}

/// The model that was baked in, else the one that lies in the file system. Without an engine, for
/// who asks about texts.
fn model() -> Result<Arc<Model>, String> {
    let find = || match BAKED.take() {
        Some(baked) => {
            let model = baked.engine.model().clone();
            BAKED.set(Some(baked));
            Ok(model)
        }
        None => load_model(),
    };
    MODEL.with(|model| model.get_or_init(find).clone())
}

/// As `with_model`, for a call that needs no engine.
fn with_texts<R>(
    name: &str,
    call: impl FnOnce(&Arc<Model>) -> Result<R, EngineError>,
) -> Result<R, wit::Error> {
    let model = model().map_err(wit::Error::Unavailable)?;
    if model.id != name {
        return Err(wit::Error::UnknownModel(name.to_string()));
    }
    call(&model).map_err(Into::into)
}

fn load_model() -> Result<Arc<Model>, String> {
    let path = match std::env::var_os("STERNA_MODEL") {
        Some(path) => PathBuf::from(path),
        None => find_model(Path::new(MODEL_DIRECTORY))?,
    };
    let model = Model::load(&path, &LoadOptions::default(), &mut |_, _| {})
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(model))
}

/// Bytes the memory may still grow by, if the runtime lets it: requests wait rather than fail where
/// their keys and values would not fit.
fn free_memory() -> u64 {
    const PAGE_BYTES: u64 = 64 << 10;
    const MEMORY_BYTES: u64 = 4 << 30;
    MEMORY_BYTES - core::arch::wasm32::memory_size::<0>() as u64 * PAGE_BYTES
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
        // Not with the host's kernels: whether there are any is asked where it runs.
        let options = EngineOptions::new(Isa::detect());
        BAKED.set(Some(Instance::own(Arc::new(model), options)?));
        Ok(())
    }
}

/// A generation's handle. Dropped, it cancels.
struct Generation {
    submitted: Submitted,
    finished: Cell<bool>,
}

impl wit::Guest for Component {
    type Generation = Generation;

    fn models() -> Vec<wit::ListedModel> {
        let listed = |instance: &mut Instance| {
            let info = instance.engine.info();
            Ok(wit::ListedModel {
                id: info.id.clone(),
                alias_of: None,
                created: info.created,
                state: wit::ModelState::Loaded,
                info: Some(info.into()),
            })
        };
        // A list cannot carry the reason; `model` gives it.
        with_instance(listed).into_iter().collect()
    }

    fn model(name: Option<String>, _: u32) -> Result<Option<wit::ModelInfo>, wit::Error> {
        with_instance(|instance| match name {
            Some(name) if instance.engine.model().id != name => Err(wit::Error::UnknownModel(name)),
            _ => Ok(Some(instance.engine.info().into())),
        })
    }

    fn generate(request: wit::Request) -> Result<wit::Generation, wit::Error> {
        let model = request.model.clone();
        with_model(&model, |instance| {
            let submitted = instance.engine.submit(request.into())?;
            instance.events.insert(submitted.id, VecDeque::new());
            Ok(wit::Generation::new(Generation {
                submitted,
                finished: Cell::new(false),
            }))
        })
    }

    fn tokenize(model: String, text: String, add_special: bool) -> Result<Vec<u32>, wit::Error> {
        with_texts(&model, |model| model.tokenize(&text, add_special))
    }

    fn detokenize(model: String, tokens: Vec<u32>) -> Result<String, wit::Error> {
        with_texts(&model, |model| Ok(model.detokenize(&tokens)))
    }

    fn apply_template(
        model: String,
        conversation: wit::Conversation,
    ) -> Result<String, wit::Error> {
        with_texts(&model, |model| model.apply_template(&conversation.into()))
    }
}

impl wit::GuestGeneration for Generation {
    fn prompt_tokens(&self) -> u32 {
        self.submitted.prompt_tokens
    }

    fn reasons(&self) -> bool {
        self.submitted.reasons
    }

    fn next(&self) -> Result<Option<wit::Event>, wit::Error> {
        if self.finished.get() {
            return Ok(None);
        }
        let event = with_instance(|instance| instance.next(self.submitted.id).map_err(Into::into));
        self.finished.set(!matches!(
            &event,
            Ok(Some(request::Event { finish: None, .. }))
        ));
        Ok(event?.map(Into::into))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // Without an instance there is nothing to cancel.
        let _ = with_instance(|instance| {
            instance.engine.cancel(self.submitted.id);
            instance.events.remove(&self.submitted.id);
            Ok(())
        });
    }
}

impl Instance {
    /// An engine that computes with the host's kernels if it lends any.
    fn new(model: Arc<Model>, options: EngineOptions) -> Result<Self, String> {
        let options = EngineOptions {
            borrow_kernels: true,
            ..options
        };
        Instance::own(model, options)
    }

    fn own(model: Arc<Model>, options: EngineOptions) -> Result<Self, String> {
        // The sandbox's own limit stands, whatever the host has.
        let most = free_memory() / 10 * 9;
        let options = EngineOptions {
            max_kv_bytes: Some(most.min(options.max_kv_bytes.unwrap_or(u64::MAX))),
            ..options
        };
        let engine = Engine::new(model, options).map_err(|error| error.to_string())?;
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

export!(Component);

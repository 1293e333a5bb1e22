//! Gives requests the models they ask for, and has a thread load and unload them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use sterna_engine::error::EngineError;
use sterna_engine::request::ModelInfo;
use tokio::sync::watch;

use super::claim::Claim;
use super::names::Names;
use super::state::{Listed, Next, State, Taken};

/// The longest that a request waits for its model.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// When to try again where too many wait for one model.
const RETRY_AFTER_MS: u32 = 1000;

/// Loads models, which are numbered, and puts them away. One call at a time, on a thread that may
/// take its time.
pub trait Loader<E>: Send + Sync + 'static {
    /// Load this one, which may take so many bytes of memory.
    ///
    /// # Errors
    /// It cannot be loaded; clients are told why.
    fn load(&self, index: usize, bytes: u64) -> anyhow::Result<Loaded<E>>;

    /// Nobody uses it any more: free its memory, and come back when it is free.
    fn unload(&self, index: usize, engine: E);
}

/// A model that was loaded.
pub struct Loaded<E> {
    /// Its engine.
    pub engine: E,
    /// Its facts.
    pub info: ModelInfo,
    /// The memory it takes at most, in bytes.
    pub bytes: u64,
}

/// Why a request gets no model.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// No model has this name.
    Unknown(String),
    /// It cannot be had.
    Engine(EngineError),
}

/// The models of a server.
pub struct Registry<E> {
    names: Names,
    /// Unix time, in seconds, at which they were made available.
    created: u64,
    /// Requests that may wait for one model.
    most_waiting: usize,
    shared: Arc<Shared<E>>,
}

struct Shared<E> {
    state: Mutex<State<E>>,
    /// For the thread that loads.
    work: Condvar,
    /// For requests that wait.
    changed: watch::Sender<()>,
}

impl<E: Clone + Send + 'static> Registry<E> {
    /// One model that is there and stays.
    #[must_use]
    pub fn of_one(engine: E, info: ModelInfo) -> Self {
        let names = Names::one(info.id.clone());
        let mut state = State::new(&[Claim::default()], u64::MAX);
        state.load_ends(0, (engine, info, 0), Instant::now());
        Registry::with(names, state, usize::MAX)
    }

    /// Models with these names and claims on `pool` bytes of memory, of which none is loaded. So
    /// many requests may wait for each.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        names: Names,
        claims: &[Claim],
        pool: u64,
        most_waiting: usize,
        loader: impl Loader<E>,
    ) -> anyhow::Result<Self> {
        let registry = Registry::with(names, State::new(claims, pool), most_waiting);
        let shared = Arc::clone(&registry.shared);
        let names = registry.names.clone();
        std::thread::Builder::new()
            .name("models".into())
            .spawn(move || shared.attend(&loader, &names))
            .context("cannot start a thread")?;
        Ok(registry)
    }

    fn with(names: Names, state: State<E>, most_waiting: usize) -> Self {
        let created = std::time::SystemTime::UNIX_EPOCH.elapsed();
        Registry {
            names,
            created: created.unwrap_or_default().as_secs(),
            most_waiting,
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                work: Condvar::new(),
                changed: watch::Sender::new(()),
            }),
        }
    }

    /// Ask for a model by a name, or for the default one.
    ///
    /// # Errors
    /// There is no such model, or as many requests wait for it as may.
    pub fn ask(&self, name: Option<&str>) -> Result<Asking<E>, Refused> {
        let unknown = || Refused::Unknown(name.unwrap_or_default().to_owned());
        let index = self.names.find(name).ok_or_else(unknown)?;
        let mut state = self.shared.state();
        let slot = &mut state.slots[index];
        if slot.waiting >= self.most_waiting {
            return Err(Refused::Engine(EngineError::Overloaded {
                retry_after_ms: RETRY_AFTER_MS,
            }));
        }
        slot.waiting += 1;
        Ok(Asking {
            shared: Arc::clone(&self.shared),
            index,
            since: Instant::now(),
        })
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Unix time, in seconds, at which the models were made available.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created
    }

    /// Every name, the default model's first, and what is known of each.
    #[must_use]
    pub fn listed(&self) -> Vec<Listed> {
        let state = self.shared.state();
        let listed = |(name, index): (&str, usize)| {
            let own = self.names.id(index);
            Listed {
                id: name.to_owned(),
                alias_of: (name != own).then(|| own.to_owned()),
                stage: state.stage(index),
                info: state.slots[index].info.clone(),
            }
        };
        self.names.all().map(listed).collect()
    }

    /// What is known of the default model, if it was ever loaded.
    #[must_use]
    pub fn default_info(&self) -> Option<ModelInfo> {
        let state = self.shared.state();
        state.slots[self.names.default_index()].info.clone()
    }

    /// The engines of all models that are loaded, the default one's first where it is.
    #[must_use]
    pub fn loaded(&self) -> Vec<E> {
        let state = self.shared.state();
        let mut order: Vec<usize> = (0..state.slots.len()).collect();
        let default = self.names.default_index();
        order.sort_by_key(|&index| index != default);
        order
            .iter()
            .filter_map(|&index| state.engine(index))
            .collect()
    }

    /// No request gets a model from now on, those that wait for one included.
    pub fn end(&self) {
        self.shared.state().ended = true;
        self.shared.changed.send_replace(());
    }
}

impl<E> Drop for Registry<E> {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.work.notify_all();
    }
}

impl<E> Shared<E> {
    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed that others may wait for.
    fn tell(&self) {
        self.work.notify_all();
        self.changed.send_replace(());
    }
}

impl<E: Clone> Shared<E> {
    /// The loop of the thread that loads.
    fn attend(&self, loader: &impl Loader<E>, names: &Names) {
        let mut state = self.state();
        while !state.ended {
            let now = Instant::now();
            let (next, changed) = state.next(now);
            if changed {
                self.changed.send_replace(());
            }
            match next {
                Next::Load(index, bytes) => {
                    state.load_begins(index, bytes);
                    drop(state);
                    self.load(loader, index, names.id(index), bytes);
                }
                Next::Unload(index) => {
                    let engine = state.unload_begins(index);
                    drop(state);
                    if let Some(engine) = engine {
                        tracing::info!(
                            model = names.id(index),
                            "the model is unloaded: others need its memory"
                        );
                        loader.unload(index, engine);
                    }
                    self.state().unload_ends(index);
                    self.tell();
                }
                Next::Wait(None) => {
                    drop(self.work.wait(state));
                }
                Next::Wait(Some(until)) => {
                    let left = until.saturating_duration_since(now);
                    drop(self.work.wait_timeout(state, left));
                }
            }
            state = self.state();
        }
    }

    fn load(&self, loader: &impl Loader<E>, index: usize, name: &str, bytes: u64) {
        let began = Instant::now();
        let load = || loader.load(index, bytes);
        let loaded = catch_unwind(AssertUnwindSafe(load));
        let loaded = loaded
            .unwrap_or_else(|_| Err(anyhow::anyhow!("loading it panicked; see the server's log")));
        let mut state = self.state();
        match loaded {
            Ok(Loaded {
                engine,
                mut info,
                bytes,
            }) => {
                tracing::info!(
                    model = name,
                    bytes,
                    ms = began.elapsed().as_millis(),
                    "the model is loaded"
                );
                // As it is called here, whatever its file says.
                name.clone_into(&mut info.id);
                state.load_ends(index, (engine, info, bytes), Instant::now());
            }
            Err(error) => {
                let why = sterna_errors::chain(error.as_ref());
                tracing::error!(model = name, error = why, "the model cannot be loaded");
                state.load_fails(index, &why, Instant::now());
            }
        }
        drop(state);
        self.tell();
    }
}

/// A request that waits for a model. Dropped, it gives up.
pub struct Asking<E> {
    shared: Arc<Shared<E>>,
    index: usize,
    since: Instant,
}

impl<E: Clone> Asking<E> {
    /// The model, unless it takes longer than that.
    ///
    /// # Errors
    /// It cannot be loaded, or the server stops.
    pub async fn wait(&self, wait: Duration) -> Result<Option<Lease<E>>, EngineError> {
        let end = self.since + LONGEST_WAIT;
        let until = Instant::now()
            .checked_add(wait)
            .map_or(end, |until| until.min(end));
        let mut changes = self.shared.changed.subscribe();
        loop {
            if let Some(lease) = self.take()? {
                return Ok(Some(lease));
            }
            // The sender is ours, so it is there.
            let change = tokio::time::timeout_at(until.into(), changes.changed()).await;
            if change.is_err() && until == end {
                return Err(EngineError::Unavailable(format!(
                    "the model has not been loaded within {} s: it takes that long, or others take its memory",
                    LONGEST_WAIT.as_secs()
                )));
            }
            if change.is_err() {
                return Ok(None);
            }
        }
    }

    fn take(&self) -> Result<Option<Lease<E>>, EngineError> {
        let mut state = self.shared.state();
        if state.ended {
            return Err(EngineError::Unavailable("it is stopping".into()));
        }
        let taken = state.take(self.index, Instant::now());
        let info = state.slots[self.index].info.clone();
        drop(state);
        match (taken, info) {
            (Taken::Engine(engine), Some(info)) => Ok(Some(Lease {
                shared: Arc::clone(&self.shared),
                index: self.index,
                engine,
                info,
            })),
            (Taken::Failed(why), _) => {
                let why = format!("the model cannot be loaded: {why}");
                Err(EngineError::Unavailable(why))
            }
            _ => {
                self.shared.work.notify_all();
                Ok(None)
            }
        }
    }
}

impl<E> Drop for Asking<E> {
    fn drop(&mut self) {
        self.shared.state().slots[self.index].waiting -= 1;
        self.shared.work.notify_all();
    }
}

/// A model in use: it is not unloaded before this is dropped.
pub struct Lease<E> {
    shared: Arc<Shared<E>>,
    index: usize,
    engine: E,
    info: ModelInfo,
}

impl<E> Lease<E> {
    /// The engine. Clones of it must not live longer than this.
    #[must_use]
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The model's facts.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Which model it is.
    pub(super) fn index(&self) -> usize {
        self.index
    }
}

impl<E> Drop for Lease<E> {
    fn drop(&mut self) {
        self.shared.state().slots[self.index].leases -= 1;
        self.shared.work.notify_all();
    }
}

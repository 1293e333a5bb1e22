//! Loads the models of files, and puts them away.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sterna_engine::files::LoadOptions;
use sterna_engine::inspect::inspect;

use super::claim::{Claim, Measured};
use super::registry::{Loaded, Loader};
use crate::admission::AdmissionMemory;
use crate::assets::Assets;
use crate::engine::handle::EngineHandle;
use crate::memory::private_copies::COPYING;
use crate::metrics::Metrics;
use crate::model_source::{Granted, ModelArgs, Needs, Serving};
use crate::registry_tools::find_model;
use crate::sandbox::AppFile;

/// Keys and values of a context whose model does not say how large they are: of the model inside
/// this program, and of others.
const DEMO_CONTEXT_BYTES: u64 = 16 << 20;
const OTHER_CONTEXT_BYTES: u64 = 128 << 20;

/// Memory of a baked engine beside its file.
const SANDBOX_BYTES: u64 = 64 << 20;

/// The longest that memory of an unloaded model is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of several models.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    args: ModelArgs,
    /// What it takes, before any memory is shared out.
    pub measured: Measured,
    fixed: u64,
}

impl Spec {
    /// The model called `name` of this path (`None`: the one inside this program), found or
    /// downloaded, and looked at. `all` is what the command line says of all of them.
    ///
    /// # Errors
    /// It cannot be had, or the options do not fit.
    pub fn find(
        name: &str,
        path: Option<&Path>,
        all: &ModelArgs,
        serving: Serving,
    ) -> anyhow::Result<Spec> {
        let path = path.map(find_model).transpose()?;
        let recognise = |path| AppFile::recognise(path, all.allow_precompiled);
        let is_app = path
            .as_deref()
            .map(recognise)
            .transpose()?
            .flatten()
            .is_some();
        let args = ModelArgs {
            // A baked one has the name it was baked with; here it gets another.
            model_name: (!is_app).then(|| name.to_owned()),
            model: path,
            without: Some(without_copies(all.without.as_deref())),
            ..all.clone()
        };
        let measured = measure(&args, is_app, serving)?;
        Ok(Spec {
            name: name.to_owned(),
            args,
            measured,
            fixed: 0,
        })
    }

    /// Its claim is this.
    #[must_use]
    pub fn with_claim(self, claim: &Claim) -> Self {
        Spec {
            fixed: claim.fixed,
            ..self
        }
    }
}

/// Copies of weights take memory that other models may need, and would be made anew at each load.
fn without_copies(without: Option<&str>) -> String {
    match without.map(str::trim) {
        None | Some("" | "nothing") => COPYING.to_owned(),
        Some(others) => format!("{others},{COPYING}"),
    }
}

fn measure(args: &ModelArgs, is_app: bool, serving: Serving) -> anyhow::Result<Measured> {
    let sequences = u64::from(serving.max_sequences);
    let of = |fixed_bytes, context_bytes| Measured {
        fixed_bytes,
        context_bytes,
        sequences,
    };
    let Some(path) = &args.model else {
        return Ok(of(0, DEMO_CONTEXT_BYTES));
    };
    if is_app {
        let file = path.metadata().map_or(0, |file| file.len());
        return Ok(of(file + SANDBOX_BYTES, OTHER_CONTEXT_BYTES));
    }
    let options = LoadOptions {
        id: args.model_name.clone(),
        ..args.reading.options()
    };
    match inspect(path, &options).loadable {
        Ok(model) => {
            let positions = args
                .context
                .map_or(model.config.context_length, |n| n as usize);
            let memory = model.memory(positions, args.kv_type.get(), args.isa()?.prefill_chunk());
            let fixed = [memory.mapped_bytes, memory.owned_bytes, memory.buffer_bytes];
            Ok(of(
                fixed.into_iter().fold(0, u64::saturating_add),
                memory.kv_bytes,
            ))
        }
        Err(error) => {
            // Loading it says so to who asks for it; the others are served.
            tracing::warn!(
                "the model {}: {}",
                path.display(),
                sterna_errors::chain(&error)
            );
            Ok(of(0, OTHER_CONTEXT_BYTES))
        }
    }
}

/// Loads the models of a server.
pub struct ModelLoader {
    /// The models.
    pub specs: Vec<Spec>,
    /// The one inside this program.
    pub assets: &'static Assets,
    /// How each is served.
    pub serving: Serving,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// For checking the requests of all.
    pub admission: AdmissionMemory,
}

impl ModelLoader {
    fn try_load(&self, spec: &Spec, bytes: u64) -> anyhow::Result<Loaded<EngineHandle>> {
        let mut fixed = spec.fixed;
        let mut share = |needs: Needs| {
            // It may have been replaced by a larger one since it was looked at.
            fixed = fixed.max(needs.mapped_bytes);
            ensure!(
                fixed < bytes,
                "it has grown since the server was started, and there is no memory for it: start the server again"
            );
            Ok(Granted {
                kv_bytes: Some(bytes - fixed),
                copies: false,
            })
        };
        let engines = spec.args.engines(self.assets, self.serving, &mut share)?;
        let (metrics, admission) = (Arc::clone(&self.metrics), self.admission.clone());
        let threads = spec.args.threads();
        let engine =
            EngineHandle::start_with(engines, threads, metrics, admission, Some(&spec.name))
                .context("cannot start the engine")?;
        Ok(Loaded {
            info: engine.info().clone(),
            bytes: fixed.saturating_add(engine.kv_limit_bytes()),
            engine,
        })
    }
}

impl Loader<EngineHandle> for ModelLoader {
    fn load(&self, index: usize, bytes: u64) -> anyhow::Result<Loaded<EngineHandle>> {
        let spec = &self.specs[index];
        let loaded = self.try_load(spec, bytes);
        self.metrics.load_ended(&spec.name, loaded.is_ok());
        if let Ok(loaded) = &loaded {
            self.metrics.model_memory(&spec.name, loaded.bytes);
        }
        loaded
    }

    fn unload(&self, index: usize, engine: EngineHandle) {
        let remains = engine.remains();
        drop(engine);
        // Its thread ends by itself, and what was being tokenised.
        let began = Instant::now();
        while remains.strong_count() > 0 {
            if began.elapsed() > PATIENCE {
                tracing::warn!(
                    model = self.specs[index].name,
                    "memory of an unloaded model is still in use"
                );
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.metrics.unloaded(&self.specs[index].name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copies_is_always_left_out() {
        for (given, without) in [
            (None, "huge-pages,trits5,down-copy"),
            (Some("nothing"), "huge-pages,trits5,down-copy"),
            (
                Some("speculation"),
                "speculation,huge-pages,trits5,down-copy",
            ),
        ] {
            assert_eq!(without_copies(given), without);
        }
    }
}

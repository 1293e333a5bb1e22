//! Detects changes to the model's files after loading.
//!
//! Looked at when somebody asks whether the server is ready, and beside the engine's steps: an idle
//! server is not woken for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sterna_engine::placement::WatchedFile;

use crate::engine::driven::EngineSource;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks now and then, and remembers. Clones share what is known.
#[derive(Clone, Default)]
pub struct ChangedFiles(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    looked: Option<Instant>,
    changed: bool,
}

impl ChangedFiles {
    /// True if a file that the model is still read from was changed. Once it was, it stays so: what
    /// was read of it since may be anything.
    pub fn look(&self, source: &dyn EngineSource) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let fresh = known.looked.is_some_and(|looked| now - looked < INTERVAL);
        if known.changed || fresh {
            return known.changed;
        }
        known.looked = Some(now);
        if let Some(change) = source.changed_file() {
            known.changed = true;
            tracing::error!(
                "{change}: answers may be wrong from now on, and the process may end (exit code {}). Replace a model by \
                 renaming the new file to its name, never in place; then start again",
                crate::memory::lost_pages::EXIT_CODE
            );
        }
        known.changed
    }
}

/// The change to a file, for the log.
#[must_use]
pub fn sentence(file: &WatchedFile) -> Option<String> {
    let change = file.change()?;
    Some(format!(
        "the model's file {} {change}",
        file.path().display()
    ))
}

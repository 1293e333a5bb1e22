//! A stack for compiling grammars, which recurses by their size: what fits the limits of size takes
//! some 20 MiB of it.

use crate::error::EngineError;

/// Address space; memory is what is touched of it.
#[cfg(not(target_arch = "wasm32"))]
const STACK_BYTES: usize = 128 << 20;

/// Do `work` on a stack of its own, and wait for it.
///
/// # Errors
/// `Unavailable` where the system gives no thread; `Internal` where `work` panics.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn run<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, EngineError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("grammar".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| {
                let what = "a thread to compile a grammar cannot be had";
                EngineError::Unavailable(format!("{what}: {error}"))
            })?;
        thread
            .join()
            .map_err(|_| EngineError::Internal("compiling a grammar failed".into()))
    })
}

/// A sandbox has one thread, and its stack's end is a trap of the instance that checks requests.
///
/// # Errors
/// None.
#[cfg(target_arch = "wasm32")]
pub(super) fn run<T>(work: impl FnOnce() -> T) -> Result<T, EngineError> {
    Ok(work())
}

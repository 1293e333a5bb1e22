//! Work that must not keep the engine or running streams from a core: a thread lowers its priority.

/// Niceness of such threads: a core shared with the engine gives them about a tenth.
const NICENESS: i32 = 10;

/// Lower the calling thread's priority; `work` is what it does, for the log.
pub(crate) fn lower(work: &'static str) {
    // Refused where a sandbox forbids it: then the work is done at the engine's own priority.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, work, "no lower priority");
    }
}

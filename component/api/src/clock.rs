//! What durations are measured by.

/// Tells microseconds since some moment, always the same.
pub type Clock = fn() -> u64;

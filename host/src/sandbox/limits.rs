//! The limits of an instance of a baked engine: memory, tables, instances, and the amount of data
//! it passes to the host at a time.

use wasmtime::{ResourceLimiter, Result};

/// Bytes of memory besides the model and its keys and values: requests, states, what the tokenizer
/// needs.
const WORK_BYTES: u64 = 512 << 20;
/// All a 32-bit memory can be.
const MOST_BYTES: u64 = 4 << 30;
/// Elements of all tables together: functions that are called by pointer. An engine has some
/// thousand.
const MOST_TABLE_ELEMENTS: usize = 1 << 20;
/// A component built from Rust is a handful of core modules.
const MOST_INSTANCES: usize = 64;
/// Bytes a call may hand over besides lent weights: prompts, texts, errors.
const TEXT_FUEL: u64 = 64 << 20;
/// Resources alive at the same time: streams, and passes.
pub(super) const MOST_RESOURCES: usize = 1024;

/// Bytes an instance may take if the operator does not say: its file's, its keys' and values', and
/// some to work with.
pub(super) fn default_memory(app_bytes: u64, kv_bytes: Option<u64>) -> u64 {
    let kv_bytes = kv_bytes.unwrap_or(MOST_BYTES);
    app_bytes
        .saturating_add(kv_bytes)
        .saturating_add(WORK_BYTES)
        .min(MOST_BYTES)
}

/// Bytes that the host may copy, or read in place, for one call. Where kernels are lent that
/// includes weights, and of these no call needs more than there are.
pub(super) fn fuel(app_bytes: u64, lends: bool) -> usize {
    let weights = if lends { app_bytes } else { 0 };
    usize::try_from(weights.saturating_add(TEXT_FUEL)).unwrap_or(usize::MAX)
}

/// Counts what an instance has taken, all its memories together.
#[derive(Debug)]
pub(super) struct Limiter {
    most_bytes: usize,
    bytes: usize,
    elements: usize,
    /// The growth granted last, for when it cannot be had.
    granted: usize,
}

impl Limiter {
    pub(super) fn new(most_bytes: usize) -> Self {
        Limiter {
            most_bytes,
            bytes: 0,
            elements: 0,
            granted: 0,
        }
    }

    /// Bytes of its memory now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = more <= self.most_bytes.saturating_sub(self.bytes);
        self.granted = if fits { more } else { 0 };
        self.bytes += self.granted;
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.bytes -= std::mem::take(&mut self.granted);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = more <= MOST_TABLE_ELEMENTS.saturating_sub(self.elements);
        self.elements += if fits { more } else { 0 };
        Ok(fits)
    }

    fn instances(&self) -> usize {
        MOST_INSTANCES
    }

    fn tables(&self) -> usize {
        MOST_INSTANCES
    }

    fn memories(&self) -> usize {
        MOST_INSTANCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_limit() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 41, None).unwrap());
        assert!(limiter.memory_growing(60, 80, None).unwrap());
        assert!(limiter.memory_growing(0, 20, None).unwrap());
        assert!(!limiter.memory_growing(80, 81, None).unwrap());
        assert_eq!(limiter.bytes(), 100);
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        let failed = wasmtime::format_err!("refused");
        limiter.memory_grow_failed(failed).unwrap();
        assert_eq!(
            limiter.bytes(),
            100,
            "what was not granted is not taken back"
        );
    }

    #[test]
    fn what_was_granted_and_could_not_be_had_is_free_again() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        let failed = wasmtime::format_err!("no memory");
        limiter.memory_grow_failed(failed).unwrap();
        assert_eq!(limiter.bytes(), 0);
    }

    #[test]
    fn tables_have_a_limit() {
        let mut limiter = Limiter::new(0);
        assert!(limiter.table_growing(0, MOST_TABLE_ELEMENTS, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn the_default_is_the_file_its_keys_and_values_and_some_more() {
        let mib = 1 << 20;
        assert_eq!(default_memory(10 * mib, Some(90 * mib)), 612 * mib);
        assert_eq!(default_memory(10 * mib, None), 4096 * mib);
        assert_eq!(default_memory(u64::MAX, Some(u64::MAX)), 4096 * mib);
        assert_eq!(fuel(u64::MAX, true), usize::MAX);
        assert_eq!(fuel(10 * mib, false), 64 << 20);
    }
}

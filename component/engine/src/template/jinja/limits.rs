//! The limits of one template: every bound in one place, and the budget that rendering draws on.
//!
//! The bounds hold wherever the template runs, in a process or in a sandbox: they are counted, not
//! measured, so the same conversation is refused everywhere or nowhere. Only the time limit asks a
//! clock, for a machine so slow that what was counted takes too long.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::error::{Fault, Result};
use super::value::Value;

/// Most bytes of a template. The largest that models come with have about 30 kB.
pub(crate) const MAX_SOURCE_BYTES: usize = 256 * 1024;

/// Deepest nesting of blocks, brackets and signs in a template; templates that models come with
/// stay below 20. Chains (`a + b + ...`, `x | f | g`, `elif`) do not nest.
pub(crate) const MAX_NESTING: usize = 64;

/// Deepest nesting of blocks, expressions and calls while rendering: macros that call themselves.
pub(super) const MAX_CALL_DEPTH: usize = 150;

/// Deepest nesting of lists and dicts.
pub(super) const MAX_VALUE_DEPTH: u8 = 64;

/// Deepest nesting of what a namespace holds. A namespace counts as deeper than this, so none can
/// hold itself, and no value has cycles.
pub(crate) const MAX_HELD_DEPTH: u8 = 32;

/// Most items of one `range`, as in Jinja's sandbox.
pub(super) const MAX_RANGE: i64 = 100_000;

/// Work for any conversation, in units of one node of the template or 64 bytes of text: about a
/// second.
const WORK: u64 = 8_000_000;
/// Bytes of texts, lists and output for any conversation.
const BYTES: u64 = 32 << 20;
/// Bytes for each byte of the conversation besides.
const BYTES_PER_BYTE: u64 = 16;
/// Bytes of text that are one unit of work.
const BYTES_PER_UNIT: usize = 64;
/// Units of work between two looks at the clock.
const UNITS_PER_LOOK: u64 = 10_000;
/// Time for one rendering.
const TIME: Duration = Duration::from_secs(10);

/// The rest of one rendering's bounds. What was made counts although it may be gone again: what is
/// alive at one time is never more.
pub(crate) struct Budget {
    work: Cell<u64>,
    bytes: Cell<u64>,
    look_at: Cell<u64>,
    most_bytes: u64,
    deadline: Instant,
}

impl Budget {
    /// The budget for a conversation of so many bytes.
    pub(crate) fn new(input_bytes: usize) -> Self {
        let input = input_bytes as u64;
        Self::of(WORK + input / 4, BYTES + BYTES_PER_BYTE * input)
    }

    pub(super) fn of(work: u64, bytes: u64) -> Self {
        Budget {
            work: Cell::new(work),
            bytes: Cell::new(bytes),
            look_at: Cell::new(work - UNITS_PER_LOOK),
            most_bytes: bytes,
            deadline: Instant::now() + TIME,
        }
    }

    /// True once something was refused.
    pub(super) fn is_spent(&self) -> bool {
        self.work.get() == 0 || self.bytes.get() == 0
    }

    /// Some units of work are about to be done.
    pub(super) fn work(&self, units: usize) -> Result<()> {
        let Some(left) = self.work.get().checked_sub(units as u64) else {
            self.work.set(0);
            return Err(Fault::Limit("it takes too many steps to render".into()).into());
        };
        self.work.set(left);
        if left < self.look_at.get() {
            self.look_at.set(left.saturating_sub(UNITS_PER_LOOK));
            if Instant::now() > self.deadline {
                let limit = format!("it takes more than {} s to render", TIME.as_secs());
                return Err(Fault::Limit(limit).into());
            }
        }
        Ok(())
    }

    /// A text of so many bytes is about to be read.
    pub(super) fn read(&self, bytes: usize) -> Result<()> {
        self.work(bytes / BYTES_PER_UNIT + 1)
    }

    /// So many bytes are about to be allocated.
    pub(super) fn make(&self, bytes: usize) -> Result<()> {
        self.read(bytes)?;
        let Some(left) = self.bytes.get().checked_sub(bytes as u64) else {
            self.bytes.set(0);
            let limit = format!("rendering it takes more than {} bytes", self.most_bytes);
            return Err(Fault::Limit(limit).into());
        };
        self.bytes.set(left);
        Ok(())
    }

    /// A list of so many values is about to be allocated.
    pub(super) fn slots(&self, n: usize) -> Result<()> {
        self.work(n / 4)?;
        self.make(n.saturating_mul(SLOT_BYTES).saturating_add(OBJECT_BYTES))
    }
}

/// A value in a list, and the room that a growing list keeps free.
const SLOT_BYTES: usize = 48;
/// The memory of a list, a text or a dict besides its contents, with the allocator's share.
pub(super) const OBJECT_BYTES: usize = 64;

/// A text that grows within a budget.
pub(super) struct Text<'b> {
    pub(super) budget: &'b Budget,
    text: String,
    /// Bytes at the end that are not accounted for yet.
    uncharged: usize,
}

impl<'b> Text<'b> {
    pub(super) fn new(budget: &'b Budget) -> Self {
        Text {
            budget,
            text: String::new(),
            uncharged: 0,
        }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.charge(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push_char(&mut self, c: char) -> Result<()> {
        self.charge(c.len_utf8())?;
        self.text.push(c);
        Ok(())
    }

    /// `c`, `n` times.
    pub(super) fn fill(&mut self, c: char, n: usize) -> Result<()> {
        self.charge(n.saturating_mul(c.len_utf8()))?;
        self.text.extend(std::iter::repeat_n(c, n));
        Ok(())
    }

    /// Account for what is about to be written, in pieces that are worth it.
    fn charge(&mut self, bytes: usize) -> Result<()> {
        self.uncharged = self.uncharged.saturating_add(bytes);
        if self.uncharged >= BYTES_PER_UNIT {
            self.budget.make(std::mem::take(&mut self.uncharged))?;
        }
        Ok(())
    }

    /// The text as a value.
    pub(super) fn finish(self) -> Result<Value> {
        self.budget.make(self.uncharged + OBJECT_BYTES)?;
        Ok(self.text.into())
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

//! The identity of an answer.

use crate::clock::Clock;

/// The identity of an answer, different from every other one; drawn by the transport.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// 128 random bits.
    pub id: u128,
    /// Unix time in seconds.
    pub created: u64,
    /// What the answer's times are measured by.
    pub clock: Clock,
}

impl Stamp {
    /// The seed of an answer whose request names none. 53 bits: JSON's numbers are doubles to many
    /// clients.
    pub fn seed(self) -> u64 {
        (self.id >> 75) as u64
    }
}

//! The machine's own limits: how fast the same threads read memory and multiply, doing nothing
//! else.

use std::time::Instant;

use memmap2::MmapMut;
use sterna_kernels::Isa;

use super::report::{Machine, Spread};
use crate::error::EngineError;
use crate::placement::huge_pages;
use crate::team::Team;

/// Bytes of each buffer: well beyond the last level of cache.
pub(super) const BUFFER_BYTES: usize = 256 << 20;
/// Pieces a thread takes, so that one that is held up does not hold up the round.
const PIECES_PER_THREAD: usize = 8;
/// The time of one piece of the multiply-add loop, in seconds.
const PEAK_PIECE_S: f64 = 0.002;
/// Enough for the team to share work of any kind.
const SHARED: usize = usize::MAX;

/// Buffers and figures; a round is measured between two repetitions of the benchmark, so that both
/// see the same machine.
pub(super) struct Limits {
    isa: Isa,
    team: Team,
    small_pages: MmapMut,
    huge_pages: Option<MmapMut>,
    peak_turns: u32,
    read_4k: Vec<f64>,
    read_2m: Vec<f64>,
    multiply_adds: Vec<f64>,
}

impl Limits {
    pub(super) fn new(isa: Isa, team: Team, buffer_bytes: usize) -> Result<Self, EngineError> {
        let small_pages = buffer(buffer_bytes, false)?;
        let huge_pages = buffer(buffer_bytes, true)?;
        let granted = huge_pages::bytes_within(&huge_pages) >= buffer_bytes as u64 / 10 * 9;
        let start = Instant::now();
        const TRIAL: u32 = 1 << 14;
        isa.multiply_add_peak(TRIAL);
        let turns = f64::from(TRIAL) * PEAK_PIECE_S / start.elapsed().as_secs_f64().max(1e-9);
        Ok(Limits {
            isa,
            team,
            small_pages,
            huge_pages: granted.then_some(huge_pages),
            // A cast saturates.
            peak_turns: turns as u32,
            read_4k: Vec::new(),
            read_2m: Vec::new(),
            multiply_adds: Vec::new(),
        })
    }

    /// Measure everything once.
    pub(super) fn round(&mut self) {
        let read = |buffer| read(self.isa, &self.team, buffer);
        self.read_4k.push(read(&self.small_pages));
        if let Some(buffer) = &self.huge_pages {
            self.read_2m.push(read(buffer));
        }
        self.multiply_adds.push(self.multiply());
    }

    /// 1e9 multiply-adds a second.
    fn multiply(&self) -> f64 {
        let pieces = self.team.threads() * PIECES_PER_THREAD;
        let once = self.isa.multiply_add_peak(1).multiply_adds;
        let seconds = seconds(&self.team, vec![(); pieces], |()| {
            std::hint::black_box(self.isa.multiply_add_peak(self.peak_turns));
        });
        pieces as f64 * f64::from(self.peak_turns) * once as f64 / seconds / 1e9
    }

    pub(super) fn finish(self) -> Machine {
        Machine {
            threads: self.team.threads(),
            isa: self.isa.name().to_owned(),
            read_gb_per_s_4k: Spread::of(self.read_4k),
            read_gb_per_s_2m: self.huge_pages.map(|_| Spread::of(self.read_2m)),
            int8_gmac_per_s: Spread::of(self.multiply_adds),
        }
    }
}

/// How fast `team` reads memory in 2 MiB pages, or in small ones where the system gives no others.
pub(super) fn read_bandwidth(
    isa: Isa,
    team: &Team,
    buffer_bytes: usize,
    rounds: usize,
) -> Result<Spread, EngineError> {
    let buffer = buffer(buffer_bytes, true)?;
    let rounds = 0..rounds.max(1);
    Ok(Spread::of(
        rounds.map(|_| read(isa, team, &buffer)).collect(),
    ))
}

/// 1e9 bytes a second.
fn read(isa: Isa, team: &Team, buffer: &[u8]) -> f64 {
    let pieces = team.threads() * PIECES_PER_THREAD;
    let tasks: Vec<_> = buffer
        .chunks(buffer.len().div_ceil(pieces).max(1))
        .collect();
    let seconds = seconds(team, tasks, |piece| {
        std::hint::black_box(isa.read_through(piece));
    });
    buffer.len() as f64 / seconds / 1e9
}

fn seconds<T: Send>(team: &Team, tasks: Vec<T>, task: impl Fn(T) + Sync + Send) -> f64 {
    team.run(|| {
        let start = Instant::now();
        team.for_each(tasks, SHARED, task);
        start.elapsed().as_secs_f64().max(1e-9)
    })
}

/// Memory of its own, every page written, with or without 2 MiB pages as far as the system grants
/// them.
fn buffer(bytes: usize, huge: bool) -> Result<MmapMut, EngineError> {
    let fail = |error| EngineError::Unavailable(format!("no memory to measure its speed: {error}"));
    let mut map = MmapMut::map_anon(bytes).map_err(fail)?;
    huge_pages::ask(&map, huge);
    // Different words, so that no page is merged with another.
    for (index, word) in map.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = (index as u64).to_le_bytes();
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_reads_and_multiplies() {
        let mut limits = Limits::new(Isa::detect(), Team::new(2).unwrap(), 8 << 20).unwrap();
        limits.round();
        limits.round();
        let machine = limits.finish();
        let read = machine.read_gb_per_s_4k;
        assert!(read.min > 0.0 && read.min <= read.median && read.median <= read.max);
        assert!(machine.read_gb_per_s_2m.is_none_or(|read| read.min > 0.0));
        assert!(machine.int8_gmac_per_s.min > 0.0);
    }
}

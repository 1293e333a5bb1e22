//! The pure multiply-add loop of AMX (see `isa/probe.rs`).

use super::Amx;
use super::tiles::{CpuTiles, ROW_BYTES, ROWS, Tiles, bytes_mut};
use crate::isa::probe::PeakRun;

/// Four accumulator tiles, as the products have.
pub(super) fn multiply_add_peak(token: Amx, turns: u32) -> PeakRun {
    let ones = [1u8; ROWS * ROW_BYTES];
    let mut tiles = CpuTiles::new(token);
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    tiles.load::<4>(&ones, ROW_BYTES);
    tiles.load::<5>(&ones, ROW_BYTES);
    tiles.load::<6>(&ones, ROW_BYTES);
    tiles.load::<7>(&ones, ROW_BYTES);
    for _ in 0..turns {
        tiles.multiply::<0, 4, 6>();
        tiles.multiply::<1, 4, 7>();
        tiles.multiply::<2, 5, 6>();
        tiles.multiply::<3, 5, 7>();
    }
    let mut sums = [0i32; ROWS * ROWS];
    tiles.store::<0>(bytes_mut(&mut sums), ROW_BYTES);
    PeakRun {
        multiply_adds: u64::from(turns) * 4 * (ROWS * ROWS * ROW_BYTES) as u64,
        checksum: sums.into_iter().map(i64::from).sum(),
    }
}

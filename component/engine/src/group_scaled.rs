//! A group-scaled matrix: binary or ternary codes with a scale for each group of a row, in the
//! kernels' tiles, which no file has.

use std::sync::OnceLock;

use sterna_kernels::{GroupShape, Grouped, pack_group_tile};

use crate::placement::Bytes;
use crate::team::{Team, default_threads};

/// Alignment of the tiles in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// A matrix `[rows, cols]` of codes and scales.
#[derive(Clone, Debug)]
pub struct GroupedWeights {
    shape: GroupShape,
    bytes: Bytes,
}

/// The threads that pack, started with the first matrix.
#[derive(Default)]
pub(crate) struct Packers(OnceLock<Team>);

impl Packers {
    /// The same ones each time.
    ///
    /// # Errors
    /// A sentence where the system refuses a thread.
    pub(crate) fn team(&self) -> Result<&Team, String> {
        if let Some(team) = self.0.get() {
            return Ok(team);
        }
        let team = Team::new(default_threads()).map_err(|error| error.to_string())?;
        Ok(self.0.get_or_init(|| team))
    }
}

/// The rows of a matrix as a file has them.
pub(crate) trait GroupRows: Sync {
    /// Row `row`: its codes (-1, 0 or +1; binary has no 0), `[cols]`, and each group's scale, the
    /// bits of an f16, `[cols / group]`.
    ///
    /// # Errors
    /// A sentence for `LoadError::Tensor` where the row is none of such codes.
    fn read(&self, row: usize, codes: &mut [i8], scales: &mut [u16]) -> Result<(), String>;
}

impl GroupedWeights {
    /// `bytes` holds `shape.packed_bytes()` of tiles.
    ///
    /// # Errors
    /// A sentence for `LoadError::Tensor` where it holds more or less.
    pub fn new(shape: GroupShape, bytes: Bytes) -> Result<Self, String> {
        Grouped::new(shape, &bytes).map_err(|error| error.to_string())?;
        Ok(GroupedWeights { shape, bytes })
    }

    /// Pack `rows` into tiles, on the team's threads.
    ///
    /// # Errors
    /// That of a row.
    pub(crate) fn pack(
        shape: GroupShape,
        rows: &dyn GroupRows,
        team: &Team,
    ) -> Result<Self, String> {
        let fault = OnceLock::new();
        let fill = |row: usize, codes: &mut [i8], scales: &mut [u16]| {
            if let Err(reason) = rows.read(row, codes, scales) {
                // Whatever the codes are now, they are packed and thrown away.
                codes.fill(1);
                let _ = fault.set(reason);
            }
        };
        let packed = Self::filled(shape, |tiles| {
            let tiles = tiles.chunks_exact_mut(shape.tile_bytes()).enumerate();
            let work = shape.rows().saturating_mul(shape.cols());
            team.run(|| {
                team.for_each(tiles.collect(), work, |(tile, out)| {
                    pack_group_tile(shape, tile, fill, out);
                });
            });
        });
        match fault.into_inner() {
            Some(reason) => Err(reason),
            None => packed,
        }
    }

    /// The tiles as `fill` makes them, all at once; they are zeros before.
    ///
    /// # Errors
    /// That of [`GroupedWeights::new`], which these bytes do not meet.
    pub(crate) fn filled(shape: GroupShape, fill: impl FnOnce(&mut [u8])) -> Result<Self, String> {
        let n_bytes = shape.packed_bytes();
        let mut memory = vec![0; n_bytes + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        fill(&mut memory[start..start + n_bytes]);
        let bytes = Bytes::from(memory).slice(start..start + n_bytes);
        Self::new(shape, bytes.unwrap_or_else(|| Vec::new().into()))
    }

    /// The matrix as the kernels take it.
    #[must_use]
    pub fn view(&self) -> Grouped<'_> {
        Grouped::new(self.shape, &self.bytes).expect("checked by GroupedWeights::new")
    }

    /// Its size, codes and group.
    #[must_use]
    pub fn shape(&self) -> GroupShape {
        self.shape
    }

    /// Its tiles.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

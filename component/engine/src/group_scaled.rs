//! A group-scaled matrix: binary or ternary codes with a scale for each group of a row, in the
//! kernels' tiles, which no published file has.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use sterna_kernels::{GroupCodes, GroupShape, Grouped, pack_group_tile, pack_trits8_tile};

use crate::placement::Bytes;
#[cfg(feature = "native")]
use crate::placement::huge_pages;
use crate::team::{Team, default_threads};

/// Alignment of the tiles in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// A matrix `[rows, cols]` of codes and scales.
#[derive(Clone, Debug)]
pub struct GroupedWeights {
    shape: GroupShape,
    bytes: Bytes,
}

/// What packs: threads, started with the first matrix, and the layout of ternary codes.
#[derive(Default)]
pub(crate) struct Packers {
    team: OnceLock<Team>,
    trits8: bool,
}

impl Packers {
    /// Ternary weights as trits8, or in 2 bits.
    pub(crate) fn new(trits8: bool) -> Self {
        Packers {
            team: OnceLock::new(),
            trits8,
        }
    }

    /// The same threads each time.
    ///
    /// # Errors
    /// A sentence where the system refuses one.
    pub(crate) fn team(&self) -> Result<&Team, String> {
        if let Some(team) = self.team.get() {
            return Ok(team);
        }
        let team = Team::new(default_threads()).map_err(|error| error.to_string())?;
        Ok(self.team.get_or_init(|| team))
    }

    /// The codes in which such weights are packed.
    fn codes(&self, codes: GroupCodes) -> GroupCodes {
        match codes {
            GroupCodes::Ternary if self.trits8 => GroupCodes::Trits8,
            codes => codes,
        }
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

/// The rows of tiles, in another order: where each is.
struct TileRows<'a>(Grouped<'a>, &'a (dyn Fn(usize) -> usize + Sync));

impl GroupRows for TileRows<'_> {
    fn read(&self, row: usize, codes: &mut [i8], scales: &mut [u16]) -> Result<(), String> {
        let TileRows(tiles, place) = self;
        let row = place(row);
        tiles.read_row(row, codes, scales);
        match codes.iter().find(|code| **code > 1) {
            None => Ok(()),
            Some(code) => Err(format!(
                "row {row} has the weight {code}: the file is damaged"
            )),
        }
    }
}

/// The name of a group-scaled matrix's kind.
#[must_use]
pub fn codes_name(codes: GroupCodes) -> &'static str {
    match codes {
        GroupCodes::Binary => "binary groups",
        GroupCodes::Ternary => "ternary groups",
        GroupCodes::Trits8 => "ternary groups in trits8",
    }
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

    /// Pack `rows` into tiles.
    ///
    /// # Errors
    /// That of a row, or of [`Packers::team`].
    pub(crate) fn pack(
        shape: GroupShape,
        rows: &dyn GroupRows,
        packers: &Packers,
    ) -> Result<Self, String> {
        let codes = packers.codes(shape.codes());
        Self::pack_as(shape, codes, rows, packers.team()?)
    }

    /// The same matrix with its codes in another layout of the same weights; a copy, unless they
    /// are in that one already.
    ///
    /// # Errors
    /// A sentence where binary is asked of ternary, or the other way round; or the system refuses a
    /// thread.
    pub(crate) fn to_codes(&self, codes: GroupCodes) -> Result<Self, String> {
        let own = self.shape.codes();
        if codes == own {
            return Ok(self.clone());
        }
        if [codes, own].contains(&GroupCodes::Binary) {
            let [own, codes] = [own, codes].map(codes_name);
            return Err(format!(
                "is of {own}, which cannot be {codes}: leave --layout out, or take the model's \
                 ternary file"
            ));
        }
        self.packed_anew(codes, &|row| row)
    }

    /// As `Matrix::with_rows`, with the same codes.
    pub(crate) fn with_rows(
        &self,
        place: &(dyn Fn(usize) -> usize + Sync),
    ) -> Result<Self, String> {
        self.packed_anew(self.shape.codes(), place)
    }

    fn packed_anew(
        &self,
        codes: GroupCodes,
        place: &(dyn Fn(usize) -> usize + Sync),
    ) -> Result<Self, String> {
        let rows = TileRows(self.view(), place);
        Self::pack_as(self.shape, codes, &rows, Packers::default().team()?)
    }

    /// Pack `rows` of a matrix of this shape, but for its codes.
    fn pack_as(
        shape: GroupShape,
        codes: GroupCodes,
        rows: &dyn GroupRows,
        team: &Team,
    ) -> Result<Self, String> {
        let shape = shape.with_codes(codes);
        let fault = OnceLock::new();
        let fill = |row: usize, codes: &mut [i8], scales: &mut [u16]| {
            if fault.get().is_some() {
                codes.fill(1);
            } else if let Err(reason) = rows.read(row, codes, scales) {
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

    /// The same weights in layout trits8, in 2 MiB pages if these are wanted. `None` where they are
    /// not in two bits, or one has the code 3, which that layout cannot hold.
    pub(crate) fn to_trits8(&self, huge: bool, team: &Team) -> Option<Self> {
        if self.shape.codes() != GroupCodes::Ternary {
            return None;
        }
        let shape = self.shape.with_codes(GroupCodes::Trits8);
        let fits = AtomicBool::new(true);
        #[cfg(not(feature = "native"))]
        let _ = huge;
        let packed = Self::filled(shape, |tiles| {
            #[cfg(feature = "native")]
            if huge {
                // Before the first touch, when it costs nothing.
                huge_pages::ask(tiles, true);
            }
            let tiles = tiles.chunks_exact_mut(shape.tile_bytes()).enumerate();
            team.run(|| {
                team.for_each(tiles.collect(), shape.packed_bytes(), |(tile, out)| {
                    if !pack_trits8_tile(self.view(), tile, out) {
                        fits.store(false, Ordering::Relaxed);
                    }
                });
            });
        });
        packed.ok().filter(|_| fits.into_inner())
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

//! The tile registers: what the AMX product is written over, and the instructions themselves.
//!
//! There are eight, of up to 16 rows of 64 bytes. `checks/amx_model.rs` has the same in plain Rust,
//! so that all the rest, which is layout, is tested on machines without AMX; what is left for a
//! machine that has it are the six `asm!` below.

use std::arch::asm;

use super::Amx;

/// Most rows of a tile, and the columns of a tile of i32.
pub(crate) const ROWS: usize = 16;
/// Most bytes of a row.
pub(crate) const ROW_BYTES: usize = 64;

/// How large a tile is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TileShape {
    /// 1..=16.
    pub(crate) rows: usize,
    /// A multiple of 4, up to 64.
    pub(crate) row_bytes: usize,
}

impl TileShape {
    /// As large as there are.
    pub(crate) const WHOLE: Self = Self::rows(ROWS);

    /// That many rows of 64 bytes.
    pub(crate) const fn rows(rows: usize) -> Self {
        Self {
            rows,
            row_bytes: ROW_BYTES,
        }
    }

    /// True if there are such tiles.
    pub(crate) fn exists(self) -> bool {
        let bytes = self.row_bytes;
        let whole = (4..=ROW_BYTES).contains(&bytes) && bytes.is_multiple_of(4);
        whole && (1..=ROWS).contains(&self.rows)
    }
}

/// The eight tiles.
pub(crate) trait Tiles {
    /// Gives each tile a shape that exists, and clears it.
    fn configure(&mut self, shapes: [TileShape; 8]);
    /// Fills tile `TO` with zeros.
    fn zero<const TO: u8>(&mut self);
    /// Loads tile `TO`: its rows start `stride` bytes apart.
    fn load<const TO: u8>(&mut self, from: &[u8], stride: usize);
    /// Stores tile `FROM`: its rows start `stride` bytes apart.
    fn store<const FROM: u8>(&mut self, to: &mut [u8], stride: usize);
    /// C[m][n] += A[m][4k + i] * B[k][4n + i] over all k and i, in i32, of int8 A and B. C and A
    /// have the same rows, C and B the same bytes a row, and B a row for each four bytes of A's.
    fn multiply<const C: u8, const A: u8, const B: u8>(&mut self);
}

/// Integers, or arrays of them without padding: any bytes are a value.
pub(crate) trait Plain: Copy {}
impl Plain for i8 {}
impl Plain for i32 {}

/// The bytes of some values, little-endian.
#[inline(always)]
pub(crate) fn bytes<T: Plain>(of: &[T]) -> &[u8] {
    // SAFETY: integers have no padding; the same memory for the same lifetime.
    unsafe { std::slice::from_raw_parts(of.as_ptr().cast(), size_of_val(of)) }
}

/// The same, to be written.
#[inline(always)]
pub(crate) fn bytes_mut<T: Plain>(of: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and any bytes are a valid integer.
    unsafe { std::slice::from_raw_parts_mut(of.as_mut_ptr().cast(), size_of_val(of)) }
}

/// The CPU's own tiles, of the thread that made the value; they are released with it.
///
/// No compiler output uses tiles where the target feature is off, as it is here, so they keep their
/// contents from one `asm!` to the next like the memory of a device.
pub(crate) struct CpuTiles {
    shapes: [TileShape; 8],
    /// Tiles belong to a thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl CpuTiles {
    pub(crate) fn new(_proof: Amx) -> Self {
        let mut tiles = Self {
            shapes: [TileShape::WHOLE; 8],
            _not_send: std::marker::PhantomData,
        };
        tiles.configure([TileShape::WHOLE; 8]);
        tiles
    }

    /// True if all rows of tile `t` lie in `len` bytes.
    fn fits(&self, t: u8, len: usize, stride: usize) -> bool {
        let shape = self.shapes[usize::from(t)];
        (shape.rows - 1) * stride + shape.row_bytes <= len
    }
}

impl Drop for CpuTiles {
    fn drop(&mut self) {
        // SAFETY: a value exists only with a proof of AMX. Without live tiles context switches need
        // not save 8 KiB, and the core may sleep deeper.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

impl Tiles for CpuTiles {
    fn configure(&mut self, shapes: [TileShape; 8]) {
        assert!(shapes.iter().all(|shape| shape.exists()));
        let mut config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for (t, shape) in shapes.iter().enumerate() {
            config.row_bytes[t] = shape.row_bytes as u16;
            config.rows[t] = shape.rows as u8;
        }
        // SAFETY: a value exists only with a proof of AMX; the operand is 64 bytes of a valid
        // configuration.
        unsafe {
            asm!("ldtilecfg [{at}]", at = in(reg) &raw const config, options(readonly, nostack, preserves_flags));
        }
        self.shapes = shapes;
    }

    #[inline(always)]
    fn zero<const TO: u8>(&mut self) {
        const { assert!(TO < 8) };
        // SAFETY: configured by `new`.
        unsafe {
            asm!("tilezero tmm{to}", to = const TO, options(nomem, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn load<const TO: u8>(&mut self, from: &[u8], stride: usize) {
        const { assert!(TO < 8) };
        assert!(self.fits(TO, from.len(), stride));
        // SAFETY: configured by `new`; every row that is read lies in `from`, checked above.
        unsafe {
            asm!(
                "tileloadd tmm{to}, [{at} + {stride}]",
                to = const TO,
                at = in(reg) from.as_ptr(),
                stride = in(reg) stride,
                options(readonly, nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    fn store<const FROM: u8>(&mut self, to: &mut [u8], stride: usize) {
        const { assert!(FROM < 8) };
        assert!(self.fits(FROM, to.len(), stride));
        // SAFETY: configured by `new`; every row that is written lies in `to`, checked above.
        unsafe {
            asm!(
                "tilestored [{at} + {stride}], tmm{from}",
                from = const FROM,
                at = in(reg) to.as_mut_ptr(),
                stride = in(reg) stride,
                options(nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        const { assert!(C < 8 && A < 8 && B < 8 && C != A && C != B && A != B) };
        // A faulting instruction would be the only harm of wrong rows, so the model checks them and
        // not this. SAFETY: configured by `new`; registers only.
        unsafe {
            asm!(
                "tdpbssd tmm{c}, tmm{a}, tmm{b}",
                c = const C,
                a = const A,
                b = const B,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

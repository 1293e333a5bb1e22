//! The tiles in plain Rust, after Intel's description of each instruction (Software Developer's
//! Manual, volume 2): what would fault on a CPU panics here.

use crate::dispatch::{Isa, Kind};
use crate::grouped::{TILE_ROWS, UNIT};
use crate::isa::Scalar;
use crate::isa::amx::grouped_input::GroupInput;
use crate::isa::amx::grouped_many;
use crate::isa::amx::i2s_many::{PANEL_BYTES, TOKENS, matmul};
use crate::isa::amx::tiles::{ROW_BYTES, ROWS, TileShape, Tiles};
use crate::isa::x86::group_panel::{GroupVectors, Line, TOKENS as GROUP_TOKENS};
use crate::isa::x86::panel::{PanelBlock, ROWS as PANEL_ROWS, Vectors};
use crate::rng::Rng;
use crate::self_test::{self, Codes, Fill};
use crate::simd::LANES;
use crate::ternary::Block;
use crate::{
    BlockActivations, GroupCodes, GroupShape, Grouped, OutputRows, QuantizedActivations,
    SelfTestError, ShapeError, Ternary,
};

/// Eight tiles and how large each is.
pub(super) struct ModelTiles {
    shapes: [TileShape; 8],
    tiles: [[[u8; ROW_BYTES]; ROWS]; 8],
}

impl ModelTiles {
    pub(super) fn new() -> Self {
        Self {
            shapes: [TileShape::WHOLE; 8],
            tiles: [[[0; ROW_BYTES]; ROWS]; 8],
        }
    }
}

impl Tiles for ModelTiles {
    fn configure(&mut self, shapes: [TileShape; 8]) {
        assert!(shapes.iter().all(|shape| shape.exists()));
        *self = Self::new();
        self.shapes = shapes;
    }

    fn zero<const TO: u8>(&mut self) {
        self.tiles[usize::from(TO)] = [[0; ROW_BYTES]; ROWS];
    }

    fn load<const TO: u8>(&mut self, from: &[u8], stride: usize) {
        let to = usize::from(TO);
        self.zero::<TO>(); // what is beyond the tile's is cleared
        let TileShape { rows, row_bytes } = self.shapes[to];
        for (r, row) in self.tiles[to][..rows].iter_mut().enumerate() {
            row[..row_bytes].copy_from_slice(&from[r * stride..][..row_bytes]);
        }
    }

    fn store<const FROM: u8>(&mut self, to: &mut [u8], stride: usize) {
        let from = usize::from(FROM);
        let TileShape { rows, row_bytes } = self.shapes[from];
        for (r, row) in self.tiles[from][..rows].iter().enumerate() {
            to[r * stride..][..row_bytes].copy_from_slice(&row[..row_bytes]);
        }
    }

    fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        let [c, a, b] = [C, A, B].map(usize::from);
        assert!(c != a && c != b && a != b);
        let [of_c, of_a, of_b] = [c, a, b].map(|tile| self.shapes[tile]);
        assert_eq!(of_c.rows, of_a.rows, "C and A have other rows");
        assert_eq!(of_c.row_bytes, of_b.row_bytes, "C and B have other columns");
        assert_eq!(of_b.rows, of_a.row_bytes / 4, "B does not fit A's columns");
        for m in 0..of_c.rows {
            for n in 0..of_c.row_bytes / 4 {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&self.tiles[c][m][4 * n..][..4]);
                let mut sum = i32::from_le_bytes(bytes);
                for k in 0..of_b.rows {
                    for i in 0..4 {
                        let a = self.tiles[a][m][4 * k + i] as i8;
                        let b = self.tiles[b][k][4 * n + i] as i8;
                        sum = sum.wrapping_add(i32::from(a) * i32::from(b));
                    }
                }
                self.tiles[c][m][4 * n..][..4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
}

/// The work around the tiles, in plain Rust.
impl Vectors for Scalar {
    fn interleave(self, rows: &[&[Block]; PANEL_ROWS], b: usize, codes: &mut PanelBlock) {
        for (k, line) in codes.0.iter_mut().enumerate() {
            for (row, codes) in rows.iter().zip(line.as_chunks_mut::<4>().0) {
                let (g, d) = (k / 8, k % 8);
                *codes = std::array::from_fn(|i| row[b][4 * d + i] >> (6 - 2 * g) & 3);
            }
        }
    }

    fn outputs(self, sums: &[i32], q_sum: i32, scale: f32, w_scale: f32, out: &mut [f32]) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = crate::isa::outputs::output(*sum, q_sum, scale, w_scale);
        }
    }

    fn prefetch(self, _block: &Block) {}
}

/// The same of group-scaled products.
impl GroupVectors for Scalar {
    fn unpack<const LESS: i8>(self, codes: GroupCodes, unit: &[u8], lines: &mut [Line; UNIT / 4]) {
        let shape = GroupShape::new(TILE_ROWS, UNIT, UNIT, codes);
        let shape = shape.expect("a group of one unit");
        for (i, line) in lines.iter_mut().enumerate() {
            for (row, to) in line.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *to = std::array::from_fn(|j| shape.weight(unit, row, 4 * i + j) + 1 - LESS);
            }
        }
    }

    fn load_ints(self, x: &[i32; LANES]) -> Self::F {
        x.map(|x| x as f32)
    }
}

/// The tiled products on these tiles against scalar: any number of tokens, rows and blocks. What is
/// done around the tiles is the ISA's own code where it has any (AVX-512), else plain Rust.
pub(crate) fn check(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    ternary(isa, cases)?;
    groups(isa, cases)
}

/// Group-scaled matrices of each kind, rows and tokens that do not fill a tile.
fn groups(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(33);
    let mut shapes = Rng::new(34);
    let mut run = |shape, n_tokens, fill| match isa.0 {
        Kind::Avx512Vnni(token) => group_product(isa, token, &mut rng, shape, n_tokens, fill),
        Kind::AmxInt8(token) => group_product(isa, *token, &mut rng, shape, n_tokens, fill),
        _ => group_product(isa, Scalar, &mut rng, shape, n_tokens, fill),
    };
    for case in 0..cases / 4 {
        let (codes, fill) = (GroupCodes::ALL[case % 3], Fill::ALL[case % Fill::ALL.len()]);
        let group = [64, 128, 256][shapes.below(3)];
        let (rows, groups) = (1 + shapes.below(70), 1 + shapes.below(10));
        let shape = GroupShape::new(rows, group * groups, group, codes);
        run(shape, 1 + shapes.below(40), fill)?;
    }
    // Two panels of tokens.
    run(
        GroupShape::new(40, 64, 64, GroupCodes::Trits8),
        GROUP_TOKENS + 3,
        Fill::Uniform,
    )
}

/// One shape, the rows cut somewhere.
fn group_product(
    isa: Isa,
    vectors: impl GroupVectors,
    rng: &mut Rng,
    shape: Result<GroupShape, ShapeError>,
    n_tokens: usize,
    fill: Fill,
) -> Result<(), SelfTestError> {
    let fail = |e: ShapeError| SelfTestError {
        isa: isa.name(),
        kernel: "amx_layout",
        detail: e.to_string(),
    };
    let shape = shape.map_err(fail)?;
    let packed = self_test::grouped_bytes(shape, rng, fill);
    let w = Grouped::new(shape, &packed).map_err(fail)?;
    let (rows, cols) = (shape.rows(), shape.cols());
    let mut q = BlockActivations::with_capacity(n_tokens, cols);
    q.quantize(Isa::SCALAR, &fill.values(rng, n_tokens * cols), cols);
    let mut expected = vec![0.0; n_tokens * rows];
    let mut actual = vec![f32::NAN; n_tokens * rows];
    let view = |out| OutputRows::new(out, n_tokens, rows).map_err(fail);
    crate::grouped_matmul(Isa::SCALAR, w, &q, view(&mut expected)?);
    let mut input = GroupInput::default();
    input.set(&q);
    for mut part in view(&mut actual)?.chunks(1 + rng.below(rows)) {
        grouped_many::matmul(&mut ModelTiles::new(), vectors, w, &input, &mut part);
    }
    let detail = || format!("{shape:?} x {n_tokens}, {fill:?}");
    self_test::same(isa, "amx_layout", &detail, &expected, &actual)
}

/// Ternary matrices.
fn ternary(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(31);
    let mut run = |rows, cols, n_tokens, codes| match isa.0 {
        Kind::Avx512Vnni(token) => product(isa, token, &mut rng, [rows, cols, n_tokens], codes),
        Kind::AmxInt8(token) => product(isa, *token, &mut rng, [rows, cols, n_tokens], codes),
        _ => product(isa, Scalar, &mut rng, [rows, cols, n_tokens], codes),
    };
    let mut shapes = Rng::new(32);
    for case in 0..cases / 4 {
        let codes = [Codes::Random, Codes::Random, Codes::AllThree][case % 3];
        let n_tokens = 1 + shapes.below(70);
        run(
            1 + shapes.below(70),
            1 + shapes.below(1500),
            n_tokens,
            codes,
        )?;
    }
    run(33, 128, TOKENS + 17, Codes::Random)?; // two panels of tokens
    run(17, PANEL_BYTES / 300, 330, Codes::Random) // two panels, because the rows are long
}

/// One shape, the rows cut somewhere.
fn product(
    isa: Isa,
    vectors: impl Vectors,
    rng: &mut Rng,
    [rows, cols, n_tokens]: [usize; 3],
    codes: Codes,
) -> Result<(), SelfTestError> {
    let fail = |detail: String| SelfTestError {
        isa: isa.name(),
        kernel: "amx_layout",
        detail,
    };
    let packed = codes.packed(rng, rows, cols);
    let fill = if codes == Codes::AllThree {
        Fill::Limits
    } else {
        Fill::Uniform
    };
    let x = fill.values(rng, n_tokens * cols);
    let w = Ternary::new(rows, cols, &packed, 0.37).map_err(|e| fail(e.to_string()))?;
    let mut q = QuantizedActivations::with_capacity(n_tokens, cols);
    q.quantize(Isa::SCALAR, &x, cols);
    let mut expected = vec![0.0; n_tokens * rows];
    let mut actual = vec![f32::NAN; n_tokens * rows];
    let view = |out| OutputRows::new(out, n_tokens, rows).map_err(|e| fail(e.to_string()));
    crate::ternary_matmul(Isa::SCALAR, w, &q, view(&mut expected)?);
    for mut part in view(&mut actual)?.chunks(1 + rng.below(rows)) {
        matmul(&mut ModelTiles::new(), vectors, w, &q, &mut part);
    }
    let shape = || format!("[{rows}, {cols}] x {n_tokens}, {codes:?}");
    self_test::same(isa, "amx_layout", &shape, &expected, &actual)
}

//! The tiles in plain Rust, after Intel's description of each instruction (Software Developer's
//! Manual, volume 2): what would fault on a CPU panics here.

use crate::dispatch::{Isa, Kind};
use crate::isa::Scalar;
use crate::isa::amx::i2s_many::{PANEL_BYTES, TOKENS, matmul};
use crate::isa::amx::tiles::{ROW_BYTES, ROWS, Tiles};
use crate::isa::x86::panel::{PanelBlock, ROWS as PANEL_ROWS, Vectors};
use crate::rng::Rng;
use crate::self_test::{self, Codes, Fill};
use crate::ternary::Block;
use crate::{OutputRows, QuantizedActivations, SelfTestError, Ternary};

/// Eight tiles and how many rows each has.
pub(super) struct ModelTiles {
    rows: [usize; 8],
    tiles: [[[u8; ROW_BYTES]; ROWS]; 8],
}

impl ModelTiles {
    pub(super) fn new() -> Self {
        Self {
            rows: [ROWS; 8],
            tiles: [[[0; ROW_BYTES]; ROWS]; 8],
        }
    }
}

impl Tiles for ModelTiles {
    fn configure(&mut self, rows: [u8; 8]) {
        assert!(rows.iter().all(|n| (1..=ROWS as u8).contains(n)));
        *self = Self::new();
        self.rows = rows.map(usize::from);
    }

    fn zero<const TO: u8>(&mut self) {
        self.tiles[usize::from(TO)] = [[0; ROW_BYTES]; ROWS];
    }

    fn load<const TO: u8>(&mut self, from: &[u8], stride: usize) {
        let to = usize::from(TO);
        self.zero::<TO>(); // rows beyond the tile's are cleared
        for (r, row) in self.tiles[to][..self.rows[to]].iter_mut().enumerate() {
            row.copy_from_slice(&from[r * stride..][..ROW_BYTES]);
        }
    }

    fn store<const FROM: u8>(&mut self, to: &mut [u8], stride: usize) {
        let from = usize::from(FROM);
        for (r, row) in self.tiles[from][..self.rows[from]].iter().enumerate() {
            to[r * stride..][..ROW_BYTES].copy_from_slice(row);
        }
    }

    fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        let [c, a, b] = [C, A, B].map(usize::from);
        assert!(c != a && c != b && a != b);
        assert_eq!(self.rows[c], self.rows[a], "C and A have other rows");
        assert_eq!(self.rows[b], ROW_BYTES / 4, "B does not fit A's columns");
        for m in 0..self.rows[c] {
            for n in 0..ROW_BYTES / 4 {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&self.tiles[c][m][4 * n..][..4]);
                let mut sum = i32::from_le_bytes(bytes);
                for k in 0..ROW_BYTES / 4 {
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

/// The tiled product on these tiles against scalar: any number of tokens, rows and blocks. What is
/// done around the tiles is the ISA's own code where it has any (AVX-512), else plain Rust.
pub(crate) fn check(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
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

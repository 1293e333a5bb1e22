//! Keys, values and queries to what is stored and multiplied.

use crate::kv::Numbers;
use crate::{Isa, KvBuffer, KvRowMut, KvType, QuantizedQueries};

/// Stores one position's keys, or values, of a head: `x` and `out` have `[head_dim]` numbers.
pub fn store_kv_row(isa: Isa, x: &[f32], out: KvRowMut<'_>) {
    isa.store_kv_row(x, out);
}

impl QuantizedQueries {
    /// Replaces the contents by `queries`, `[n_queries, head_dim]`. One with a NaN or an infinity
    /// gets scale NaN.
    pub fn quantize(&mut self, isa: Isa, queries: &[f32], head_dim: usize) {
        self.head_dim = head_dim;
        self.codes.resize(queries.len(), 0);
        self.scales.clear();
        let head_dim = head_dim.max(1);
        let rows = queries.chunks_exact(head_dim);
        for (query, codes) in rows.zip(self.codes.chunks_exact_mut(head_dim)) {
            self.scales.push(1.0 / isa.quantize_row(query, codes).0);
        }
    }
}

impl KvBuffer {
    /// The positions `rows`, `[n, head_dim]`.
    #[must_use]
    pub fn store(isa: Isa, ty: KvType, rows: &[f32], head_dim: usize) -> Self {
        let n = rows.len().checked_div(head_dim).unwrap_or(0);
        let mut numbers = match ty {
            KvType::F32 => Numbers::F32(vec![0.0; rows.len()]),
            KvType::F16 => Numbers::F16(vec![[0; 2]; rows.len()]),
            KvType::Int8 => Numbers::Int8 {
                codes: vec![0; rows.len()],
                scales: vec![[0; 2]; n],
            },
        };
        for (i, row) in rows.chunks_exact(head_dim.max(1)).enumerate() {
            let at = i * head_dim..(i + 1) * head_dim;
            let out = match &mut numbers {
                Numbers::F32(rows) => KvRowMut::F32(&mut rows[at]),
                Numbers::F16(rows) => KvRowMut::F16(&mut rows[at]),
                Numbers::Int8 { codes, scales } => KvRowMut::Int8 {
                    codes: &mut codes[at],
                    scale: &mut scales[i],
                },
            };
            isa.store_kv_row(row, out);
        }
        KvBuffer { head_dim, numbers }
    }
}

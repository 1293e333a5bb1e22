//! Keys and values of attention as they are cached: the types, views of them, and queries as they
//! meet them.
//!
//! Int8 has a scale for each position and head, so that the products of a query and a key are exact
//! in i32 in any order. Scales are f16 and codes are rounded by the scale as it is stored.

/// The storage type of cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// IEEE single.
    F32,
    /// IEEE half, rounded half to even; beyond 65504 it is infinite.
    #[default]
    F16,
    /// Int8, -127 to 127, with an f16 scale for each position and head: 1/127 of the largest
    /// magnitude.
    Int8,
}

impl KvType {
    /// All of them, largest first.
    pub const ALL: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Int8];

    /// Positions at whose multiples a head's positions may be cut into runs: the bits of sums over
    /// int8 values stay the same.
    pub const RUN: usize = crate::simd::SUM_POSITIONS;

    /// As users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Int8 => "int8",
        }
    }

    /// The type of that [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<KvType> {
        Self::ALL.into_iter().find(|ty| ty.name() == name)
    }

    /// Bytes of the keys, or of the values, of one position of a head.
    #[must_use]
    pub const fn row_bytes(self, head_dim: usize) -> usize {
        match self {
            KvType::F32 => 4 * head_dim,
            KvType::F16 => 2 * head_dim,
            KvType::Int8 => head_dim + 2,
        }
    }
}

/// Keys, or values, of a head's positions, `[n, head_dim]`. Halves are little-endian.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the variants are KvType's")]
pub enum KvRows<'a> {
    F32(&'a [f32]),
    F16(&'a [[u8; 2]]),
    Int8 {
        codes: &'a [i8],
        /// `[n]`
        scales: &'a [[u8; 2]],
    },
}

impl<'a> KvRows<'a> {
    /// The first `n` positions.
    ///
    /// # Panics
    /// If there are fewer: a caller's mistake.
    #[must_use]
    pub fn first(self, n: usize, head_dim: usize) -> Self {
        match self {
            KvRows::F32(rows) => KvRows::F32(&rows[..n * head_dim]),
            KvRows::F16(rows) => KvRows::F16(&rows[..n * head_dim]),
            KvRows::Int8 { codes, scales } => KvRows::Int8 {
                codes: &codes[..n * head_dim],
                scales: &scales[..n],
            },
        }
    }

    /// The numbers, `[n, head_dim]`.
    #[must_use]
    pub fn to_f32(self, head_dim: usize) -> Vec<f32> {
        let half = |bytes: &[u8; 2]| half::f16::from_le_bytes(*bytes).to_f32_const();
        match self {
            KvRows::F32(rows) => rows.to_vec(),
            KvRows::F16(rows) => rows.iter().map(half).collect(),
            KvRows::Int8 { codes, scales } => {
                let codes = codes.iter().enumerate();
                codes
                    .map(|(i, code)| f32::from(*code) * half(&scales[i / head_dim]))
                    .collect()
            }
        }
    }

    /// The numbers if they are f32, else none.
    pub(crate) fn f32(self) -> &'a [f32] {
        match self {
            KvRows::F32(rows) => rows,
            _ => &[],
        }
    }

    /// The numbers if they are f16, else none.
    pub(crate) fn f16(self) -> &'a [[u8; 2]] {
        match self {
            KvRows::F16(rows) => rows,
            _ => &[],
        }
    }

    /// The codes if it is int8, else none.
    pub(crate) fn codes(self) -> &'a [i8] {
        match self {
            KvRows::Int8 { codes, .. } => codes,
            _ => &[],
        }
    }
}

/// The place of one position's keys, or values, of a head, `[head_dim]`.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants are KvType's")]
pub enum KvRowMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [[u8; 2]]),
    Int8 {
        codes: &'a mut [i8],
        scale: &'a mut [u8; 2],
    },
}

/// Query heads as they meet keys: floats where keys are floats, int8 where keys are int8.
#[derive(Clone, Copy, Debug)]
pub enum Queries<'a> {
    /// `[n_queries, head_dim]`
    Floats(&'a [f32]),
    /// A number is its code times its query's scale.
    Int8 {
        /// `[n_queries, head_dim]`
        codes: &'a [i8],
        /// `[n_queries]`
        scales: &'a [f32],
    },
}

/// Query heads in int8, a scale each.
#[derive(Debug, Default)]
pub struct QuantizedQueries {
    pub(crate) head_dim: usize,
    pub(crate) codes: Vec<i8>,
    pub(crate) scales: Vec<f32>,
}

impl QuantizedQueries {
    /// The queries `range`.
    ///
    /// # Panics
    /// If there are fewer: a caller's mistake.
    #[must_use]
    pub fn heads(&self, range: std::ops::Range<usize>) -> Queries<'_> {
        Queries::Int8 {
            codes: &self.codes[range.start * self.head_dim..range.end * self.head_dim],
            scales: &self.scales[range],
        }
    }
}

/// Keys, or values, of a head's positions in memory of their own: for tests and measurements.
#[derive(Clone, Debug)]
pub struct KvBuffer {
    pub(crate) head_dim: usize,
    pub(crate) numbers: Numbers,
}

#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F16(Vec<[u8; 2]>),
    Int8 {
        codes: Vec<i8>,
        scales: Vec<[u8; 2]>,
    },
}

impl KvBuffer {
    /// All positions.
    #[must_use]
    pub fn rows(&self) -> KvRows<'_> {
        match &self.numbers {
            Numbers::F32(rows) => KvRows::F32(rows),
            Numbers::F16(rows) => KvRows::F16(rows),
            Numbers::Int8 { codes, scales } => KvRows::Int8 { codes, scales },
        }
    }

    /// The numbers that are stored, `[n, head_dim]`.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        self.rows().to_f32(self.head_dim)
    }
}

//! The choice of instruction set: the list of ISAs, and one match that every kernel's front door goes through.

use crate::isa::{self, Kernels as _, Scalar};
use crate::{
    Dense, DenseInput, IsaError, NonZero, OutputRows, QuantizedActivations, Ternary, TernaryColumns,
};

/// Names of all kernel sets, best first; `from_name` knows which are in this build and on this machine.
const NAMES: [&str; 9] = [
    "amx-int8",
    "avx512vnni",
    "avx2",
    "neon-i8mm",
    "neon-dotprod",
    "neon",
    "simd128-relaxed",
    "simd128",
    "scalar",
];

/// Proof that the machine supports an instruction set: a value can only be made where it does.
#[derive(Clone, Copy, Debug)]
pub struct Isa(pub(crate) Kind);

/// Shares, 0 to 1; see [`Isa::listing_limits`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ListingLimits {
    /// Of rows, for [`crate::ternary_matmul_rows`].
    pub rows: f32,
    /// Of columns, for [`crate::ternary_columns_matmul`]; 0 where it never pays.
    pub columns: f32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Amx(isa::amx::Amx),
    #[cfg(target_arch = "x86_64")]
    Avx2(isa::avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(isa::avx512::Avx512),
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(isa::neon::Neon<isa::neon::level::I8mm>),
    #[cfg(target_arch = "aarch64")]
    NeonDotprod(isa::neon::Neon<isa::neon::level::Dotprod>),
    #[cfg(target_arch = "aarch64")]
    Neon(isa::neon::Neon<isa::neon::level::Baseline>),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128(isa::simd128::Simd128),
}

impl Isa {
    /// Plain Rust, the oracle.
    pub const SCALAR: Isa = Isa(Kind::Scalar(Scalar));

    /// The fastest supported here.
    pub fn detect() -> Isa {
        Self::supported().first().copied().unwrap_or(Self::SCALAR)
    }

    /// `"amx-int8"`, `"avx512vnni"`, `"avx2"`, `"neon-i8mm"`, `"neon-dotprod"`, `"neon"`, `"simd128-relaxed"`, `"simd128"` or `"scalar"`.
    pub fn from_name(name: &str) -> Result<Isa, IsaError> {
        let supported = Self::supported();
        if let Some(isa) = supported.iter().find(|isa| isa.name() == name) {
            return Ok(*isa);
        }
        let supported = supported
            .iter()
            .map(|isa| isa.name())
            .collect::<Vec<_>>()
            .join(", ");
        let name = name.to_owned();
        Err(if NAMES.contains(&name.as_str()) {
            IsaError::Unsupported { name, supported }
        } else {
            IsaError::Unknown { name, supported }
        })
    }

    /// The one that the environment variable `STERNA_ISA` names, or `detect()` where it is unset or empty.
    pub fn from_env() -> Result<Isa, IsaError> {
        match std::env::var("STERNA_ISA") {
            Ok(name) if !name.is_empty() => Self::from_name(&name),
            _ => Ok(Self::detect()),
        }
    }

    /// All that this machine supports, best first; scalar is always last.
    pub fn supported() -> Vec<Isa> {
        let candidates = [
            #[cfg(target_arch = "x86_64")]
            isa::amx::Amx::new().map(|token| Isa(Kind::Amx(token))),
            #[cfg(target_arch = "x86_64")]
            isa::avx512::Avx512::new().map(|token| Isa(Kind::Avx512(token))),
            #[cfg(target_arch = "x86_64")]
            isa::avx2::Avx2::new().map(|token| Isa(Kind::Avx2(token))),
            #[cfg(target_arch = "aarch64")]
            isa::neon::Neon::new().map(|token| Isa(Kind::NeonI8mm(token))),
            #[cfg(target_arch = "aarch64")]
            isa::neon::Neon::new().map(|token| Isa(Kind::NeonDotprod(token))),
            #[cfg(target_arch = "aarch64")]
            isa::neon::Neon::new().map(|token| Isa(Kind::Neon(token))),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Some(Isa(Kind::Simd128(isa::simd128::Simd128))),
            Some(Self::SCALAR),
        ];
        candidates.into_iter().flatten().collect()
    }

    /// Up to which share of a matrix reading by a list is faster than reading all of it (README.md has the figures).
    pub fn listing_limits(self) -> ListingLimits {
        let (rows, columns) = match self.0 {
            // A list is read at a third of a stream's speed: every line comes by itself, and pages are small.
            #[cfg(target_arch = "x86_64")]
            Kind::Amx(_) | Kind::Avx512(_) => (0.25, 0.25),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => (0.3, 0.3),
            // Not measured. Single rows take longer than rows side by side; columns have no loop of their own.
            _ => (0.3, 0.0),
        };
        ListingLimits { rows, columns }
    }

    /// Prompt tokens that one pass should take in where nothing else decides (README.md has the figures).
    pub fn prefill_chunk(self) -> usize {
        match self.0 {
            // Unpacking the weights, and reading them, would take as long as multiplying 64 tokens.
            #[cfg(target_arch = "x86_64")]
            Kind::Amx(_) => 256,
            // More is hardly faster, and a running completion waits for a pass.
            _ => 64,
        }
    }

    /// Whether decoding multiplies matrices of this layout where they lie. Where not, rows are unpacked first: the same
    /// bits, some times slower.
    pub fn has_loop_for(self, layout: crate::TernaryLayout) -> bool {
        layout == crate::TernaryLayout::I2S || self.has_trits5()
    }

    /// Whether T5 serves better than I2_S with that many threads: its loops take any number of tokens at nearly I2_S's speed, and read
    /// five sixths of the bytes. That pays where memory is slower than arithmetic: where threads share it, and on Intel's CPUs with
    /// one (README.md has the figures).
    pub fn prefers_t5(self, threads: usize) -> bool {
        match self.0 {
            // Tiles take I2_S rows.
            #[cfg(target_arch = "x86_64")]
            Kind::Amx(_) => false,
            #[cfg(target_arch = "x86_64")]
            _ => self.has_trits5() && (threads > 1 || isa::x86::vendor::intel()),
            #[cfg(not(target_arch = "x86_64"))]
            _ => self.has_trits5() && threads > 1,
        }
    }

    /// The name that `from_name` takes.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Amx(_) => "amx-int8",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512vnni",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm(token) => token.name(),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotprod(token) => token.name(),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(token) => token.name(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Kind::Simd128(_) => isa::simd128::NAME,
        }
    }
}

/// One method of [`Kernels`] as a method of `Isa`: the single place where the choice is looked at.
macro_rules! dispatch {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        #[allow(clippy::too_many_arguments, reason = "sizes, what is read and what is written")]
        impl Isa {
            $(#[inline] pub(crate) fn $name(self, $($arg: $ty),*) $(-> $ret)? {
                match self.0 {
                    Kind::Scalar(token) => token.$name($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Kind::Amx(token) => token.$name($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Kind::Avx2(token) => token.$name($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Kind::Avx512(token) => token.$name($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    Kind::NeonI8mm(token) => token.$name($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    Kind::NeonDotprod(token) => token.$name($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    Kind::Neon(token) => token.$name($($arg),*),
                    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                    Kind::Simd128(token) => token.$name($($arg),*),
                }
            })*
        }
    };
}

dispatch! {
    fn quantize_row(x: &[f32], q: &mut [i8]) -> (f32, i32);
    fn quantize_row_wide(x: &[f32], limit: f32, q: &mut [i16]) -> f32;
    fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    fn rope_rotate_half(head: &mut [f32], cos: &[f32], sin: &[f32]);
    fn softmax(x: &mut [f32]);
    fn relu2_mul(gate: &[f32], up: &[f32], out: &mut [f32]);
    fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]);
    fn add_assign(x: &mut [f32], y: &[f32]);
    fn attention_scores(head_dim: usize, queries: &[f32], keys: &[f32], next: Option<&[f32]>, scale: f32, stride: usize, out: &mut [f32]);
    fn attention_mix(head_dim: usize, p: &[f32], stride: usize, values: &[f32], next: Option<&[f32]>, acc: &mut [f32]);
    fn dense_matmul(w: Dense<'_>, x: &DenseInput, out: &mut OutputRows<'_>);
    fn ternary_matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>);
    fn has_trits5() -> bool;
    fn trits5_matmul(w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>);
    fn trits5_unpack(w: Ternary<'_>, rows: std::ops::Range<usize>, out: &mut [u8]);
    fn trits5_rows(w: Ternary<'_>, x: &QuantizedActivations, rows: &[u32], out: &mut OutputRows<'_>);
    fn ternary_rows(w: Ternary<'_>, x: &QuantizedActivations, rows: &[u32], out: &mut OutputRows<'_>);
    fn ternary_columns(w: TernaryColumns<'_>, x: &QuantizedActivations, nonzero: &NonZero, out: &mut OutputRows<'_>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_is_supported() {
        for isa in Isa::supported() {
            assert_eq!(Isa::from_name(isa.name()).unwrap().name(), isa.name());
            assert!(NAMES.contains(&isa.name()));
        }
        let unknown = Isa::from_name("sse9").unwrap_err().to_string();
        assert!(unknown.contains("scalar"), "{unknown}");
    }
}

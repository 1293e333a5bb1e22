//! The choice of instruction set: the list of ISAs, and one match that every kernel's front door
//! goes through.

use crate::IsaError;
use crate::isa::kernels::{Kernels as _, kernel_list};
use crate::isa::{self, Scalar};

/// Hands the list of all instruction sets to the macro `$then`, best first: the name of each as an
/// identifier and as users write it, its token, and what has to be built for that the crate holds
/// it.
macro_rules! isa_list {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
            AmxInt8 amx_int8 "amx-int8" isa::amx::Amx,
                target_arch = "x86_64";
            Avx512Vnni avx512vnni "avx512vnni" isa::avx512::Avx512,
                target_arch = "x86_64";
            Avx2 avx2 "avx2" isa::avx2::Avx2,
                target_arch = "x86_64";
            NeonI8mm neon_i8mm "neon-i8mm" isa::neon::Neon<isa::neon::level::I8mm>,
                target_arch = "aarch64";
            NeonDotprod neon_dotprod "neon-dotprod" isa::neon::Neon<isa::neon::level::Dotprod>,
                target_arch = "aarch64";
            Neon neon "neon" isa::neon::Neon<isa::neon::level::Baseline>,
                target_arch = "aarch64";
            Simd128Relaxed simd128_relaxed "simd128-relaxed" isa::simd128::Simd128,
                all(target_arch = "wasm32", target_feature = "simd128", feature = "relaxed-simd");
            Simd128 simd128 "simd128" isa::simd128::Simd128,
                all(
                    target_arch = "wasm32",
                    target_feature = "simd128",
                    not(feature = "relaxed-simd")
                );
            Scalar scalar "scalar" isa::Scalar,
                all();
        }
    };
}

#[cfg(test)]
pub(crate) use isa_list;

macro_rules! define_isas {
    ([] $($variant:ident $ident:ident $name:literal $token:ty, $built:meta;)*) => {
        /// Names of all kernel sets, best first; `from_name` knows which are in this build and on
        /// this machine.
        const NAMES: &[&str] = &[$($name),*];

        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Kind {
            $(#[cfg($built)] $variant($token),)*
        }

        impl Isa {
            /// All that this machine supports, best first; scalar is always last.
            pub fn supported() -> Vec<Isa> {
                let candidates = [
                    $(#[cfg($built)] <$token>::new().map(|token| Isa(Kind::$variant(token))),)*
                ];
                candidates.into_iter().flatten().collect()
            }

            /// The name that `from_name` takes.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $(#[cfg($built)] Kind::$variant(_) => $name,)*
                }
            }
        }
    };
}

/// Each kernel of the list as a method of `Isa`: the single place where the choice is looked at.
macro_rules! dispatch {
    ([]
        over_lanes { $(
            $lanes_vis:vis fn $lanes:ident($($lanes_arg:ident: $lanes_ty:ty),* $(,)?)
                -> $lanes_ret:ty = $over_lanes:path;
        )* }
        generic { $(
            $(#[$doc:meta])*
            $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty = $generic:path;
        )* }
    ) => {
        impl Isa {
            $(
                #[inline]
                #[allow(clippy::too_many_arguments, reason = "sizes, what is read and written")]
                $lanes_vis fn $lanes(self, $($lanes_arg: $lanes_ty),*) -> $lanes_ret {
                    isa_list!(each [self] $lanes($($lanes_arg),*))
                }
            )*
            $(
                $(#[$doc])*
                #[inline]
                $vis fn $name(self, $($arg: $ty),*) -> $ret {
                    isa_list!(each [self] $name($($arg),*))
                }
            )*
        }
    };
}

/// The call of a kernel on the token of whichever ISA it is.
macro_rules! each {
    ([[$isa:ident] $kernel:ident $arguments:tt]
        $($variant:ident $ident:ident $name:literal $token:ty, $built:meta;)*
    ) => {
        match $isa.0 {
            $(#[cfg($built)] Kind::$variant(token) => token.$kernel $arguments,)*
        }
    };
}

/// Proof that the machine supports an instruction set: a value can only be made where it does.
#[derive(Clone, Copy, Debug)]
pub struct Isa(pub(crate) Kind);

isa_list!(define_isas);
kernel_list!(dispatch);

impl Isa {
    /// Plain Rust, the oracle.
    pub const SCALAR: Isa = Isa(Kind::Scalar(Scalar));

    /// The fastest supported here.
    pub fn detect() -> Isa {
        Self::supported().first().copied().unwrap_or(Self::SCALAR)
    }

    /// `"amx-int8"`, `"avx512vnni"`, `"avx2"`, `"neon-i8mm"`, `"neon-dotprod"`, `"neon"`,
    /// `"simd128-relaxed"`, `"simd128"` or `"scalar"`.
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

    /// The one that the environment variable `STERNA_ISA` names, or `detect()` where it is unset or
    /// empty.
    pub fn from_env() -> Result<Isa, IsaError> {
        match std::env::var("STERNA_ISA") {
            Ok(name) if !name.is_empty() => Self::from_name(&name),
            _ => Ok(Self::detect()),
        }
    }

    /// True if decoding multiplies matrices of this layout where they lie. Where not, rows are
    /// unpacked first: the same bits, some times slower.
    pub fn has_loop_for(self, layout: crate::TernaryLayout) -> bool {
        layout == crate::TernaryLayout::I2S || self.has_trits5()
    }
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

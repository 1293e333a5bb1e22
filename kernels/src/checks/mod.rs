//! Every kernel of every ISA against scalar, over several hundred seeded shapes: the crate's
//! property tests.
//!
//! Plain functions, so that the same list runs under `cargo test`, inside wasmtime and under a CPU
//! emulator (package `sterna-kernel-checks`, feature `checks`). `PROPTEST_CASES` sets the number of
//! cases of each check; a failure names its shape, and the seed is fixed, so it repeats.

#[cfg(target_arch = "x86_64")]
mod amx_model;
mod golden;

use crate::rng::Rng;
use crate::self_test::{self, Codes, Fill};
use crate::{DenseType, GroupCodes, Isa, SelfTestError};

/// One property of an ISA.
pub struct Check {
    /// Its name, in tests and output.
    pub name: &'static str,
    /// Runs the given number of cases.
    pub run: fn(Isa, usize) -> Result<(), SelfTestError>,
}

/// Hands the list of checks to the macro `$then`: each one's name and function, and what has to be
/// built for that it exists.
macro_rules! check_list {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
            ternary_shapes: ternary_shapes, all();
            ternary_wide: ternary_wide, all();
            ternary_limits: ternary_limits, all();
            amx_layout: amx_model::check, target_arch = "x86_64";
            sparse_shapes: sparse_shapes, all();
            dense_shapes: dense_shapes, all();
            grouped_shapes: grouped_shapes, all();
            group_layouts: group_layouts, all();
            other_cpu: other_cpu, target_arch = "x86_64";
            float_ops: float_ops, all();
            attention: attention, all();
            self_test: |isa, _| self_test::self_test(isa), all();
            golden: golden::golden, all();
        }
    };
}

macro_rules! define_all {
    ([] $($name:ident: $run:expr, $built:meta;)*) => {
        /// All of them.
        pub const ALL: &[Check] = &[
            $(#[cfg($built)] Check { name: stringify!($name), run: $run },)*
        ];
    };
}

check_list!(define_all);

/// `PROPTEST_CASES`, or 200.
pub fn cases() -> usize {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(200)
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len())]
}

/// The products again with the loops of another maker's CPU.
#[cfg(target_arch = "x86_64")]
fn other_cpu(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    crate::isa::x86::vendor::with_other_loops(|| {
        for check in [
            ternary_shapes,
            ternary_wide,
            ternary_limits,
            sparse_shapes,
            dense_shapes,
            grouped_shapes,
        ] {
            check(isa, cases)?;
        }
        Ok(())
    })
}

/// Odd and even shapes, one to nine tokens and now and then more, all codes.
fn ternary_shapes(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(11);
    for _ in 0..cases {
        let rows = pick(&mut rng, &[1, 2, 3, 4, 5, 7, 8, 31, 33, 70]);
        let cols = if rng.below(2) == 0 {
            1 + rng.below(1500)
        } else {
            128 * (1 + rng.below(12))
        };
        let n_tokens = if rng.below(8) == 0 {
            10 + rng.below(80)
        } else {
            1 + rng.below(9)
        };
        let fill = pick(&mut rng, &Fill::ALL);
        let codes = pick(&mut rng, &[Codes::Random, Codes::Trits]);
        self_test::ternary(isa, &mut rng, rows, cols, n_tokens, codes, fill)?;
    }
    Ok(())
}

/// Rows so wide that loops cut their columns, whole or with a rest in either layout. No two columns
/// are alike, so that a part that meets another part's activations is seen.
fn ternary_wide(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(19);
    // A group of trits5 is 192 columns, a block of I2_S 128: all of both; one more; a tail of
    // trits5 alone behind the last cut.
    let wide = [6912, 6913, 7680, 9216, 9344, 14_336, 20_480 + 77];
    for cols in wide {
        for n_tokens in [3, 4, 5, 8, 9, 21, 66] {
            let rows = pick(&mut rng, &[1, 2, 3, 5]);
            let codes = if rng.below(4) == 0 {
                Codes::Random
            } else {
                Codes::Trits
            };
            let fill = Fill::Uniform;
            self_test::ternary(isa, &mut rng, rows, cols, n_tokens, codes, fill)?;
        }
    }
    for _ in 0..cases / 20 {
        let (cols, n_tokens) = (4000 + rng.below(12_000), 4 + rng.below(8));
        let (codes, fill) = (Codes::Trits, Fill::Uniform);
        self_test::ternary(isa, &mut rng, 3, cols, n_tokens, codes, fill)?;
    }
    Ok(())
}

/// Every sum at its limit: code 3 everywhere, activations all +-127, all 127, long rows.
fn ternary_limits(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(12);
    for cols in [128, 1280, 1408, 2560, 6912, 20480] {
        for n_tokens in [1, 2, 4, 9, 33, 66] {
            self_test::ternary(
                isa,
                &mut rng,
                5,
                cols,
                n_tokens,
                Codes::AllThree,
                Fill::Limits,
            )?;
        }
    }
    for cols in [192, 320, 2560, 6912, 1 << 20] {
        let (codes, fill) = (Codes::AllTwo, Fill::Limits);
        for n_tokens in [1, 4] {
            self_test::ternary(isa, &mut rng, 5, cols, n_tokens, codes, fill)?;
        }
    }
    for _ in 0..cases / 20 {
        let cols = 128 * (1 + rng.below(100)) + rng.below(128);
        let n_tokens = 1 + rng.below(5);
        self_test::ternary(
            isa,
            &mut rng,
            3,
            cols,
            n_tokens,
            Codes::AllThree,
            Fill::Limits,
        )?;
    }
    self_test::ternary(isa, &mut rng, 1, 1 << 20, 1, Codes::AllThree, Fill::Limits)
}

/// Listed rows and matrices by columns: odd shapes, cut tiles, any share of zeros, and sums at
/// their limits.
fn sparse_shapes(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(16);
    for _ in 0..cases {
        let rows = pick(&mut rng, &[1, 2, 3, 5, 64, 255, 256, 257, 600]);
        let cols = 1 + rng.below(700);
        let (n_tokens, fill) = (1 + rng.below(5), pick(&mut rng, &Fill::ALL));
        let codes = pick(&mut rng, &[Codes::Random, Codes::Trits]);
        self_test::sparse(isa, &mut rng, rows, cols, n_tokens, codes, fill)?;
    }
    for cols in [160, 6912, 20480, 1 << 17] {
        self_test::sparse(isa, &mut rng, 2, cols, 1, Codes::AllThree, Fill::Limits)?;
    }
    Ok(())
}

/// All storage types; float types with odd widths.
fn dense_shapes(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(13);
    for case in 0..cases {
        let ty = [
            DenseType::F32,
            DenseType::F16,
            DenseType::Bf16,
            DenseType::Q8_0,
            DenseType::Q6K,
        ][case % 5];
        let cols = match ty {
            DenseType::Q8_0 => 32 * (1 + rng.below(20)),
            DenseType::Q6K => 256 * (1 + rng.below(5)),
            _ => 1 + rng.below(300),
        };
        let (rows, n_tokens, fill) = (
            1 + rng.below(9),
            1 + rng.below(9),
            pick(&mut rng, &Fill::ALL),
        );
        self_test::dense(isa, &mut rng, ty, rows, cols, n_tokens, fill)?;
    }
    Ok(())
}

/// All kinds of codes, all sizes of groups, rows that do not fill a tile, one to seventeen tokens
/// and now and then more; every block's sum at its limit; more rows than a panel has.
fn grouped_shapes(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(17);
    for case in 0..cases {
        let codes = GroupCodes::ALL[case % 3];
        let group = pick(&mut rng, &[64, 128, 256]);
        let rows = pick(&mut rng, &[1, 7, 15, 16, 17, 33, 64, 70]);
        let shape = (rows, group * (1 + rng.below(5)), group);
        let most_tokens = if rng.below(4) == 0 { 60 } else { 17 };
        let (n_tokens, fill) = (1 + rng.below(most_tokens), pick(&mut rng, &Fill::ALL));
        self_test::grouped(isa, &mut rng, codes, shape, n_tokens, fill)?;
    }
    for codes in GroupCodes::ALL {
        for n_tokens in [1, 2, 3, 4, 8, 17, 37] {
            let shape = (18, 128, 64);
            self_test::grouped(isa, &mut rng, codes, shape, n_tokens, Fill::Limits)?;
        }
        for n_tokens in [1, 9, 21] {
            let shape = (600, 2560, 128);
            self_test::grouped(isa, &mut rng, codes, shape, n_tokens, Fill::Uniform)?;
        }
    }
    Ok(())
}

/// The same ternary weights in two bits and in trits8: the same bits.
fn group_layouts(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(18);
    for _ in 0..cases.div_ceil(4) {
        let group = pick(&mut rng, &[64, 128, 256]);
        let rows = pick(&mut rng, &[1, 15, 16, 17, 40]);
        let shape = (rows, group * (1 + rng.below(4)), group);
        let n_tokens = 1 + rng.below(30);
        self_test::group_layouts(isa, &mut rng, shape, n_tokens)?;
    }
    Ok(())
}

/// Norm, RoPE, softmax, gates; lengths that are no multiple of 16.
fn float_ops(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(14);
    for _ in 0..cases {
        let (n, fill) = (1 + rng.below(200), pick(&mut rng, &Fill::ALL));
        self_test::floats(isa, &mut rng, n, fill)?;
    }
    self_test::floats(isa, &mut rng, 6912, Fill::Mixed)
}

/// Head sizes with tails, any number of positions.
fn attention(isa: Isa, cases: usize) -> Result<(), SelfTestError> {
    let mut rng = Rng::new(15);
    for _ in 0..cases {
        let head_dim = pick(
            &mut rng,
            &[1, 8, 16, 20, 32, 64, 72, 80, 100, 128, 130, 256],
        );
        let (n, fill) = (1 + rng.below(40), pick(&mut rng, &Fill::ALL));
        self_test::attention(isa, &mut rng, head_dim, n, fill)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ALL, cases};
    use crate::dispatch::isa_list;
    use crate::{Isa, IsaError};

    fn run(isa: &str, name: &str) {
        match Isa::from_name(isa) {
            Ok(isa) => {
                let check = ALL.iter().find(|check| check.name == name).unwrap();
                if let Err(error) = (check.run)(isa, cases()) {
                    panic!("{error}");
                }
            }
            Err(IsaError::Unsupported { .. }) => {
                println!("{isa}: not on this machine, not tested here");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A module of tests for each ISA, with a test for each check.
    macro_rules! isa_tests {
        ([] $($variant:ident $ident:ident $name:literal $token:ty, $built:meta;)*) => {
            $(mod $ident {
                check_list!(check_tests $name);
            })*
        };
    }

    macro_rules! check_tests {
        ([$isa:literal] $($name:ident: $run:expr, $built:meta;)*) => {
            $(
                #[cfg($built)]
                #[test]
                fn $name() {
                    super::run($isa, stringify!($name));
                }
            )*
        };
    }

    isa_list!(isa_tests);
}

//! Upper limits of the machine: a pure read and a pure multiply-add loop for each instruction
//! set.
//!
//! A benchmark runs them beside the kernels, so that a figure can be said as a share of the limit.
//! They do no work of a model; their results are only there so that they can be tested and are not
//! optimised away.

use super::kernels::Kernels;

/// The result of a run of the multiply-add loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakRun {
    /// int8 multiply-adds that were computed.
    pub multiply_adds: u64,
    /// The wrapping sum of one accumulator's lanes: `turns` times a constant of the instruction
    /// set.
    pub checksum: i64,
}

/// Plain reading, for ISAs that have no loop of their own.
pub(crate) fn read_through<K: Kernels>(_: K, bytes: &[u8]) -> u64 {
    words(bytes)
}

/// The exclusive or that [`crate::Isa::read_through`] promises.
pub(crate) fn words(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    words.iter().fold(u64::from_le_bytes(last), |all, word| {
        all ^ u64::from_le_bytes(*word)
    })
}

/// Plain multiplication, likewise.
pub(crate) fn multiply_add_peak<K: Kernels>(_: K, turns: u32) -> PeakRun {
    const N: usize = 256;
    let (w, x) = ([1i8; N], [1i8; N]);
    let mut sum = 0i32;
    for _ in 0..turns {
        // The same numbers each turn, which the compiler must not know.
        let (w, x) = (std::hint::black_box(&w), std::hint::black_box(&x));
        let products = w.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x));
        sum = sum.wrapping_add(products.sum::<i32>());
    }
    PeakRun {
        multiply_adds: u64::from(turns) * N as u64,
        checksum: i64::from(sum),
    }
}

#[cfg(test)]
mod tests {
    use super::words;
    use crate::Isa;
    use crate::rng::Rng;

    #[test]
    fn every_byte_is_read_once() {
        let mut rng = Rng::new(5);
        let bytes: Vec<u8> = (0..5000).map(|_| rng.below(256) as u8).collect();
        for isa in Isa::supported() {
            for (start, end) in [
                (0, 0),
                (0, 5000),
                (3, 4000),
                (1, 513),
                (7, 519),
                (0, 512),
                (9, 9),
            ] {
                let part = &bytes[start..end];
                assert_eq!(isa.read_through(part), words(part), "{}", isa.name());
            }
        }
        assert_eq!(words(&[1, 0, 0, 0, 0, 0, 0, 0, 3]), 2);
    }

    #[test]
    fn the_peak_loop_computes_what_it_counts() {
        for isa in Isa::supported() {
            let run = isa.multiply_add_peak(1000);
            // All operands are 1: a lane sums the products it takes a turn, and the lanes of one
            // accumulator all of them.
            let (lanes, chains) = match isa.name() {
                "avx2" => (32, 12),
                "avx512vnni" => (64, 12),
                "amx-int8" => (16 * 16 * 64, 4),
                name if name.starts_with("neon") => (64, 6),
                _ => (256, 1),
            };
            assert_eq!(run.checksum, 1000 * lanes, "{}", isa.name());
            assert_eq!(run.multiply_adds, (1000 * lanes * chains) as u64);
            assert_eq!(isa.multiply_add_peak(0).multiply_adds, 0);
        }
    }
}

//! The results of a benchmark, as printed in JSON.

use serde::{Deserialize, Serialize};

/// The middle and the ends of repeated measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are what they say")]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure; of none, zeros.
    #[must_use]
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let (middle, last) = (figures.len() / 2, figures.len().saturating_sub(1));
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Spread {
            median,
            min: at(0),
            max: at(last),
        }
    }
}

/// The machine's peak, with the same threads, in the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Threads that read and multiplied.
    pub threads: usize,
    /// The instruction set of the loops.
    pub isa: String,
    /// Bytes read a second from memory in 4 KiB pages, in 1e9.
    pub read_gb_per_s_4k: Spread,
    /// The same in 2 MiB pages; absent where the system grants none.
    pub read_gb_per_s_2m: Option<Spread>,
    /// int8 multiply-adds a second, in 1e9.
    pub int8_gmac_per_s: Spread,
}

impl Machine {
    /// The bandwidth that shares are of: in 2 MiB pages where granted, else in 4 KiB pages. In 1e9
    /// bytes a second.
    #[must_use]
    pub fn read_gb_per_s(&self) -> f64 {
        self.read_gb_per_s_2m
            .unwrap_or(self.read_gb_per_s_4k)
            .median
    }

    /// The pages of `read_gb_per_s`.
    #[must_use]
    pub fn read_pages(&self) -> &'static str {
        if self.read_gb_per_s_2m.is_some() {
            "2 MiB"
        } else {
            "4 KiB"
        }
    }
}

/// Taking in a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prefill {
    /// Prompt tokens a second, the median.
    pub tokens_per_s: f64,
    /// The slowest repetition.
    pub tokens_per_s_min: f64,
    /// The fastest repetition.
    pub tokens_per_s_max: f64,
    /// Multiply-adds of the ternary layers for one token. Attention and the head (once a prompt)
    /// are not counted.
    pub multiply_adds_per_token: u64,
    /// Multiply-adds a second at the median, in 1e9.
    pub gmac_per_s: f64,
    /// `gmac_per_s` as a part of the machine's int8 peak, where that was measured.
    pub share_of_int8_peak: Option<f64>,
}

/// Generating, one token of every sequence a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decode {
    /// Generated tokens a second, all sequences together, the median.
    pub tokens_per_s: f64,
    /// The slowest repetition.
    pub tokens_per_s_min: f64,
    /// The fastest repetition.
    pub tokens_per_s_max: f64,
    /// Bytes of weights that one step reads, as they are stored: the layers and the head, without
    /// what zeros let it leave out.
    pub bytes_per_token: u64,
    /// Bytes that a step left out because they would have met zeros, on average.
    pub skipped_bytes_per_token: u64,
    /// The bytes that the steps read a second at the median, in 1e9.
    pub gb_per_s: f64,
    /// `gb_per_s` as a part of the machine's read bandwidth, where that was measured.
    pub share_of_read_bandwidth: Option<f64>,
    /// Multiply-adds a second at the median, in 1e9: layers and head of every sequence.
    pub gmac_per_s: f64,
    /// Tokens a second of one sequence alone in the same run, where several were measured.
    pub one_sequence_tokens_per_s: Option<f64>,
    /// `tokens_per_s` over that.
    pub times_one_sequence: Option<f64>,
}

/// Completions of one text with and without drafts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drafting {
    /// `repeating` or `varied`.
    pub text: String,
    /// Tokens generated with drafting on, the repetition that warms up included.
    pub generated: u64,
    /// Drafted tokens that were verified for them.
    pub drafted: u64,
    /// Those that were right.
    pub accepted: u64,
    /// Tokens a second without drafts.
    pub tokens_per_s_without: Spread,
    /// Tokens a second with them.
    pub tokens_per_s: Spread,
    /// The one median over the other.
    pub times: f64,
}

/// The subject of a measurement and its machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// The model's id.
    pub model: String,
    /// Weights, embeddings included.
    pub parameters: u64,
    /// The storage type of the output head.
    pub head: String,
    /// The layout of the layers' matrices: `i2_s`, `trits5`, or both.
    pub layout: String,
    /// The instruction set.
    pub isa: String,
    /// Threads that computed.
    pub threads: usize,
    /// Prompt tokens.
    pub prompt: usize,
    /// Positions that were cached before them.
    pub depth: usize,
    /// Generated tokens.
    pub generate: usize,
    /// Sequences that generated at the same time.
    pub batch: usize,
    /// Repetitions.
    pub reps: usize,
    /// Optimisations that were switched off.
    pub without: Vec<String>,
    /// Bytes of weights in 2 MiB pages, and of all weights; absent where pages cannot be chosen.
    pub huge_pages: Option<[u64; 2]>,
    /// Taking in the prompt.
    pub prefill: Prefill,
    /// Generating; absent where nothing was to be generated.
    pub decode: Option<Decode>,
    /// Completions with and without drafts; empty unless asked for.
    pub speculation: Vec<Drafting>,
    /// The machine's limits; absent where they cannot be measured (in wasm, by the module itself).
    pub machine: Option<Machine>,
}

impl BenchReport {
    /// Say every figure as a share of these limits.
    pub fn set_limits(&mut self, machine: Machine) {
        self.prefill.share_of_int8_peak =
            Some(self.prefill.gmac_per_s / machine.int8_gmac_per_s.median);
        if let Some(decode) = &mut self.decode {
            decode.share_of_read_bandwidth = Some(decode.gb_per_s / machine.read_gb_per_s());
        }
        self.machine = Some(machine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_extremes() {
        let spread = |median, min, max| Spread { median, min, max };
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of(vec![5.0]), spread(5.0, 5.0, 5.0));
    }

    #[test]
    fn shares_are_of_2_mib_pages_where_granted() {
        let spread = |median| Spread::of(vec![median]);
        let mut machine = Machine {
            threads: 1,
            isa: "avx2".into(),
            read_gb_per_s_4k: spread(10.0),
            read_gb_per_s_2m: None,
            int8_gmac_per_s: spread(200.0),
        };
        assert_eq!(
            (machine.read_gb_per_s(), machine.read_pages()),
            (10.0, "4 KiB")
        );
        machine.read_gb_per_s_2m = Some(spread(16.0));
        assert_eq!(
            (machine.read_gb_per_s(), machine.read_pages()),
            (16.0, "2 MiB")
        );
    }
}

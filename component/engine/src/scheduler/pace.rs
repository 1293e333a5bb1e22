//! The number of prompt tokens that a step may take in beside running streams, by what steps take.
//!
//! Each stream waits for the whole step, so prompt tokens are bounded by time where streams run:
//! by a limit that was set, or else by a part of what a step of these streams alone takes. Both
//! parts of a step are measured as it goes: the streams alone, for each number of them, and what a
//! prompt token adds. Time decides how fast a prompt is taken in, never what is generated.

use crate::options::MaxStep;

/// The part of a step without prompts that prompt tokens may add to it: with it a stream waits less
/// than twice as long, even where a measurement is off by some percent.
const ADDED: f64 = 0.85;
/// Prompt tokens of a step at least, so that a prompt is taken in wherever the bound lies.
const LEAST: usize = 4;
/// Steps with prompt tokens after which one without measures the streams alone again.
const REMEASURE: u32 = 64;
/// Weight of the newest measurement.
const NEWEST: f64 = 0.25;
/// A token that seems to take so many times longer was held up by something else.
const OUTLIER: f64 = 4.0;
/// A step of streams alone counts as so many times slower than the ones before at most: a hiccup
/// must not let prompts add as much, and where steps have become slower a few show it.
const SLOWER: f64 = 1.25;
/// The loss of a chunk that is bounded against a full one, before any was measured.
const SMALL_CHUNK: f64 = 1.5;

/// Measured times of steps.
#[derive(Debug)]
pub(super) struct Pace {
    max_step: MaxStep,
    /// Seconds of a step of so many streams and nothing else.
    streams_alone: Vec<Option<f64>>,
    /// Seconds of a prompt token beside streams, and without.
    beside: Option<f64>,
    alone: Option<f64>,
    /// Steps with both since one had streams alone.
    mixed: u32,
}

impl Pace {
    pub(super) fn new(max_step: MaxStep, max_sequences: usize) -> Self {
        Pace {
            max_step,
            streams_alone: vec![None; max_sequences + 1],
            beside: None,
            alone: None,
            mixed: 0,
        }
    }

    /// A step of `streams` tokens of running streams and `prompt` prompt tokens took so long.
    pub(super) fn measured(&mut self, streams: usize, prompt: usize, seconds: f64) {
        if prompt == 0 {
            self.mixed = 0;
            if let Some(known) = self.streams_alone.get_mut(streams) {
                let most = known.map_or(f64::INFINITY, |known| known * SLOWER);
                smooth(known, seconds.min(most));
            }
        } else if streams == 0 {
            smooth(&mut self.alone, seconds / prompt as f64);
        } else if let Some(without) = self.streams_alone.get(streams).copied().flatten() {
            self.mixed += 1;
            let added = (seconds - without).max(seconds * 0.01) / prompt as f64;
            let most = self.beside.map_or(f64::INFINITY, |known| known * OUTLIER);
            smooth(&mut self.beside, added.min(most));
        }
    }

    /// The prompt tokens of a step beside `streams` running streams, `most` at most. None where the
    /// streams alone are to be measured: they have a step of their own then.
    pub(super) fn chunk(&self, streams: usize, most: usize) -> usize {
        if streams == 0 || self.max_step == MaxStep::Off {
            return most;
        }
        let Some(without) = self.streams_alone.get(streams).copied().flatten() else {
            return 0;
        };
        if self.mixed >= REMEASURE {
            return 0;
        }
        let left = match self.max_step {
            MaxStep::Limit(limit) => limit.as_secs_f64() - without,
            MaxStep::Auto | MaxStep::Off => without * ADDED,
        };
        let Some(token) = self.beside.or(self.alone.map(|token| token * SMALL_CHUNK)) else {
            return LEAST.min(most);
        };
        // Finite and positive; a negative quotient becomes 0.
        ((left / token.max(1e-9)) as usize).max(LEAST).min(most)
    }
}

fn smooth(known: &mut Option<f64>, newest: f64) {
    *known = Some(known.map_or(newest, |known| known + (newest - known) * NEWEST));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A machine where a step takes 10 ms, a millisecond for each stream, and two for each prompt
    /// token.
    fn seconds(streams: usize, prompt: usize) -> f64 {
        0.010 + 0.001 * streams as f64 + 0.002 * prompt as f64
    }

    /// The chunks of the first steps beside `streams` streams, and the longest of them.
    fn run(pace: &mut Pace, streams: usize, steps: usize) -> Vec<usize> {
        let mut chunks = Vec::new();
        for _ in 0..steps {
            let chunk = pace.chunk(streams, 64);
            pace.measured(streams, chunk, seconds(streams, chunk));
            chunks.push(chunk);
        }
        chunks
    }

    #[test]
    fn streams_wait_less_than_twice_as_long() {
        let mut pace = Pace::new(MaxStep::Auto, 8);
        let chunks = run(&mut pace, 4, 40);
        // One to see what the streams take, one to see what a prompt token adds.
        assert_eq!(chunks[..2], [0, LEAST]);
        assert_eq!(chunks[3], 5);
        for chunk in &chunks {
            assert!(seconds(4, *chunk) < 2.0 * seconds(4, 0), "{chunks:?}");
        }
        // More streams take longer, so that more may be added.
        assert!(run(&mut pace, 8, 10)[9] > chunks[39]);
    }

    #[test]
    fn a_limit_is_kept_as_far_as_prompts_can_go_on() {
        let limit = Duration::from_millis(100);
        let mut pace = Pace::new(MaxStep::Limit(limit), 8);
        pace.measured(0, 64, seconds(0, 64));
        let chunks = run(&mut pace, 4, 40);
        assert!(chunks[39] >= 40, "{chunks:?}");
        for chunk in chunks {
            assert!(seconds(4, chunk) <= 0.1001);
        }
        let mut tight = Pace::new(MaxStep::Limit(Duration::from_millis(1)), 8);
        assert_eq!(run(&mut tight, 4, 10)[9], LEAST);
    }

    #[test]
    fn without_streams_or_a_bound_a_chunk_is_full() {
        assert_eq!(Pace::new(MaxStep::Auto, 8).chunk(0, 64), 64);
        assert_eq!(Pace::new(MaxStep::Off, 8).chunk(8, 64), 64);
        assert_eq!(Pace::new(MaxStep::Auto, 8).chunk(9, 64), 0);
    }

    #[test]
    fn a_hiccup_of_streams_alone_lets_prompts_add_no_more() {
        let mut pace = Pace::new(MaxStep::Auto, 8);
        run(&mut pace, 2, 70);
        pace.measured(2, 0, 1.0);
        for chunk in run(&mut pace, 2, 130) {
            assert!(seconds(2, chunk) < 2.0 * seconds(2, 0), "{chunk}");
        }
    }

    #[test]
    fn one_slow_step_halves_a_chunk_at_most() {
        let limit = Duration::from_millis(100);
        let mut pace = Pace::new(MaxStep::Limit(limit), 8);
        run(&mut pace, 4, 40);
        let before = pace.chunk(4, 64);
        assert!(before >= 40);
        // A hundred times as long, whatever it was that held it up.
        pace.measured(4, before, 100.0 * seconds(4, before));
        let after = pace.chunk(4, 64);
        assert!((before / 2..before).contains(&after), "{before}, {after}");
    }

    #[test]
    fn what_streams_take_is_measured_again_and_a_hiccup_is_forgotten() {
        let mut pace = Pace::new(MaxStep::Auto, 8);
        let chunks = run(&mut pace, 2, 140);
        assert_eq!(chunks.iter().filter(|&&chunk| chunk == 0).count(), 3);
        let before = pace.chunk(2, 64);
        pace.measured(2, 4, 10.0);
        assert!((LEAST..=before).contains(&pace.chunk(2, 64)));
        run(&mut pace, 2, 40);
        assert_eq!(pace.chunk(2, 64), before);
    }
}

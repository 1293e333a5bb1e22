//! The time limit of an engine's step: beyond it a step counts as endless. It is far more than any
//! step of a working engine takes, on the slowest machines too, and grows with the context, since
//! attention does.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;

/// The limit for short contexts.
const LEAST: Duration = Duration::from_secs(120);
/// Positions of a context for which the limit is that, and for each further which as much more.
const POSITIONS: u32 = 8192;
/// The largest factor by which it grows.
const MOST: u32 = 16;

/// The option, shared by the commands that generate.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct StepLimit {
    /// Seconds one step of the engine may take; then a baked engine is ended and started anew, and
    /// /livez says that the engine is stuck [default: 120, and as much again for each further 8192
    /// positions of the context]
    #[arg(long = "step-timeout", env = "STERNA_STEP_TIMEOUT", value_name = "S",
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=86_400))]
    seconds: Option<u32>,
}

impl StepLimit {
    /// As the option would say.
    #[must_use]
    pub fn of_seconds(seconds: u32) -> Self {
        StepLimit {
            seconds: Some(seconds),
        }
    }

    /// For a step of an engine whose sequences have so many positions at most.
    #[must_use]
    pub fn step(self, context_length: u32) -> Duration {
        match self.seconds {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None => LEAST * context_length.div_ceil(POSITIONS).clamp(1, MOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_grows_with_the_context_and_an_option_does_not() {
        let seconds = |limit: StepLimit, context| limit.step(context).as_secs();
        let default = StepLimit::default();
        let expected = [(1, 120), (8192, 120), (8193, 240), (32768, 480)];
        for (context, limit) in expected {
            assert_eq!(seconds(default, context), limit);
        }
        assert_eq!(seconds(default, u32::MAX), 16 * 120);
        assert_eq!(seconds(StepLimit::of_seconds(5), u32::MAX), 5);
    }
}

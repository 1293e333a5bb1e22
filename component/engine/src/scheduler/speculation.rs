//! The number of drafted tokens a step takes in: as many as are expected to pay.
//!
//! A batch gives each token the bits it gets alone, so a drafted token is right exactly when it is
//! the one that is sampled from the logits before it; a wrong one costs its share of the step, and
//! its keys and values are overwritten. The gain of drafts depends on how often they are right in
//! this sequence, and on what one more token costs on this machine with this model: reading the
//! weights again costs nothing, computing does. Both are watched. Time decides how much is drafted,
//! never what is generated.

/// Drafted tokens of one sequence a step at most.
pub(super) const MAX_DRAFT: usize = 15;
/// Widths of a step that are told apart; wider ones never gain.
const MAX_WIDTH: usize = 64;
/// The assumed cost of one more token before any was measured, as a part of a step.
const FIRST_GUESS: f64 = 0.2;
/// Weight of the newest measurement.
const NEWEST: f64 = 0.25;
/// Steps without a draft although one was there, after which one is tried to see what it costs now.
const RETRY_STEPS: u32 = 256;

/// The acceptance rate of a sequence's drafts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust(f64);

impl Trust {
    /// Before any draft.
    pub(super) fn new() -> Self {
        Trust(0.5)
    }

    /// A drafted token was right, or not: one that was taken in, or one that was only noted.
    pub(super) fn update(&mut self, right: bool) {
        self.0 += (f64::from(u8::from(right)) - self.0) * NEWEST;
    }
}

/// Seconds of a step by the number of its tokens, smoothed.
#[derive(Debug)]
pub(super) struct Costs {
    seconds: [Option<f64>; MAX_WIDTH + 1],
    /// Steps since a draft was last taken in while there was one.
    declined: u32,
}

impl Costs {
    pub(super) fn new() -> Self {
        Costs {
            seconds: [None; MAX_WIDTH + 1],
            declined: 0,
        }
    }

    /// A step of `width` tokens, each with its logits, took so long.
    pub(super) fn measured(&mut self, width: usize, seconds: f64) {
        if let Some(known) = self.seconds.get_mut(width) {
            *known = Some(known.map_or(seconds, |known| known + (seconds - known) * NEWEST));
        }
    }

    /// The number of tokens of each draft (its length, and how far it is trusted) that a step takes
    /// in, `budget` in all. Without drafts it has `width` tokens.
    pub(super) fn choose(
        &mut self,
        width: usize,
        drafts: &[(usize, Trust)],
        budget: usize,
    ) -> Vec<usize> {
        let mut taken = vec![0; drafts.len()];
        let mut best = taken.clone();
        let mut expected = width as f64;
        let mut best_rate = expected / self.cost(width, width);
        // The likeliest token of all drafts first; each is only worth something if those before it
        // are right.
        let mut chances: Vec<f64> = drafts.iter().map(|(_, trust)| trust.0).collect();
        for added in 1..=budget.min((MAX_WIDTH).saturating_sub(width)) {
            let open = (0..drafts.len()).filter(|&i| taken[i] < drafts[i].0);
            let Some(next) = open.max_by(|&a, &b| chances[a].total_cmp(&chances[b])) else {
                break;
            };
            taken[next] += 1;
            expected += chances[next];
            chances[next] *= drafts[next].1.0;
            let rate = expected / self.cost(width, width + added);
            if rate > best_rate {
                (best_rate, best) = (rate, taken.clone());
            }
        }
        if best.iter().any(|taken| *taken > 0) {
            self.declined = 0;
        } else if drafts.iter().any(|(length, _)| *length > 0) {
            self.declined += 1;
            if self.declined == RETRY_STEPS {
                self.declined = 0;
                // What was measured of drafts is old: learn it anew from the guess on.
                self.seconds[width.min(MAX_WIDTH) + 1..].fill(None);
            }
        }
        best
    }

    /// Seconds of a step of `wanted` tokens, in units where nothing is known; `width` is the step
    /// without drafts. Between two measured widths it is on their line, beyond the last it goes on
    /// as from the first to there.
    fn cost(&self, width: usize, wanted: usize) -> f64 {
        let base = self.seconds[width.min(MAX_WIDTH)].unwrap_or(1.0);
        let known = |width: usize| Some((width, self.seconds[width]?));
        let below = (width + 1..=wanted).rev().find_map(known);
        let above = (wanted..=MAX_WIDTH)
            .find_map(known)
            .filter(|_| wanted > width);
        let (from, from_s) = below.unwrap_or((width, base));
        let slope = match (above, below) {
            _ if wanted == from => 0.0,
            (Some((to, to_s)), _) => (to_s - from_s) / (to - from) as f64,
            (None, Some((to, to_s))) => (to_s - base) / (to - width) as f64,
            (None, None) => base * FIRST_GUESS,
        };
        // A lucky measurement must not make more tokens cheaper than fewer.
        (from_s + slope.max(0.0) * (wanted - from) as f64).max(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(chance: f64) -> Trust {
        Trust(chance)
    }

    #[test]
    fn costs_are_on_lines_through_what_was_measured() {
        let mut costs = Costs::new();
        assert_eq!(costs.cost(1, 1), 1.0);
        assert_eq!(costs.cost(1, 6), 1.0 + 5.0 * FIRST_GUESS);
        costs.measured(1, 10.0);
        costs.measured(5, 14.0);
        assert_eq!(costs.cost(1, 1), 10.0);
        assert_eq!(costs.cost(1, 3), 12.0);
        assert_eq!(costs.cost(1, 5), 14.0);
        assert_eq!(costs.cost(1, 9), 18.0);
        costs.measured(5, 18.0);
        assert_eq!(costs.cost(1, 5), 15.0);
        // A step cannot be cheaper for having more tokens.
        costs.measured(8, 1.0);
        assert_eq!(costs.cost(1, 8), 10.0);
        costs.measured(MAX_WIDTH + 1, 1.0);
    }

    #[test]
    fn drafts_that_pay_are_taken_and_others_are_not() {
        let mut costs = Costs::new();
        costs.measured(1, 10.0);
        costs.measured(2, 11.0);
        // A tenth of a step for a token that is right nine times of ten.
        assert_eq!(costs.choose(1, &[(8, trust(0.9))], 64), [8]);
        assert_eq!(costs.choose(1, &[(8, trust(0.9))], 3), [3]);
        // Later tokens are less likely: at some point one more does not pay.
        let some = costs.choose(1, &[(15, trust(0.5))], 64)[0];
        assert!((1..15).contains(&some), "{some}");
        assert_eq!(costs.choose(1, &[(8, trust(0.05))], 64), [0]);
        assert_eq!(costs.choose(1, &[(0, trust(0.9))], 64), [0]);
        // Where computing is what takes the time, nothing pays.
        costs.measured(2, 100.0);
        assert_eq!(costs.choose(1, &[(8, trust(0.9))], 64), [0]);
    }

    #[test]
    fn the_likelier_sequence_is_drafted_first() {
        let mut costs = Costs::new();
        costs.measured(2, 10.0);
        costs.measured(3, 10.5);
        let taken = costs.choose(2, &[(8, trust(0.1)), (8, trust(0.95))], 4);
        assert_eq!(taken, [0, 4]);
        assert!(costs.choose(64, &[(8, trust(1.0))], 64) == [0]);
    }

    #[test]
    fn what_was_too_dear_is_tried_again() {
        let mut costs = Costs::new();
        costs.measured(1, 10.0);
        costs.measured(2, 100.0);
        let tried = (0..=RETRY_STEPS).find(|_| costs.choose(1, &[(8, trust(0.9))], 64) != [0]);
        assert_eq!(tried, Some(RETRY_STEPS));
    }

    #[test]
    fn trust_follows_what_happens() {
        let mut trust = Trust::new();
        (0..20).for_each(|_| trust.update(true));
        assert!(trust.0 > 0.95);
        (0..20).for_each(|_| trust.update(false));
        assert!(trust.0 < 0.05);
    }
}

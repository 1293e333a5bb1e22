//! Which tokens end a completion, and which may not be chosen, as vLLM's `stop_token_ids`,
//! `min_tokens` and `ignore_eos` have it.

/// The tokens that end a completion, besides its length and its stop texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The model's own ends.
    eos: Vec<u32>,
    /// The request's.
    stop: Vec<u32>,
    /// Both: never chosen before the completion has `min_new` tokens.
    all: Vec<u32>,
    /// Never chosen at all.
    never: Vec<u32>,
    /// The stop text or token that the request named is part of the completion.
    pub include_stop: bool,
    /// Tokens to generate before any end is looked for.
    pub min_new: usize,
}

/// The way a token ends a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Without a text of its own.
    Silent,
    /// With its text.
    Shown,
}

impl Ending {
    /// A completion that ends at the model's end-of-sequence tokens `eos`, unless they are ignored,
    /// and at those the request names.
    #[must_use]
    pub fn new(eos: &[u32], stop: Vec<u32>, ignore_eos: bool) -> Self {
        let own = eos.iter().copied().filter(|id| !stop.contains(id));
        let (never, eos) = if ignore_eos {
            (own.collect(), Vec::new())
        } else {
            (Vec::new(), own.collect())
        };
        Ending {
            all: [eos.as_slice(), &stop, &never].concat(),
            eos,
            stop,
            never,
            include_stop: false,
            min_new: 0,
        }
    }

    /// The tokens that end it.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        // Those that are never chosen come last.
        &self.all[..self.eos.len() + self.stop.len()]
    }

    /// The tokens that may not follow `generated` others.
    #[must_use]
    pub fn banned(&self, generated: usize) -> &[u32] {
        if generated < self.min_new {
            &self.all
        } else {
            &self.never
        }
    }

    /// The way this token ends the completion, if it does.
    #[must_use]
    pub fn of(&self, token: u32) -> Option<End> {
        if self.stop.contains(&token) {
            Some(if self.include_stop {
                End::Shown
            } else {
                End::Silent
            })
        } else {
            self.eos.contains(&token).then_some(End::Silent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_model_and_request() {
        let ending = Ending::new(&[1, 2], vec![2, 7], false);
        assert_eq!(ending.of(1), Some(End::Silent));
        assert_eq!(ending.of(7), Some(End::Silent));
        assert_eq!(ending.of(3), None);
        assert_eq!(ending.ends(), [1, 2, 7]);
        assert!(ending.banned(0).is_empty());
        let shown = Ending {
            include_stop: true,
            ..ending
        };
        assert_eq!(
            [1, 2, 7].map(|token| shown.of(token)),
            [Some(End::Silent), Some(End::Shown), Some(End::Shown)]
        );
    }

    #[test]
    fn before_the_fewest_tokens_no_end_is_chosen() {
        let ending = Ending {
            min_new: 3,
            ..Ending::new(&[1], vec![7], false)
        };
        assert_eq!(ending.banned(2), [1, 7]);
        assert!(ending.banned(3).is_empty());
    }

    #[test]
    fn an_ignored_end_is_never_chosen_unless_it_is_asked_for() {
        let ending = Ending::new(&[1, 2], vec![2], true);
        assert_eq!(ending.banned(100), [1]);
        assert_eq!(ending.ends(), [2]);
        assert_eq!((ending.of(1), ending.of(2)), (None, Some(End::Silent)));
        assert!(Ending::new(&[1], vec![1], true).banned(0).is_empty());
    }
}

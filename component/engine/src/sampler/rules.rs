//! What a request says of single tokens: biases, the only tokens that may be chosen, and texts that
//! may not be generated.

/// Checked values of a request's `logit-bias`, `allowed-tokens` and `bad-words`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRules {
    /// Finite, or minus infinity.
    pub bias: Vec<(u32, f32)>,
    /// In ascending order.
    pub allowed: Option<Vec<u32>>,
    /// Sequences that are not generated, none empty.
    pub bad: Vec<Vec<u32>>,
}

impl TokenRules {
    /// Change the logits, `[vocab_size]`, of the token behind `generated`. What is banned gets the
    /// least logit there is, so that something can be chosen whatever is banned.
    pub fn apply(&self, logits: &mut [f32], generated: &[u32]) {
        for &(token, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = (*logit + bias).max(f32::MIN);
            }
        }
        let mut ban = |token: u32| {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::MIN;
            }
        };
        for sequence in &self.bad {
            if let Some((&last, before)) = sequence.split_last()
                && generated.ends_with(before)
            {
                ban(last);
            }
        }
        if let Some(allowed) = &self.allowed {
            let mut from = 0;
            for &token in allowed {
                let end = (token as usize).min(logits.len());
                logits[from.min(end)..end].fill(f32::MIN);
                from = end + 1;
            }
            let rest = from.min(logits.len());
            logits[rest..].fill(f32::MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: f32 = f32::MIN;

    fn applied(rules: &TokenRules, generated: &[u32]) -> [f32; 5] {
        let mut logits = [0.0, 1.0, 2.0, 3.0, 4.0];
        rules.apply(&mut logits, generated);
        logits
    }

    #[test]
    fn biases_are_added_and_minus_infinity_bans() {
        let rules = TokenRules {
            bias: vec![(1, 10.5), (3, f32::NEG_INFINITY), (4, -100.0), (9, 1.0)],
            ..TokenRules::default()
        };
        assert_eq!(applied(&rules, &[]), [0.0, 11.5, 2.0, OUT, -96.0]);
        assert_eq!(
            applied(&TokenRules::default(), &[]),
            [0.0, 1.0, 2.0, 3.0, 4.0]
        );
    }

    #[test]
    fn only_what_is_allowed_is_left() {
        let only = |ids: &[u32]| TokenRules {
            allowed: Some(ids.to_vec()),
            ..TokenRules::default()
        };
        assert_eq!(applied(&only(&[1, 3]), &[]), [OUT, 1.0, OUT, 3.0, OUT]);
        assert_eq!(applied(&only(&[0, 4]), &[]), [0.0, OUT, OUT, OUT, 4.0]);
        assert_eq!(applied(&only(&[2, 2]), &[]), [OUT, OUT, 2.0, OUT, OUT]);
        assert_eq!(applied(&only(&[2, 7]), &[]), [OUT, OUT, 2.0, OUT, OUT]);
    }

    #[test]
    fn a_sequence_is_banned_where_it_would_be_completed() {
        let rules = TokenRules {
            bad: vec![vec![2], vec![3, 4], vec![0, 1, 1]],
            ..TokenRules::default()
        };
        assert_eq!(applied(&rules, &[]), [0.0, 1.0, OUT, 3.0, 4.0]);
        assert_eq!(applied(&rules, &[3]), [0.0, 1.0, OUT, 3.0, OUT]);
        assert_eq!(applied(&rules, &[0, 1]), [0.0, OUT, OUT, 3.0, 4.0]);
        assert_eq!(applied(&rules, &[1]), [0.0, 1.0, OUT, 3.0, 4.0]);
    }
}

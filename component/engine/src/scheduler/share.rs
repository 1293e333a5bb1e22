//! Fair shares of a step's prefill budget.

/// Turn each `waiting[i]` (tokens wanted) into what it gets: equal shares of `budget`, what one
/// does not want going to the others. Odd tokens go round from place `first` on.
pub(super) fn share(budget: usize, first: usize, waiting: &mut [usize]) {
    let wanted = waiting.to_vec();
    waiting.fill(0);
    let mut left = budget.min(wanted.iter().sum());
    while left > 0 {
        let open = wanted
            .iter()
            .zip(waiting.iter())
            .filter(|(wanted, got)| got < wanted)
            .count();
        let part = (left / open.max(1)).max(1);
        for turn in 0..wanted.len() {
            let place = (first + turn) % wanted.len();
            let take = part.min(wanted[place] - waiting[place]).min(left);
            waiting[place] += take;
            left -= take;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(budget: usize, first: usize, wanted: &[usize]) -> Vec<usize> {
        let mut waiting = wanted.to_vec();
        share(budget, first, &mut waiting);
        waiting
    }

    #[test]
    fn equal_shares_and_leftovers() {
        assert_eq!(shared(64, 0, &[100, 0, 100]), [32, 0, 32]);
        assert_eq!(shared(64, 0, &[10, 100, 100]), [10, 27, 27]);
        assert_eq!(shared(64, 2, &[10, 0, 20]), [10, 0, 20]);
        assert_eq!(shared(7, 1, &[9, 9]), [3, 4]);
        assert!(shared(64, 0, &[]).is_empty());
    }

    #[test]
    fn a_budget_below_the_number_of_prompts_goes_round() {
        assert_eq!(shared(1, 0, &[5, 5, 5]), [1, 0, 0]);
        assert_eq!(shared(1, 1, &[5, 5, 5]), [0, 1, 0]);
        assert_eq!(shared(2, 2, &[5, 5, 5]), [1, 0, 1]);
    }
}

//! The shares of a step's prompt tokens.

/// The number of prompt tokens each sequence takes in, `budget` in all, where they want so many,
/// the one that was first first.
///
/// First come, first served, and yet a short prompt does not wait for a long one's end: one half
/// goes to the first of them and the other to the shortest, and so on with what these do not want.
/// Nobody starves, since everybody is the first at some time. An odd token is the first one's in
/// every other `turn`, so that a budget of one reaches both.
pub(super) fn share(budget: usize, turn: u64, wanted: &[usize]) -> Vec<usize> {
    let mut shares = vec![0; wanted.len()];
    let mut left = budget;
    loop {
        let mut open = (0..wanted.len()).filter(|&i| shares[i] < wanted[i]);
        let Some(first) = open.next() else {
            return shares;
        };
        let want = |i: usize| wanted[i] - shares[i];
        let shortest = open.fold(first, |best, i| if want(i) < want(best) { i } else { best });
        let half = if shortest == first {
            left
        } else {
            (left + usize::from(turn.is_multiple_of(2))) / 2
        };
        let for_first = half.min(want(first));
        let for_shortest = match shortest == first {
            true => 0,
            false => (left - half).min(want(shortest)),
        };
        shares[first] += for_first;
        shares[shortest] += for_shortest;
        left -= for_first + for_shortest;
        if left == 0 {
            return shares;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_gets_the_most_and_the_shortest_goes_along() {
        assert_eq!(share(64, 0, &[100, 0, 100]), [64, 0, 0]);
        assert_eq!(share(64, 0, &[100, 90, 100]), [32, 32, 0]);
        assert_eq!(share(64, 0, &[100, 90, 10]), [54, 0, 10]);
        assert_eq!(share(64, 0, &[100, 10, 9]), [45, 10, 9]);
        assert_eq!(share(64, 0, &[10, 0, 20]), [10, 0, 20]);
        assert_eq!(share(64, 0, &[10, 100, 100]), [10, 54, 0]);
        assert!(share(64, 0, &[]).is_empty());
        assert_eq!(share(0, 0, &[5, 5]), [0, 0]);
    }

    #[test]
    fn an_odd_token_goes_to_both_in_turn() {
        assert_eq!(share(1, 0, &[9, 5]), [1, 0]);
        assert_eq!(share(1, 1, &[9, 5]), [0, 1]);
        assert_eq!(share(7, 0, &[9, 8]), [4, 3]);
        assert_eq!(share(7, 1, &[9, 8]), [3, 4]);
    }

    #[test]
    fn all_of_a_budget_is_used_and_nobody_gets_more_than_it_wants() {
        for budget in 0..40 {
            for turn in 0..2 {
                for wanted in [&[3, 17, 2, 2, 9][..], &[1, 1, 1], &[0, 0], &[12]] {
                    let shares = share(budget, turn, wanted);
                    assert!(shares.iter().zip(wanted).all(|(share, want)| share <= want));
                    let all: usize = wanted.iter().sum();
                    assert_eq!(shares.iter().sum::<usize>(), budget.min(all));
                }
            }
        }
    }

    #[test]
    fn short_ones_that_keep_coming_take_half_of_a_long_ones_turn_at_most() {
        let (mut left, mut steps) = (1000, 0);
        while left > 0 {
            let shares = share(64, steps, &[left, 40, 30, 20]);
            assert!(shares[0] >= left.min(32));
            assert!(shares[3] >= 20, "and wait for no long one");
            left -= shares[0];
            steps += 1;
        }
        assert!(steps <= 32);
    }
}

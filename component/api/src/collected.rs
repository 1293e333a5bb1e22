//! The choices of an answer that is sent whole: how large it may be, and which of them are told.

use std::collections::BTreeMap;

use crate::{
    answer::Finished,
    choices::{Choices, MAX_BYTES, Piece, Tokens},
    engine::{Engine, Usage},
    error::ApiError,
    parts::{Part, Thought},
};

/// All choices in order, once they are there, and what they cost.
///
/// # Errors
/// What [`Choices::next`] says, and that they take more than [`MAX_BYTES`].
pub async fn all<E: Engine>(mut choices: Choices<E>) -> Result<(Vec<Finished>, Usage), ApiError> {
    type Running = (Vec<Part>, Vec<(usize, usize)>, Tokens, Thought);
    let mut running: BTreeMap<u32, Running> = BTreeMap::new();
    let mut finished = BTreeMap::new();
    choices.limit(MAX_BYTES);
    while let Some(piece) = choices.next().await? {
        let Piece {
            index,
            tokens,
            parts,
            end,
            stopped,
            told,
            cost,
        } = piece;
        let (all_parts, steps, all_tokens, thought) = running.entry(index).or_default();
        thought.count(&parts, tokens);
        let before = all_parts.len();
        for part in parts {
            // Of texts that no tokens are told of, the pieces do not matter.
            if let (Some(Part::Text(all)), Part::Text(text)) = (all_parts.last_mut(), &part)
                && told.details.is_empty()
            {
                all.push_str(text);
            } else {
                all_parts.push(part);
            }
        }
        let added = (all_parts.len() - before, told.details.len());
        if added != (0, 0) {
            steps.push(added);
        }
        all_tokens.append(told);
        if let Some(end) = end {
            let (parts, steps, tokens, thought) = running.remove(&index).unwrap_or_default();
            let choice = Finished {
                reasoning_tokens: thought.tokens(),
                cost,
                stopped,
                steps,
                ..Finished::new(parts, tokens, end)
            };
            finished.insert(index, choice);
        }
    }
    Ok((finished.into_values().collect(), choices.usage()))
}

/// Of each `best_of` choices, which belong to one prompt, the `n` with the highest mean log
/// probability of their tokens, best first.
pub fn best(mut finished: Vec<Finished>, n: u32, best_of: u32) -> Vec<Finished> {
    if n >= best_of {
        return finished;
    }
    let mean = |choice: &Finished| {
        let logprobs = choice.tokens.details.iter();
        let logprobs = logprobs.filter_map(|token| token.logprob.map(f64::from));
        let (count, sum) = logprobs.fold((0_u32, 0.0), |(n, sum), logprob| (n + 1, sum + logprob));
        if count == 0 {
            f64::NEG_INFINITY
        } else {
            sum / f64::from(count)
        }
    };
    let (n, best_of) = (n as usize, best_of as usize);
    let mut kept = Vec::with_capacity(finished.len() / best_of * n);
    while !finished.is_empty() {
        let rest = finished.split_off(best_of.min(finished.len()));
        // A stable sort: of equals the first comes first.
        finished.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        finished.truncate(n);
        kept.append(&mut finished);
        finished = rest;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{choices::End, testing::detail};

    #[test]
    fn the_best_have_the_highest_mean() {
        let choice = |text: &str, ids: &[u32]| {
            let tokens = Tokens {
                details: ids.iter().map(|&id| detail(id, b"", Some(0))).collect(),
                ..Tokens::default()
            };
            Finished::new(vec![Part::Text(text.into())], tokens, End::Stop)
        };
        let all = vec![
            choice("long", &[2, 2, 2, 2]),
            choice("short", &[3]),
            choice("best", &[1, 2]),
            choice("none", &[]),
            choice("first", &[4]),
            choice("second", &[4]),
        ];
        let texts = |n, best_of| -> Vec<String> {
            let best = best(all.clone(), n, best_of);
            best.into_iter().map(|choice| choice.text).collect()
        };
        assert_eq!(texts(2, 3), ["best", "long", "first", "second"]);
        assert_eq!(texts(1, 6), ["best"]);
        assert_eq!(texts(6, 6).len(), 6);
    }
}

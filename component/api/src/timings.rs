//! The times of a choice, as llama.cpp's server tells them.

use serde_json::{Value, json};

use crate::choices::Cost;

/// `timings`: tokens that were computed, milliseconds, and rates. A prompt's time is all that
/// passed before the first token, that of waiting included.
pub fn timings(cost: Cost) -> Value {
    let computed = cost.prompt_tokens.saturating_sub(cost.cached_tokens);
    let ms = |us: u64| us as f64 / 1e3;
    let per_token = |us: u64, n: u32| ms(us) / f64::from(n.max(1));
    let rate = |us: u64, n: u32| f64::from(n) / (us.max(1) as f64 / 1e6);
    json!({
        "cache_n": cost.cached_tokens,
        "prompt_n": computed,
        "prompt_ms": ms(cost.prompt_us),
        "prompt_per_token_ms": per_token(cost.prompt_us, computed),
        "prompt_per_second": rate(cost.prompt_us, computed),
        "predicted_n": cost.completion_tokens,
        "predicted_ms": ms(cost.completion_us),
        "predicted_per_token_ms": per_token(cost.completion_us, cost.completion_tokens),
        "predicted_per_second": rate(cost.completion_us, cost.completion_tokens),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_was_computed() {
        let cost = Cost {
            prompt_tokens: 30,
            cached_tokens: 10,
            completion_tokens: 5,
            prompt_us: 4_000_000,
            completion_us: 500_000,
        };
        let told = timings(cost);
        assert_eq!(
            (&told["cache_n"], &told["prompt_n"]),
            (&json!(10), &json!(20))
        );
        assert_eq!(told["prompt_ms"], 4000.0);
        assert_eq!(told["prompt_per_token_ms"], 200.0);
        assert_eq!(told["prompt_per_second"], 5.0);
        assert_eq!(told["predicted_ms"], 500.0);
        assert_eq!(told["predicted_per_second"], 10.0);
        let none = timings(Cost::default());
        assert!(none["predicted_per_second"].as_f64().unwrap().is_finite());
    }
}

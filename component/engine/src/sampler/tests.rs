//! The sampler against hand-worked cases and a plain, fully sorting one.

use proptest::prelude::*;

use super::*;

const PLAIN: Params = Params {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    seed: 7,
};

fn sample(params: Params, logits: &[f32]) -> u32 {
    Sampler::new(params, &[])
        .sample(Isa::SCALAR, &mut logits.to_vec())
        .unwrap()
}

/// Tokens that 2000 draws give.
fn drawn(params: Params, logits: &[f32]) -> Vec<usize> {
    let mut sampler = Sampler::new(params, &[]);
    let mut counts = vec![0; logits.len()];
    for _ in 0..2000 {
        counts[sampler.sample(Isa::SCALAR, &mut logits.to_vec()).unwrap() as usize] += 1;
    }
    counts
}

fn random_logits(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = SplitMix64(seed);
    // Eighths, so that there are ties.
    (0..n)
        .map(|_| ((rng.next_f64() * 64.0) as i32) as f32 / 8.0)
        .collect()
}

#[test]
fn greedy_takes_the_largest_and_the_lower_of_equals() {
    let greedy = Params {
        temperature: 0.0,
        ..PLAIN
    };
    assert_eq!(sample(greedy, &[1.0, 3.0, 3.0, -1.0]), 1);
    assert_eq!(sample(greedy, &[-5.0]), 0);
}

#[test]
fn a_nan_or_an_infinity_is_an_error_that_names_the_token() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = Sampler::new(PLAIN, &[]).sample(Isa::SCALAR, &mut [0.0, 1.0, bad, 2.0]);
        assert_eq!(error, Err(NotFinite { token: 2 }));
    }
}

#[test]
fn penalties_change_the_logits_as_documented() {
    let params = Params {
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        ..PLAIN
    };
    let mut sampler = Sampler::new(params, &[0, 1, 9]);
    sampler.seen.insert(2, 3);
    let mut logits = [4.0, -4.0, 4.0, 4.0];
    sampler.penalise(&mut logits);
    // Prompt only: halved or doubled. Generated three times: halved, less 0.5 + 3 * 0.25. Unseen:
    // as it was.
    assert_eq!(logits, [2.0, -8.0, 0.75, 4.0]);
}

#[test]
fn presence_and_frequency_leave_the_prompt_alone() {
    let params = Params {
        temperature: 0.0,
        presence_penalty: 2.0,
        frequency_penalty: 2.0,
        ..PLAIN
    };
    let mut sampler = Sampler::new(params, &[0]);
    let next = |sampler: &mut Sampler| sampler.sample(Isa::SCALAR, &mut [3.0, 2.0, -9.0]).unwrap();
    assert_eq!(
        [next(&mut sampler), next(&mut sampler), next(&mut sampler)],
        [0, 1, 0]
    );
}

#[test]
fn a_tiny_penalty_or_temperature_makes_no_infinity() {
    let params = Params {
        repetition_penalty: f32::MIN_POSITIVE,
        temperature: f32::MIN_POSITIVE,
        ..PLAIN
    };
    let mut sampler = Sampler::new(params, &[1]);
    assert_eq!(sampler.sample(Isa::SCALAR, &mut [3.0, 2.0, -9.0]), Ok(1));
    assert_eq!(
        sample(
            Params {
                temperature: f32::MIN_POSITIVE,
                ..PLAIN
            },
            &[3.0, 2.0, -9.0]
        ),
        0
    );
}

#[test]
fn the_same_seed_draws_the_same_tokens_and_another_does_not() {
    let logits = random_logits(1, 500);
    let draw = |seed| {
        let mut sampler = Sampler::new(Params { seed, ..PLAIN }, &[]);
        (0..50)
            .map(|_| sampler.sample(Isa::SCALAR, &mut logits.clone()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    assert_ne!(fresh_seed(), fresh_seed());
}

#[test]
fn frequencies_follow_the_softmax() {
    // Probabilities 1/7, 2/7, 4/7.
    let counts = drawn(PLAIN, &[0.0, 2f32.ln(), 4f32.ln()]);
    for (count, expected) in counts
        .iter()
        .zip([2000.0 / 7.0, 4000.0 / 7.0, 8000.0 / 7.0])
    {
        // Four standard deviations of a binomial.
        assert!(
            (*count as f64 - expected).abs() < 4.0 * expected.sqrt(),
            "{counts:?}"
        );
    }
    // Temperature 2 takes the root of the odds: 1 to 2 between the outer two.
    let counts = drawn(
        Params {
            temperature: 2.0,
            ..PLAIN
        },
        &[0.0, 2f32.ln(), 4f32.ln()],
    );
    assert!(
        (counts[2] as f64 / counts[0] as f64 - 2.0).abs() < 0.4,
        "{counts:?}"
    );
}

#[test]
fn filters_keep_exactly_what_they_say() {
    // Probabilities about 0.64, 0.24, 0.09, 0.03.
    let logits = [0.0, 3.0, 1.0, 2.0];
    let kept = |params| -> Vec<usize> {
        drawn(params, &logits)
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(id, _)| id)
            .collect()
    };
    assert_eq!(kept(PLAIN), [0, 1, 2, 3]);
    assert_eq!(kept(Params { top_k: 2, ..PLAIN }), [1, 3]);
    assert_eq!(
        kept(Params {
            top_p: 0.5,
            ..PLAIN
        }),
        [1]
    );
    assert_eq!(
        kept(Params {
            top_p: 0.7,
            ..PLAIN
        }),
        [1, 3]
    );
    assert_eq!(
        kept(Params {
            min_p: 0.1,
            ..PLAIN
        }),
        [1, 2, 3]
    );
    assert_eq!(
        kept(Params {
            min_p: 1.0,
            ..PLAIN
        }),
        [1]
    );
    // Among the first two, 0.73 and 0.27: top-p works on what top-k left.
    assert_eq!(
        kept(Params {
            top_k: 2,
            top_p: 0.7,
            ..PLAIN
        }),
        [1]
    );
}

#[test]
fn top_p_equals_a_full_sort() {
    for (seed, n) in [(1, 3), (2, 63), (3, 64), (4, 65), (5, 1000), (6, 5001)] {
        let mut probabilities = random_logits(seed, n);
        softmax(Isa::SCALAR, &mut probabilities);
        for top_p in [1e-6, 0.3, 0.9, 0.9999, 1.0] {
            let mut sorted: Vec<u32> = (0..n as u32).collect();
            sorted.sort_by(|&a, &b| rank(&probabilities, a, b));
            let total: f64 = probabilities.iter().copied().map(f64::from).sum();
            let mut sum = 0.0;
            let count = sorted.iter().position(|&id| {
                sum += f64::from(probabilities[id as usize]);
                sum >= total * f64::from(top_p)
            });
            let mut expected = sorted[..count.map_or(n, |index| index + 1)].to_vec();
            expected.sort_unstable();
            let mut values = probabilities.clone();
            let mut kept = Kept::all(&mut values);
            kept.keep_top_p(top_p);
            let ids: Vec<u32> = (0..kept.values().len()).map(|at| kept.id(at)).collect();
            assert_eq!(ids, expected, "n {n}, top_p {top_p}");
        }
    }
}

#[test]
fn the_largest_is_the_first_of_equals_wherever_it_lies() {
    for n in [1, 15, 16, 17, 1023, 1024, 1025, 5000] {
        let mut values: Vec<f32> = (0..n).map(|i| ((i * 37) % 251) as f32 - 900.0).collect();
        let plain = |values: &[f32]| {
            let rest = values.iter().enumerate();
            let best = rest.reduce(|best, other| if other.1 > best.1 { other } else { best });
            best.map_or(0, |(index, _)| index as u32)
        };
        assert_eq!(argmax(&values), plain(&values), "{n}");
        for at in [0, n / 2, n - 1] {
            values[at] = 7.0;
            assert_eq!(argmax(&values), plain(&values), "{n}, {at}");
            values[n - 1] = 7.0;
            assert_eq!(argmax(&values), at as u32, "{n}, {at}");
            (values[at], values[n - 1]) = (-0.0, 0.0);
            assert_eq!(argmax(&values), at as u32, "{n}, {at}: zeros are equal");
            (values[at], values[n - 1]) = (-900.0, -900.0);
        }
    }
    assert_eq!(argmax(&[f32::NEG_INFINITY; 40]), 0);
}

#[test]
fn top_p_zero_is_greedy_whatever_the_temperature() {
    let params = Params {
        temperature: 2.0,
        top_p: 0.0,
        ..PLAIN
    };
    for seed in 0..20 {
        let logits = random_logits(seed, 300);
        assert_eq!(
            sample(Params { seed, ..params }, &logits),
            sample(Params::GREEDY, &logits)
        );
    }
}

#[test]
fn banned_tokens_are_never_chosen() {
    let logits = [1.0, 9.0, 3.0, 8.0];
    let without = |params: Params, banned: &[u32]| {
        Sampler::new(params, &[])
            .sample_without(Isa::SCALAR, &mut logits.to_vec(), banned)
            .unwrap()
    };
    assert_eq!(without(Params::GREEDY, &[1]), 3);
    assert_eq!(without(Params::GREEDY, &[1, 3, 77]), 2);
    for seed in 0..200 {
        for params in [
            Params { seed, ..PLAIN },
            Params {
                seed,
                top_k: 2,
                ..PLAIN
            },
            Params {
                seed,
                temperature: f32::MIN_POSITIVE,
                ..PLAIN
            },
            Params {
                seed,
                min_p: 0.5,
                top_p: 0.9,
                repetition_penalty: 2.0,
                ..PLAIN
            },
        ] {
            assert!([0, 2].contains(&without(params, &[1, 3])), "{params:?}");
        }
    }
    // Where nothing is left, something is chosen all the same.
    assert!(without(PLAIN, &[0, 1, 2, 3]) < 4);
}

/// Logits of several kinds: with ties, as a model has them, far apart, and nearly equal.
fn logits_of(kind: u8, seed: u64, n: usize) -> Vec<f32> {
    let mut rng = SplitMix64(seed);
    let mut bell = || (0..4).map(|_| rng.next_f64() - 0.5).sum::<f64>();
    (0..n)
        .map(|_| match kind {
            0 => (bell() * 16.0).round() as f32 / 4.0,
            1 => (bell() * 8.0) as f32,
            2 => (bell() * 1e3) as f32,
            3 => (bell() * 1e-3) as f32,
            4 => (bell() * bell() * 60.0) as f32,
            _ => (bell() * 1e30) as f32,
        })
        .collect()
}

fn params() -> impl Strategy<Value = Params> {
    let temperature = prop_oneof![Just(1.0f32), 0.01f32..2.0, Just(f32::MIN_POSITIVE)];
    let top_k = prop_oneof![Just(0usize), 1usize..100, 1usize..5000];
    let top_p = prop_oneof![
        Just(1.0f32),
        0.001f32..1.0,
        (1e-9f32..1e-3).prop_map(|left| 1.0 - left),
        Just(f32::MIN_POSITIVE),
    ];
    let min_p = prop_oneof![Just(0.0f32), 0.0f32..1.0, Just(1.0)];
    (temperature, top_k, top_p, min_p, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, seed)| Params {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            ..PLAIN
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_draw_is_that_of_the_plain_sampler(
        params in params(),
        kind in 0u8..6,
        n in prop_oneof![1usize..200, 1usize..6000],
        seed in any::<u64>(),
    ) {
        let mut sampler = Sampler::new(params, &[]);
        let mut rng = SplitMix64(params.seed);
        for step in 0..4 {
            let logits = logits_of(kind, seed ^ step, n);
            let drawn = sampler.draw(Isa::SCALAR, &mut logits.clone());
            let expected = oracle::draw(params, &mut rng, Isa::SCALAR, &mut logits.clone());
            prop_assert_eq!(drawn, expected);
        }
    }

    #[test]
    fn every_filter_keeps_what_the_plain_one_keeps(
        kind in 0u8..6,
        n in prop_oneof![1usize..200, 1usize..6000],
        seed in any::<u64>(),
        top_p in prop_oneof![0.001f32..1.0, (1e-9f32..1e-3).prop_map(|left| 1.0 - left)],
        damaged in prop::bool::weighted(0.1),
    ) {
        let mut probabilities = logits_of(kind, seed, n);
        softmax(Isa::SCALAR, &mut probabilities);
        if damaged {
            probabilities.iter_mut().for_each(|probability| *probability *= 3.0);
        }
        let mut ids: Vec<u32> = (0..n as u32).collect();
        let mut expected = probabilities.clone();
        oracle::keep_top_p(&mut ids, &mut expected, top_p);
        let mut kept = Kept::all(&mut probabilities);
        kept.keep_top_p(top_p);
        prop_assert_eq!(kept.values(), &expected);
        prop_assert!(ids.iter().enumerate().all(|(at, &id)| kept.id(at) == id));
    }
}

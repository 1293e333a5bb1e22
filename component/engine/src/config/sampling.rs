//! The sampling a model's makers recommend: `generation_config.json`, or `general.sampling.*` in a
//! GGUF.

use serde_json::Value as Json;

use crate::files::Gguf;

/// The defaults of a request's sampling; ranges as in `wit/engine.wit`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct SamplingDefaults {
    pub temperature: Option<f32>,
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
}

impl SamplingDefaults {
    /// From a parsed `generation_config.json`. What cannot be used is off, with a warning: it is a
    /// recommendation, and requests may send their own.
    pub(super) fn from_json(json: &Json, warnings: &mut Vec<String>) -> Self {
        let keys = [
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "repetition_penalty",
        ];
        let numbers = keys.map(|key| match json.get(key) {
            None | Some(Json::Null) => (key, None),
            Some(value) => (key, Some(value.as_f64().ok_or_else(|| shown(value)))),
        });
        Self::from_numbers(numbers, warnings)
    }

    /// From GGUF metadata.
    pub(crate) fn from_gguf(gguf: &Gguf, warnings: &mut Vec<String>) -> Self {
        let numbers = GGUF_SAMPLING_KEYS.map(|key| {
            let number = gguf.get(key).map(|value| {
                #[allow(clippy::cast_precision_loss, reason = "checked against its range next")]
                let integer = || value.as_i64().map(|n| n as f64);
                value
                    .as_f64()
                    .or_else(integer)
                    .ok_or_else(|| "no number".to_owned())
            });
            (key, number)
        });
        Self::from_numbers(numbers, warnings)
    }

    fn from_numbers(numbers: [(&str, Option<Number>); 5], warnings: &mut Vec<String>) -> Self {
        let [temperature, top_k, top_p, min_p, repetition] = numbers;
        let mut in_range = |number, least, most| in_range(number, least, most, warnings);
        // -1 and 0 are the usual ways to say off.
        let top_k = (top_k.0, top_k.1.filter(|k| *k != Ok(-1.0)));
        let top_k = in_range(top_k, 0.0, f64::from(u32::MAX));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in_range checked it"
        )]
        SamplingDefaults {
            temperature: in_range(temperature, 0.0, 2.0).map(|x| x as f32),
            top_k: top_k.map(|k| k as u32),
            top_p: in_range(top_p, f64::from(f32::MIN_POSITIVE), 1.0).map(|x| x as f32),
            min_p: in_range(min_p, 0.0, 1.0).map(|x| x as f32),
            repetition_penalty: in_range(repetition, 1e-3, 1e3).map(|x| x as f32),
        }
    }
}

/// The value of a key: a number, or a description of what it is instead.
type Number = Result<f64, String>;

fn in_range(
    (key, number): (&str, Option<Number>),
    least: f64,
    most: f64,
    warnings: &mut Vec<String>,
) -> Option<f64> {
    let found = match number? {
        // A NaN is in no range.
        Ok(x) if (least..=most).contains(&x) => return Some(x),
        Ok(x) => x.to_string(),
        Err(other) => other,
    };
    let least = if least == f64::from(f32::MIN_POSITIVE) {
        "above 0, to".to_owned()
    } else {
        format!("{least} to")
    };
    warnings.push(format!(
        "its default {key} is {found}, must be {least} {most}: it is off where a request sends none"
    ));
    None
}

/// A value as a message shows it.
fn shown(value: &Json) -> String {
    let mut shown = value.to_string();
    shown.truncate(shown.floor_char_boundary(80));
    shown
}

/// Upstream's names, in the order of the fields above.
pub(crate) const GGUF_SAMPLING_KEYS: [&str; 5] = [
    "general.sampling.temp",
    "general.sampling.top_k",
    "general.sampling.top_p",
    "general.sampling.min_p",
    "general.sampling.penalty_repeat",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Json) -> (SamplingDefaults, Vec<String>) {
        let mut warnings = Vec::new();
        (SamplingDefaults::from_json(json, &mut warnings), warnings)
    }

    #[test]
    fn what_is_out_of_range_is_off_with_a_warning() {
        for (key, bad) in [
            ("temperature", json!(-1)),
            ("temperature", json!(2.5)),
            ("temperature", json!("warm")),
            ("top_k", json!(-5)),
            ("top_p", json!(0)),
            ("top_p", json!(1.5)),
            ("min_p", json!(-0.1)),
            ("min_p", json!([0.1])),
            ("repetition_penalty", json!(0)),
            ("repetition_penalty", json!({"a": "x".repeat(1000)})),
        ] {
            let mut all = json!({
                "temperature": 0.5, "top_k": 7, "top_p": 0.5, "min_p": 0.25, "repetition_penalty": 1.5
            });
            let (mut expected, none) = read(&all);
            assert!(none.is_empty());
            all[key] = bad;
            let (found, warnings) = read(&all);
            match key {
                "temperature" => expected.temperature = None,
                "top_k" => expected.top_k = None,
                "top_p" => expected.top_p = None,
                "min_p" => expected.min_p = None,
                _ => expected.repetition_penalty = None,
            }
            assert_eq!(found, expected, "{key}");
            let [warning] = &warnings[..] else {
                panic!("{warnings:?}")
            };
            assert!(warning.contains(key) && warning.len() < 300, "{warning}");
        }
    }

    #[test]
    fn top_k_is_off_in_more_ways_than_one() {
        assert_eq!(
            read(&json!({"top_k": -1, "top_p": null})),
            (SamplingDefaults::default(), vec![])
        );
        assert_eq!(read(&json!({"top_k": 0})).0.top_k, Some(0));
    }
}

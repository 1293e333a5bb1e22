//! The sampling a model's makers recommend: `generation_config.json`, or `general.sampling.*` in a GGUF.

use serde_json::Value as Json;

use super::bad;
use crate::error::LoadError;
use crate::files::Gguf;

/// What a request's sampling takes where it says nothing; ranges as in `wit/engine.wit`.
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
    /// From a parsed `generation_config.json`.
    pub(super) fn from_json(json: &Json) -> Result<Self, LoadError> {
        let number = |key: &str| match json.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| bad(key, "is not a number")),
        };
        Self::from_numbers(
            [
                "temperature",
                "top_k",
                "top_p",
                "min_p",
                "repetition_penalty",
            ]
            .map(|key| (key, number(key))),
        )
    }

    /// From GGUF metadata.
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Self, LoadError> {
        Self::from_numbers(GGUF_SAMPLING_KEYS.map(|key| {
            let number = gguf.get(key).map(|value| {
                #[allow(clippy::cast_precision_loss, reason = "checked against its range next")]
                let integer = || value.as_i64().map(|n| n as f64);
                value
                    .as_f64()
                    .or_else(integer)
                    .ok_or_else(|| bad(key, "is not a number"))
            });
            (key, number.transpose())
        }))
    }

    fn from_numbers(
        numbers: [(&str, Result<Option<f64>, LoadError>); 5],
    ) -> Result<Self, LoadError> {
        let [temperature, top_k, top_p, min_p, repetition] = numbers;
        let top_k = in_range(top_k, 0.0, f64::from(u32::MAX))?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in_range checked it"
        )]
        Ok(SamplingDefaults {
            temperature: in_range(temperature, 0.0, 2.0)?.map(|x| x as f32),
            top_k: top_k.map(|k| k as u32),
            top_p: in_range(top_p, f64::MIN_POSITIVE, 1.0)?.map(|x| x as f32),
            min_p: in_range(min_p, 0.0, 1.0)?.map(|x| x as f32),
            repetition_penalty: in_range(repetition, 1e-3, 1e3)?.map(|x| x as f32),
        })
    }
}

/// Upstream's names, in the order of the fields above.
pub(crate) const GGUF_SAMPLING_KEYS: [&str; 5] = [
    "general.sampling.temp",
    "general.sampling.top_k",
    "general.sampling.top_p",
    "general.sampling.min_p",
    "general.sampling.penalty_repeat",
];

fn in_range(
    (key, number): (&str, Result<Option<f64>, LoadError>),
    least: f64,
    most: f64,
) -> Result<Option<f64>, LoadError> {
    match number? {
        Some(x) if !(least..=most).contains(&x) => {
            Err(bad(key, format!("is {x}, must be {least} to {most}")))
        }
        number => Ok(number),
    }
}

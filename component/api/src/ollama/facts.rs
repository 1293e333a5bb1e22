//! What there is to know of the server's models, as Ollama says it. Sizes of files and digests are
//! not known here, and left out.

use serde_json::{Map, Value, json};

use crate::{
    engine::{ListedModel, ModelInfo, ModelState},
    error::ApiError,
    fields::Object,
    json::to_json,
    known::{self, Place},
    translated,
};

/// `/api/version`
pub(super) fn version() -> Vec<u8> {
    to_json(&json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// `/api/tags`: the models there are.
pub(super) fn tags(models: &[ListedModel]) -> Vec<u8> {
    let one = |model: &ListedModel| {
        json!({
            "name": model.id,
            "model": model.id,
            "modified_at": time(model.created),
            "details": details(model.info.as_ref()),
        })
    };
    to_json(&json!({ "models": models.iter().map(one).collect::<Vec<_>>() }))
}

/// `/api/ps`: those of them that are loaded.
pub(super) fn running(models: &[ListedModel]) -> Vec<u8> {
    let loaded = models
        .iter()
        .filter(|model| model.state == ModelState::Loaded);
    let one = |model: &ListedModel| {
        json!({
            "name": model.id,
            "model": model.id,
            "size_vram": 0,
            "context_length": model.info.as_ref().map(|info| info.context_length),
            "details": details(model.info.as_ref()),
        })
    };
    to_json(&json!({ "models": loaded.map(one).collect::<Vec<_>>() }))
}

/// The name that a request to `/api/show` asks for.
pub(super) fn asked(bytes: &[u8]) -> Result<String, ApiError> {
    translated::read(bytes, |body: &Object<'_>, _| {
        known::check(body, Place::OllamaShow)?;
        let name = body.alias(&["model", "name"], |body, name| {
            body.string(name).map(|name| name.map(str::to_owned))
        })?;
        let name = name.map(|(name, _)| name).filter(|name| !name.is_empty());
        name.ok_or_else(|| ApiError::missing(body.path("model")))
    })
}

/// `/api/show`: one of the models, and what is known of it. Nothing is loaded for that.
pub(super) fn show(model: &ListedModel) -> Vec<u8> {
    let mut facts = Map::new();
    let mut capabilities = vec!["completion", "embedding"];
    if let Some(info) = &model.info {
        let kind = &info.architecture;
        facts.insert("general.architecture".into(), json!(kind));
        facts.insert("general.parameter_count".into(), json!(info.parameters));
        for (name, value) in [
            ("context_length", info.context_length),
            ("embedding_length", info.embedding_size),
            ("vocab_size", info.vocab_size),
        ] {
            facts.insert(format!("{kind}.{name}"), json!(value));
        }
        if info.call_form.is_some() {
            capabilities.push("tools");
        }
        if info.reasoning_tags.is_some() {
            capabilities.push("thinking");
        }
    }
    to_json(&json!({
        "modified_at": time(model.created),
        "details": details(model.info.as_ref()),
        "model_info": Value::Object(facts),
        "capabilities": capabilities,
    }))
}

fn details(info: Option<&ModelInfo>) -> Value {
    let Some(info) = info else {
        return json!({});
    };
    json!({
        "family": info.architecture,
        "families": [info.architecture],
        "parameter_size": count(info.parameters),
    })
}

/// A number of weights, as people say it.
fn count(parameters: u64) -> String {
    let n = parameters as f64;
    match parameters {
        1_000_000_000.. => format!("{:.1}B", n / 1e9),
        1_000_000.. => format!("{:.1}M", n / 1e6),
        _ => format!("{:.1}K", n / 1e3),
    }
}

/// Unix time in seconds as RFC 3339 has it, in UTC. The days of a year are counted from March on,
/// as in the calendar from which our leap days come.
pub(super) fn time(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Days since 0000-03-01; an era is the 400 years after which the calendar repeats.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + later;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds), date);
        }
    }

    #[test]
    fn weights_are_counted_as_people_do() {
        for (n, text) in [
            (5_800_000, "5.8M"),
            (2_412_000_000, "2.4B"),
            (9_000, "9.0K"),
        ] {
            assert_eq!(count(n), text);
        }
    }
}

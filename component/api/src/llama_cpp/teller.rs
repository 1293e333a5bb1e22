//! An answer as llama.cpp's clients read it: whole, or as events of which the last of each choice
//! has its facts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::request::Told;
use crate::{
    answer::{Finished, Stamp},
    choices::{Cost, End, Piece, Tokens},
    engine::{TokenDetail, Usage},
    error::{ApiError, Form, Resume},
    json::to_json,
    params::{Biased, Params},
    parts::Part,
    stream::{Teller, push_data},
    timings::timings,
};

/// Tells an answer as documents.
#[derive(Debug)]
pub(super) struct Documents {
    told: Told,
    /// What the request asks for, as the answer tells it.
    settings: Value,
    stops: Vec<String>,
    n_probs: bool,
    /// Every event tells the times so far.
    timings: bool,
    several: bool,
    model: String,
    running: BTreeMap<u32, Running>,
}

/// What was generated of a choice.
#[derive(Debug, Default)]
struct Running {
    /// The prompt with its special tokens.
    prompt: String,
    has_new_line: bool,
    /// Tokens that no event has told.
    tokens: Tokens,
}

/// The end of a choice.
struct Ending {
    stop_type: &'static str,
    word: String,
}

impl Documents {
    /// An answer to a request with these parameters.
    pub(super) fn new(told: Told, params: &Params, stamp: Stamp) -> Self {
        Documents {
            several: told.listed || params.n > 1,
            told,
            settings: settings(params, stamp),
            stops: params.stop.clone(),
            n_probs: params.tokens.logprobs.is_some(),
            timings: params.timings,
            model: String::new(),
            running: BTreeMap::new(),
        }
    }

    /// The same by this model.
    pub(super) fn of(self, model: String) -> Self {
        Documents { model, ..self }
    }

    /// Why a choice ended; the stop text is taken off the end of its text.
    fn ending(&self, text: &mut String, end: End) -> Ending {
        let found = self.stops.iter().filter(|stop| text.ends_with(*stop));
        let found = found.max_by_key(|stop| stop.len());
        match (end, found) {
            (End::Length, _) => Ending {
                stop_type: "limit",
                word: String::new(),
            },
            (_, Some(word)) => {
                if !self.told.stop {
                    text.truncate(text.len() - word.len());
                }
                Ending {
                    stop_type: "word",
                    word: word.clone(),
                }
            }
            (_, None) => Ending {
                stop_type: "eos",
                word: String::new(),
            },
        }
    }

    /// The facts of a choice that has ended.
    fn facts(
        &self,
        index: u32,
        ending: Ending,
        running: &Running,
        cost: Cost,
    ) -> Map<String, Value> {
        let most = self.told.context_length;
        let taken = cost.prompt_tokens.saturating_add(cost.completion_tokens);
        let mut facts = Map::new();
        for (name, value) in [
            ("index", json!(index)),
            ("stop", json!(true)),
            ("model", json!(self.model)),
            ("tokens_predicted", json!(cost.completion_tokens)),
            ("tokens_evaluated", json!(cost.prompt_tokens)),
            ("tokens_cached", json!(cost.cached_tokens)),
            ("generation_settings", self.settings.clone()),
            ("prompt", json!(running.prompt)),
            ("has_new_line", json!(running.has_new_line)),
            (
                "truncated",
                json!(ending.stop_type == "limit" && taken >= most),
            ),
            ("stop_type", json!(ending.stop_type)),
            ("stopping_word", json!(ending.word)),
            ("timings", timings(cost)),
        ] {
            facts.insert(name.to_owned(), value);
        }
        facts
    }

    /// The fields that the request wants.
    fn wanted(&self, document: Map<String, Value>) -> Value {
        let document = Value::Object(document);
        if self.told.fields.is_empty() {
            return document;
        }
        let found = self.told.fields.iter().filter_map(|name| {
            let value = name.split('/').try_fold(&document, |at, key| at.get(key))?;
            Some((name.clone(), value.clone()))
        });
        Value::Object(found.collect())
    }

    fn document(&self, index: u32, finished: &Finished) -> Value {
        let mut text = finished.text.clone();
        let ending = self.ending(&mut text, finished.end);
        let running = Running {
            prompt: prompt(&finished.tokens.prompt),
            has_new_line: text.contains('\n'),
            tokens: Tokens::default(),
        };
        let mut document = self.facts(index, ending, &running, finished.cost);
        let ids: &[u32] = if self.told.tokens {
            &finished.tokens.ids
        } else {
            &[]
        };
        document.insert("content".into(), json!(text));
        document.insert("tokens".into(), json!(ids));
        if self.n_probs {
            let tokens = finished.tokens.details.iter().map(probabilities);
            document.insert("completion_probabilities".into(), tokens.collect());
        }
        self.wanted(document)
    }
}

impl Teller for Documents {
    fn whole(&mut self, finished: &[Finished], _usage: Usage) -> Vec<u8> {
        let choices = (0..).zip(finished);
        let mut documents: Vec<Value> = choices
            .map(|(index, one)| self.document(index, one))
            .collect();
        match documents.pop() {
            Some(only) if !self.several => to_json(&only),
            last => {
                documents.extend(last);
                to_json(&documents)
            }
        }
    }

    fn open(&mut self, _usage: Usage, _bytes: &mut Vec<u8>) {}

    fn tell(&mut self, piece: &Piece, _usage: Usage, _last: bool, bytes: &mut Vec<u8>) {
        let mut running = self.running.remove(&piece.index).unwrap_or_default();
        if !piece.told.prompt.is_empty() {
            running.prompt = prompt(&piece.told.prompt);
        }
        running.tokens.append(Tokens {
            prompt: Vec::new(),
            ..piece.told.clone()
        });
        let parts = piece.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let mut text: String = parts.collect();
        let ending = piece.end.map(|end| self.ending(&mut text, end));
        running.has_new_line |= text.contains('\n');
        if !text.is_empty() {
            let tokens = std::mem::take(&mut running.tokens);
            let mut event = json!({
                "index": piece.index,
                "content": text,
                "tokens": tokens.ids,
                "stop": false,
                "tokens_predicted": piece.cost.completion_tokens,
                "tokens_evaluated": piece.cost.prompt_tokens,
            });
            if self.n_probs {
                let tokens = tokens.details.iter().map(probabilities);
                event["completion_probabilities"] = tokens.collect();
            }
            if self.timings {
                event["timings"] = timings(piece.cost);
            }
            push_data(bytes, &to_json(&event));
        }
        let Some(ending) = ending else {
            self.running.insert(piece.index, running);
            return;
        };
        let mut event = self.facts(piece.index, ending, &running, piece.cost);
        event.insert("content".into(), json!(""));
        event.insert("tokens".into(), json!(running.tokens.ids));
        if self.n_probs {
            let tokens = running.tokens.details.iter().map(probabilities);
            event.insert("completion_probabilities".into(), tokens.collect());
        }
        push_data(bytes, &to_json(&self.wanted(event)));
    }

    fn fault(&mut self, error: &ApiError, resume: &Resume, bytes: &mut Vec<u8>) {
        let mut error = Form::llama_cpp(error);
        error["resume"] = json!(resume);
        push_data(bytes, &to_json(&json!({ "error": error })));
    }
}

/// A prompt's text with the names of its special tokens.
fn prompt(tokens: &[TokenDetail]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|it| &it.bytes).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A token and the most likely ones of its place.
fn probabilities(token: &TokenDetail) -> Value {
    let one = |id: u32, bytes: &[u8], logprob: f32| json!({"id": id, "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": logprob});
    let top = token.top.iter();
    let top = top.map(|it| one(it.token, &it.bytes, it.logprob));
    let mut document = one(token.token, &token.bytes, token.logprob.unwrap_or(0.0));
    document["top_logprobs"] = top.collect();
    document
}

/// What the request asks for; null where the model's own default holds.
fn settings(params: &Params, stamp: Stamp) -> Value {
    let sampling = &params.sampling;
    let most = params.max_tokens.map_or(-1, i64::from);
    let biases = params.tokens.logit_bias.iter().map(|(biased, bias)| {
        let token = match biased {
            Biased::Token(id) => json!(id),
            Biased::Text(text, _) => json!(text),
        };
        // JSON has no infinity: null is a ban.
        json!({"token": token, "bias": bias.is_finite().then_some(bias)})
    });
    json!({
        "n_predict": most,
        "max_tokens": most,
        "min_tokens": params.min_tokens,
        "n_cmpl": params.n,
        "seed": sampling.seed.unwrap_or(stamp.seed()),
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop": params.stop,
        "ignore_eos": params.ignore_eos,
        "logit_bias": biases.collect::<Value>(),
        "n_probs": params.tokens.logprobs.unwrap_or(0),
        "stream": params.stream,
    })
}

//! What a request says of the stream that it is to go on with.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    Marker, Resumed,
    token::{Fault, Run, Short, Token},
};
use crate::{
    body::{WEIGHT_LIMIT, weight},
    engine::ModelInfo,
    error::ApiError,
    http::Head,
    json::on_one_line,
    settings::Settings,
    stamp::Stamp,
};

/// The field that holds tokens, and the header that holds one.
const FIELD: &str = "resume";
const HEADER: &str = "Last-Event-ID";
/// Seconds from the beginning of an answer in which it may be resumed.
const MAX_AGE_S: u64 = 24 * 60 * 60;
/// Tokens of a request at most: those of all events of a long answer.
const MAX_TOKENS: usize = 1 << 16;

/// The identity of an answer that begins or goes on, and what its events' ids are made of.
#[derive(Debug)]
pub struct Begun {
    /// The answer's: of one that goes on, the one it had.
    pub stamp: Stamp,
    /// Where it can be resumed.
    signed: Option<Signed>,
}

#[derive(Debug)]
struct Signed {
    key: String,
    request: Short,
    resumed: Option<(Short, Resumed)>,
}

impl Begun {
    /// An answer that cannot be resumed.
    pub fn plain(stamp: Stamp) -> Self {
        let signed = None;
        Begun { stamp, signed }
    }

    /// The marker of its events, by this model; none where it is not resumable.
    ///
    /// # Errors
    /// It was begun by another model.
    pub fn marker(self, model: &ModelInfo) -> Result<Option<(Marker, Resumed)>, ApiError> {
        let Some(signed) = self.signed else {
            return Ok(None);
        };
        let own = digest_of_model(model);
        let resumed = match signed.resumed {
            Some((model, _)) if model != own => {
                return Err(fault(
                    "it is of another model, another type of keys and values or another version of \
                     the program, which would go on with other tokens; ask a server of the same, or \
                     send the request without it",
                ));
            }
            Some((_, resumed)) => resumed,
            None => Resumed::default(),
        };
        let digests = [own, signed.request];
        let marker = Marker::new(signed.key, digests, self.stamp, resumed.clone());
        Ok(Some((marker, resumed)))
    }

    /// True if it goes on with what another answer began.
    pub fn resumes(&self) -> bool {
        self.signed
            .as_ref()
            .is_some_and(|signed| signed.resumed.is_some())
    }
}

/// Read what the request in `bytes`, to this `route`, says of the stream it goes on with. `streams`
/// says whether a request streams that does not say so.
///
/// # Errors
/// What it says is none of this server's tokens, or of another request.
pub fn begin(
    settings: &Settings,
    head: &Head,
    route: &str,
    bytes: &[u8],
    stamp: Stamp,
    streams: bool,
) -> Result<Begun, ApiError> {
    let plain = Ok(Begun::plain(stamp));
    // What cannot be read is refused where it is read.
    if weight(bytes) > WEIGHT_LIMIT {
        return plain;
    }
    let Ok(fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(bytes) else {
        return plain;
    };
    let asked = tokens(head, fields.get(FIELD).copied())?;
    let streams = fields
        .get("stream")
        .map_or(streams, |value| value.get() == "true");
    let Some(key) = settings.resume_keys.first() else {
        return match asked.first() {
            Some(_) => Err(fault(
                "this server resumes no streams; its setting resume_key is the key that the servers \
                 of a model share for that",
            )),
            None => plain,
        };
    };
    if !streams {
        return match asked.first() {
            Some(_) => Err(fault(
                "only a stream can be resumed; send it with 'stream': true",
            )),
            None => plain,
        };
    }
    let request = digest_of_request(route, &fields);
    let read = asked.iter().map(|text| read(text, &settings.resume_keys));
    let read = read.collect::<Result<Vec<_>, _>>()?;
    let key = key.clone();
    let Some(last) = read.iter().max_by_key(|token| token.position.events) else {
        let signed = Signed {
            key,
            request,
            resumed: None,
        };
        return Ok(Begun {
            stamp,
            signed: Some(signed),
        });
    };
    let began = Stamp {
        id: last.id,
        created: last.created,
        ..stamp
    };
    if read.iter().any(|token| token.request != request) {
        return Err(fault(
            "it is of another request; send the request whose stream was cut, with the same fields \
             and values, to the same route",
        ));
    }
    if read
        .iter()
        .any(|token| token.id != began.id || token.model != last.model)
    {
        return Err(fault(
            "its tokens are of several streams; send those of one",
        ));
    }
    if stamp.created.saturating_sub(began.created) > MAX_AGE_S {
        return Err(fault("it is older than a day; send the request without it"));
    }
    let (model, position) = (last.model, last.position.clone());
    let resumed = Resumed {
        position,
        tokens: first_tokens(read.into_iter().flat_map(|token| token.runs)),
    };
    Ok(Begun {
        stamp: began,
        signed: Some(Signed {
            key,
            request,
            resumed: Some((model, resumed)),
        }),
    })
}

/// The tokens that a request has, as texts.
fn tokens(head: &Head, field: Option<&RawValue>) -> Result<Vec<String>, ApiError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let header = head.last_event_id.iter();
    let header = header.filter(|id| !id.trim().is_empty()).cloned();
    let field = match field.map(RawValue::get) {
        None | Some("null") => Vec::new(),
        Some(value) => match serde_json::from_str(value) {
            Ok(OneOrMore::One(one)) => vec![one],
            Ok(OneOrMore::More(more)) if more.len() <= MAX_TOKENS => more,
            Ok(OneOrMore::More(more)) => {
                let why = format!(
                    "{} tokens are more than {MAX_TOKENS}; send the last",
                    more.len()
                );
                return Err(ApiError::invalid_value(FIELD.into(), &why));
            }
            Err(_) => {
                let why = "expected the id of an event, or an array of them";
                return Err(ApiError::invalid_value(FIELD.into(), why));
            }
        },
    };
    Ok(field.into_iter().chain(header).collect())
}

fn read(text: &str, keys: &[String]) -> Result<Token, ApiError> {
    Token::read(text, keys).map_err(|error| {
        fault(match error {
            Fault::Damaged => "it is no id of an event, whole and as it was sent",
            Fault::Unsigned => {
                "none of this server's keys signed it; servers that resume each other's streams have \
                 the same resume_key, without which only the process that sent it can"
            }
        })
    })
}

fn fault(why: &str) -> ApiError {
    ApiError::cannot_resume(FIELD, HEADER, why)
}

/// The first tokens of each choice, from runs in any order: as far as there is no gap.
pub(super) fn first_tokens(runs: impl Iterator<Item = Run>) -> BTreeMap<u32, Vec<u32>> {
    let mut of_choice: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
    for run in runs {
        of_choice.entry(run.index).or_default().push(run);
    }
    let joined = |mut runs: Vec<Run>| {
        runs.sort_by_key(|run| run.start);
        let mut ids: Vec<u32> = Vec::new();
        for run in runs {
            let known = ids.len().checked_sub(run.start as usize);
            if let Some(new) = known.and_then(|known| run.ids.get(known..)) {
                ids.extend(new);
            }
        }
        ids
    };
    let joined = of_choice
        .into_iter()
        .map(|(index, runs)| (index, joined(runs)));
    joined.collect()
}

/// Of a request: the route, and every field as it was written, white space aside.
fn digest_of_request(route: &str, fields: &BTreeMap<String, &RawValue>) -> Short {
    let fields = fields.iter().filter(|(name, _)| *name != FIELD);
    let texts = fields.flat_map(|(name, value)| [name.clone(), on_one_line(value.get())]);
    digest(std::iter::once(route.to_owned()).chain(texts))
}

/// Of what decides about tokens besides the request.
fn digest_of_model(model: &ModelInfo) -> Short {
    let version = env!("CARGO_PKG_VERSION");
    // One that is known by its name alone is told apart by that.
    let name = if model.fingerprint.is_empty() {
        &model.id
    } else {
        &model.fingerprint
    };
    digest([version, name, &model.kv_type].into_iter())
}

fn digest(texts: impl Iterator<Item = impl AsRef<str>>) -> Short {
    let mut hash = Sha256::new();
    for text in texts {
        let text = text.as_ref();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let all = hash.finalize();
    all.first_chunk().copied().unwrap_or_default()
}

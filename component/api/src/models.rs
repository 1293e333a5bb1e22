//! `/v1/models`: OpenAI's list, plus the facts one wants to know of a model that runs on a CPU.

use crate::{
    engine::{ListedModel, ModelInfo, ModelState},
    json::to_json,
};
use serde::Serialize;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// The model that a second name means.
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<&'a str>,
    state: &'static str,
    #[serde(flatten)]
    facts: Option<Facts<'a>>,
}

/// What is known of a model that was loaded once.
#[derive(Serialize)]
struct Facts<'a> {
    architecture: &'a str,
    parameters: u64,
    context_length: u32,
    vocab_size: u32,
    head_type: &'a str,
    kv_type: &'a str,
    isa: &'a str,
    max_sequences: u32,
    embedding_size: u32,
}

impl<'a> From<&'a ListedModel> for Model<'a> {
    fn from(model: &'a ListedModel) -> Self {
        Model {
            id: &model.id,
            object: "model",
            created: model.created,
            owned_by: "sterna",
            root: model.alias_of.as_deref(),
            state: state(model.state),
            facts: model.info.as_ref().map(Facts::from),
        }
    }
}

impl<'a> From<&'a ModelInfo> for Facts<'a> {
    fn from(info: &'a ModelInfo) -> Self {
        Facts {
            architecture: &info.architecture,
            parameters: info.parameters,
            context_length: info.context_length,
            vocab_size: info.vocab_size,
            head_type: &info.head_type,
            kv_type: &info.kv_type,
            isa: &info.isa,
            max_sequences: info.max_sequences,
            embedding_size: info.embedding_size,
        }
    }
}

fn state(state: ModelState) -> &'static str {
    match state {
        ModelState::Unloaded => "unloaded",
        ModelState::Loading => "loading",
        ModelState::Loaded => "loaded",
        ModelState::Failed => "failed",
    }
}

/// All models.
pub fn list(models: &[ListedModel]) -> Vec<u8> {
    to_json(&List {
        object: "list",
        data: models.iter().map(Model::from).collect(),
    })
}

#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    model: &'a str,
    isa: &'a str,
}

/// The answer of `/readyz` while this model can be asked.
pub fn ready(model: &ModelInfo) -> Vec<u8> {
    to_json(&Ready {
        ready: true,
        model: &model.id,
        isa: &model.isa,
    })
}

/// One model.
pub fn one(model: &ListedModel) -> Vec<u8> {
    to_json(&Model::from(model))
}

//! The operator's settings: the types generated from `wit/config.wit`, and their effect on a
//! request.

use crate::{
    engine::{ModelInfo, bindings},
    error::ApiError,
};

pub use bindings::sterna::inference::config::{self as wit, InvalidSetting, Settings};

/// The second name that stands for every name that no model has.
const ANY: &str = "*";

/// The model of a request.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The name the engine knows it by.
    pub id: String,
    /// The name that the answer bears: as it was asked for, or the first of the list.
    pub named: String,
    /// Its facts, if there is such a model.
    pub info: Option<ModelInfo>,
}

impl Settings {
    /// The largest number of tokens to generate for a request that asks for `asked` in its field
    /// `param`.
    pub fn completion_limit(&self, asked: Option<(u32, String)>) -> Result<Option<u32>, ApiError> {
        match (asked, self.max_tokens) {
            (Some((tokens, param)), Some(most)) if tokens > most => {
                let why = format!("this server generates at most {most} tokens, but got {tokens}");
                Err(ApiError::invalid_value(param, &why))
            }
            (Some((tokens, _)), _) => Ok(Some(tokens)),
            (None, most) => Ok(self.default_max_tokens.or(most)),
        }
    }

    /// The models as clients see them: the default one under its second name too, and first.
    pub fn listed(&self, mut models: Vec<ModelInfo>) -> Vec<ModelInfo> {
        if let (Some(alias), Some(default)) = (self.alias(&models), models.first()) {
            let named = ModelInfo {
                id: alias.to_owned(),
                ..default.clone()
            };
            models.insert(0, named);
        }
        models
    }

    /// The name the engine knows the model by that a client calls `asked`, or the default one's.
    pub fn resolve(&self, asked: Option<&str>, models: &[ModelInfo]) -> Option<String> {
        match asked {
            Some(name) if !self.is_second(name, models) => Some(name.to_owned()),
            _ => models.first().map(|model| model.id.clone()),
        }
    }

    /// The model that a request asks, by the name it asks for.
    ///
    /// # Errors
    /// There is no model at all. One that does not exist is the engine's to refuse.
    pub fn choose(
        &self,
        asked: Option<String>,
        models: Vec<ModelInfo>,
    ) -> Result<Chosen, ApiError> {
        let id = self
            .resolve(asked.as_deref(), &models)
            .ok_or_else(|| ApiError::unavailable("no model is loaded"))?;
        let info = models.iter().find(|info| info.id == id).cloned();
        let first = || self.listed(models).into_iter().next().map(|model| model.id);
        let named = asked.or_else(first).unwrap_or_else(|| id.clone());
        Ok(Chosen { id, named, info })
    }

    /// True of a name that means the default model: its second one, or any that no model has where
    /// all of them mean it.
    fn is_second(&self, name: &str, models: &[ModelInfo]) -> bool {
        let any = self.model_alias.as_deref() == Some(ANY);
        self.alias(models) == Some(name) || any && !models.iter().any(|model| model.id == name)
    }

    /// The second name, unless a model has it anyway.
    fn alias(&self, models: &[ModelInfo]) -> Option<&str> {
        let alias = self.model_alias.as_deref().filter(|&alias| alias != ANY)?;
        (!models.iter().any(|model| model.id == alias)).then_some(alias)
    }
}

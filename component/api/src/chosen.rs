//! The model of a request: which one its name means, and waiting for one that is being loaded.

use crate::{
    engine::{Engine, Error, ListedModel, ModelInfo},
    error::ApiError,
    settings::Settings,
};

/// The time that a stream waits for its model before its answer begins: a load that fails in it
/// has a status of its own. After that the stream has begun, and is kept alive by comments.
pub const PATIENCE_MS: u32 = 5_000;

/// The second name that stands for every name that no model has.
const ANY: &str = "*";

/// As long as the engine lets anyone wait.
const TO_THE_END_MS: u32 = u32::MAX;

/// The model of a request.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its facts; by `id` the engine knows it.
    pub info: ModelInfo,
    /// The name that the answer bears: as it was asked for, or the first of the list.
    pub named: String,
}

impl Chosen {
    /// The model that a request asks for by this name, once it can be asked.
    ///
    /// # Errors
    /// There is no such model, or it cannot be loaded.
    pub fn wait<E: Engine>(
        engine: &E,
        settings: &Settings,
        asked: Option<String>,
    ) -> Result<Chosen, ApiError> {
        Chosen::in_time(engine, settings, asked, None)
    }

    /// The same for a request whose body says in how many milliseconds it ends.
    ///
    /// # Errors
    /// As [`Chosen::wait`]; or they have passed.
    pub fn in_time<E: Engine>(
        engine: &E,
        settings: &Settings,
        asked: Option<String>,
        most_ms: Option<u32>,
    ) -> Result<Chosen, ApiError> {
        let wait_ms = most_ms.unwrap_or(TO_THE_END_MS);
        let chosen = Chosen::within(engine, settings, asked, wait_ms)?;
        chosen.ok_or_else(|| match most_ms {
            Some(_) => ApiError::timed_out(),
            None => ApiError::unavailable("the model is still being loaded"),
        })
    }

    /// The same, where it can be asked within so many milliseconds.
    ///
    /// # Errors
    /// As [`Chosen::wait`].
    pub fn within<E: Engine>(
        engine: &E,
        settings: &Settings,
        asked: Option<String>,
        wait_ms: u32,
    ) -> Result<Option<Chosen>, ApiError> {
        let name = settings.engine_name(engine, asked.as_deref());
        let info = match engine.model(name, wait_ms) {
            Ok(info) => info,
            Err(Error::UnknownModel(name)) => return Err(unknown(engine, settings, &name)),
            Err(error) => return Err(ApiError::from_engine(error, "model")),
        };
        Ok(info.map(|info| Chosen {
            named: settings.answer_name(engine, asked, &info.id),
            info,
        }))
    }
}

/// The refusal of a name that no model has.
pub fn unknown<E: Engine>(engine: &E, settings: &Settings, name: &str) -> ApiError {
    let listed = settings.listed(engine.models());
    ApiError::unknown_model(name, listed.iter().map(|model| model.id.as_str()))
}

impl Settings {
    /// The models as clients see them: the default one under its second name too, and first.
    pub fn listed(&self, mut models: Vec<ListedModel>) -> Vec<ListedModel> {
        if let (Some(alias), Some(default)) = (self.alias(&models), models.first()) {
            let named = ListedModel {
                id: alias.to_owned(),
                alias_of: Some(default.id.clone()),
                ..default.clone()
            };
            models.insert(0, named);
        }
        models
    }

    /// The name under which a request's answer comes, of the model with this `id`.
    pub fn answer_name<E: Engine>(&self, engine: &E, asked: Option<String>, id: &str) -> String {
        asked
            .or_else(|| {
                self.listed(engine.models())
                    .into_iter()
                    .next()
                    .map(|it| it.id)
            })
            .unwrap_or_else(|| id.to_owned())
    }

    /// The name by which the engine is asked for a model that a client calls `asked`; `None` for
    /// the default one.
    fn engine_name<'a, E: Engine>(&self, engine: &E, asked: Option<&'a str>) -> Option<&'a str> {
        asked.filter(|name| self.model_alias.is_none() || !self.is_second(name, &engine.models()))
    }

    /// True of a name that means the default model: its second one, or any that no model has where
    /// all of them mean it.
    fn is_second(&self, name: &str, models: &[ListedModel]) -> bool {
        let any = self.model_alias.as_deref() == Some(ANY);
        self.alias(models) == Some(name) || any && !models.iter().any(|model| model.id == name)
    }

    /// The second name, unless a model has it anyway.
    fn alias(&self, models: &[ListedModel]) -> Option<&str> {
        let alias = self.model_alias.as_deref().filter(|&alias| alias != ANY)?;
        (!models.iter().any(|model| model.id == alias)).then_some(alias)
    }
}

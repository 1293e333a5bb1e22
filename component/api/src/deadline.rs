//! The time of a request: by its header `X-Request-Timeout`, its field `timeout` and the operator's
//! limit, of which the shortest holds. The engine ends what is not complete by then.

use crate::{
    engine::{Conversation, Engine, Error, ListedModel, ModelInfo, Request},
    error::{ApiError, shorten},
};

/// The header's name, for messages.
pub const HEADER: &str = "x-request-timeout";

/// The engine as the client of one request asks it: on its behalf, and within its time.
#[derive(Clone, Debug)]
pub struct AskedBy<E> {
    engine: E,
    client: u64,
    /// Of the engine's clock.
    began_ms: u64,
    /// What its header says.
    asked_ms: Option<u32>,
    /// The operator's limit.
    most_ms: Option<u32>,
}

impl<E: Engine> AskedBy<E> {
    /// The `engine` for a request that began at `began_ms` of its clock.
    pub fn new(
        engine: E,
        client: u64,
        began_ms: u64,
        asked_ms: Option<u32>,
        most_ms: Option<u32>,
    ) -> Self {
        AskedBy {
            engine,
            client,
            began_ms,
            asked_ms,
            most_ms,
        }
    }

    /// What is left of its time; `field_ms` is what its body says.
    fn left_ms(&self, field_ms: Option<u32>) -> Option<Result<u32, Error>> {
        let times = [field_ms, self.asked_ms, self.most_ms];
        let time = times.into_iter().flatten().min()?;
        let passed = self.engine.now_ms().saturating_sub(self.began_ms);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let left = time.checked_sub(passed).filter(|&left| left > 0);
        Some(left.ok_or(Error::TimedOut))
    }
}

impl<E: Engine> Engine for AskedBy<E> {
    type Generation = E::Generation;

    fn models(&self) -> Vec<ListedModel> {
        self.engine.models()
    }

    fn model(&self, name: Option<&str>, wait_ms: u32) -> Result<Option<ModelInfo>, Error> {
        let Some(left) = self.left_ms(None).transpose()? else {
            return self.engine.model(name, wait_ms);
        };
        match self.engine.model(name, wait_ms.min(left))? {
            None if left <= wait_ms => Err(Error::TimedOut),
            model => Ok(model),
        }
    }

    fn prepare(&self, request: &mut Request) -> Result<(), Error> {
        request.client = self.client;
        request.timeout_ms = self.left_ms(request.timeout_ms).transpose()?;
        Ok(())
    }

    fn generate(&self, request: &Request) -> Result<E::Generation, Error> {
        self.engine.generate(request)
    }

    fn tokenize(&self, model: &str, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        self.engine.tokenize(model, text, add_special)
    }

    fn detokenize(&self, model: &str, tokens: &[u32]) -> Result<String, Error> {
        self.engine.detokenize(model, tokens)
    }

    fn apply_template(&self, model: &str, conversation: &Conversation) -> Result<String, Error> {
        self.engine.apply_template(model, conversation)
    }

    fn now_ms(&self) -> u64 {
        self.engine.now_ms()
    }

    fn has_deadline(&self) -> bool {
        self.asked_ms.is_some()
    }

    async fn pause(&self) {
        self.engine.pause().await;
    }
}

/// The header's value in milliseconds.
///
/// # Errors
/// It is no number of seconds above 0.
pub fn of_header(value: Option<&str>) -> Result<Option<u32>, ApiError> {
    let Some(text) = value else {
        return Ok(None);
    };
    let seconds = text.trim().parse().ok().filter(|seconds| *seconds > 0.0);
    match seconds.and_then(ms) {
        Some(ms) => Ok(Some(ms)),
        None => Err(ApiError::invalid_header(
            HEADER,
            &format!(
                "expected seconds above 0, such as 30 or 2.5, but got '{}'",
                shorten(text)
            ),
        )),
    }
}

/// Whole milliseconds, at least 1 and at most as many as there are: some 49 days.
pub fn ms(seconds: f64) -> Option<u32> {
    // Saturates.
    (seconds.is_finite() && seconds > 0.0).then(|| ((seconds * 1000.0).ceil() as u32).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_a_number_of_seconds() {
        for (text, expected) in [
            ("1", 1000),
            ("0.25", 250),
            (" 2.5 ", 2500),
            ("1e3", 1_000_000),
            ("0.0001", 1),
            ("99999999999", u32::MAX),
        ] {
            assert_eq!(of_header(Some(text)), Ok(Some(expected)), "{text}");
        }
        assert_eq!(of_header(None), Ok(None));
        for text in [
            "", "0", "-1", "-0", "soon", "10s", "1,5", "nan", "inf", "1 2",
        ] {
            let error = of_header(Some(text)).unwrap_err();
            assert_eq!(
                (error.status, error.param.as_deref()),
                (400, Some(HEADER)),
                "{text}"
            );
            assert!(error.message.contains(HEADER), "{}", error.message);
        }
    }
}

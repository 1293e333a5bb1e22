//! The models of one request: what it was given stays until the request is over.

use std::sync::Arc;
use std::time::Duration;

use super::registry::{Asking, Lease, Refused, Registry};

/// Held by the instance that answers a request.
pub struct Held<E> {
    models: Arc<Registry<E>>,
    leases: Vec<Lease<E>>,
    /// It asked for this one, which is not there yet: it keeps its place.
    asking: Option<(Option<String>, Asking<E>)>,
}

impl<E: Clone + Send + 'static> Held<E> {
    /// Of a request to a server with these models.
    #[must_use]
    pub fn new(models: Arc<Registry<E>>) -> Self {
        Held {
            models,
            leases: Vec::new(),
            asking: None,
        }
    }

    /// The server's models.
    #[must_use]
    pub fn models(&self) -> &Registry<E> {
        &self.models
    }

    /// The model of this name, or the default one, unless it takes longer than that.
    ///
    /// # Errors
    /// There is none, or it cannot be had.
    pub async fn get(
        &mut self,
        name: Option<&str>,
        wait: Duration,
    ) -> Result<Option<&Lease<E>>, Refused> {
        let index = self.models.names().find(name);
        let held = self
            .leases
            .iter()
            .position(|lease| Some(lease.index()) == index);
        if let Some(held) = held {
            return Ok(self.leases.get(held));
        }
        let asking = match self.asking.take() {
            Some((asked, asking)) if asked.as_deref() == name => asking,
            _ => self.models.ask(name)?,
        };
        // Kept meanwhile: who leaves in between gives up.
        let (_, asking) = self.asking.insert((name.map(str::to_owned), asking));
        match asking.wait(wait).await {
            Ok(Some(lease)) => {
                self.asking = None;
                self.leases.push(lease);
                Ok(self.leases.last())
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.asking = None;
                Err(Refused::Engine(error))
            }
        }
    }
}

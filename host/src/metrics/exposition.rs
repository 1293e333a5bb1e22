//! The two texts a scraper may ask for.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::classic;

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0, what Prometheus asks for.
    OpenMetrics,
    /// Prometheus's own text format 0.0.4, which everything else reads, `promtool check metrics`
    /// included.
    Classic,
}

impl Exposition {
    /// The format that the `Accept` header asks for.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => {
                Exposition::OpenMetrics
            }
            _ => Exposition::Classic,
        }
    }

    /// Its `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Exposition::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    pub(super) fn render(self, registry: &Registry) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail, and collectors have no errors of their own.
        let _ = encode(&mut text, registry);
        match self {
            Exposition::OpenMetrics => text,
            Exposition::Classic => classic::from_open_metrics(&text),
        }
    }
}

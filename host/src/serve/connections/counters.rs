//! The metrics of connections, and the log of refused connections with at most one line per second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use firebox_contract::limits;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The reason why a connection, a request or a stream is refused, or a connection is closed by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server has its maximum number of connections.
    Full,
    /// The address has its maximum number of connections.
    Address,
    /// The tenant has its maximum number of open requests.
    Tenant,
    /// The tenant has its maximum number of open streams.
    Streams,
    /// The connection had no request and was closed to make room for another.
    MadeRoom,
    /// The client read its answer too slowly.
    SlowReader,
    /// The client sent a body too slowly.
    SlowBody,
}

impl Refusal {
    /// The value of the label `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Address => "address",
            Self::Tenant => "tenant",
            Self::Streams => "streams",
            Self::MadeRoom => "made_room",
            Self::SlowReader => "slow_reader",
            Self::SlowBody => "slow_body",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

/// The metrics of connections. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounters {
    refused: Family<RefusalLabels, Counter>,
    open: Gauge,
    log: Arc<Mutex<RefusalLogState>>,
}

#[derive(Debug, Default)]
struct RefusalLogState {
    last_line: Option<Instant>,
    /// Refusals since the last line.
    count: u64,
}

impl ConnectionCounters {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Connections, requests and streams that were refused or closed, by reason";
        registry.register("connections_refused", help, self.refused.clone());
        registry.register("connections_open", "Open connections", self.open.clone());
    }

    /// Counts a refusal, and writes a log line if there was none within the last second.
    pub fn refused(&self, refusal: Refusal) {
        let reason = refusal.as_str();
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.count += 1;
        if log.last_line.is_none_or(|last_line| last_line.elapsed() >= limits::HTTP_REFUSAL_LOG_PERIOD) {
            tracing::warn!(count = log.count, reason, "connections or streams were refused or closed");
            *log = RefusalLogState { last_line: Some(Instant::now()), count: 0 };
        }
    }

    pub(super) fn opened(&self) {
        self.open.inc();
    }

    pub(super) fn closed(&self) {
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_refusal_is_counted_by_reason_and_few_are_logged() {
        let counters = ConnectionCounters::default();
        let mut registry = Registry::with_prefix("firebox");
        counters.register(&mut registry);
        for _ in 0..1_000 {
            counters.refused(Refusal::Address);
        }
        counters.refused(Refusal::SlowReader);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        assert!(text.contains("firebox_connections_refused_total{reason=\"address\"} 1000"), "{text}");
        assert!(text.contains("firebox_connections_refused_total{reason=\"slow_reader\"} 1"), "{text}");
        let waiting = counters.log.lock().expect("whole").count;
        assert!(waiting >= 900, "{waiting} of 1,001 wait for the next line");
    }
}

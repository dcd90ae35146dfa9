//! What is counted of connections, and the log of those that are refused: a line a second at most.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use firebox_contract::limits;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why a connection, a request or a stream is refused, or a connection is closed before its client wants that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server has all the connections it may have.
    Full,
    /// One address has all the connections it may have.
    Address,
    /// The tenant has all the requests it may have open.
    Tenant,
    /// The tenant has all the streams it may have open.
    Streams,
    /// The connection carried no request and made room for another one.
    MadeRoom,
    /// Its client took what is written to it too slowly.
    SlowReader,
    /// Its client sent a body too slowly.
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
struct Reason {
    reason: &'static str,
}

/// Counters of connections. Cheap to clone: clones share them.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCounters {
    refused: Family<Reason, Counter>,
    open: Gauge,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    written: Option<Instant>,
    /// Refusals since then.
    count: u64,
}

impl ConnectionCounters {
    /// Adds them to what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Connections, requests and streams that were refused or closed to keep room, by the reason";
        registry.register("connections_refused", help, self.refused.clone());
        registry.register("connections_open", "Connections that are open", self.open.clone());
    }

    /// Counts a refusal. The log names the reason of the last one of each second.
    pub fn refused(&self, refusal: Refusal) {
        let reason = refusal.as_str();
        self.refused.get_or_create(&Reason { reason }).inc();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.count += 1;
        if log.written.is_none_or(|written| written.elapsed() >= limits::HTTP_REFUSAL_LOG_PERIOD) {
            tracing::warn!(count = log.count, reason, "connections or streams were refused or closed");
            *log = Log { written: Some(Instant::now()), count: 0 };
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
    fn every_refusal_is_counted_by_its_reason_and_few_are_logged() {
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

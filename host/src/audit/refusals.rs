//! Refusals, which anybody can cause as fast as he likes: each kind is written once in a while, with its count.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use firebox_contract::limits;

use super::{Record, RepeatedRecord, RequestOrigin, Subject};
use crate::system::log_rate_limit::LogRateLimiter;

/// What makes refusals one kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RefusalKind {
    event: String,
    tenant: String,
    key: String,
    /// The peer, where no tenant is known.
    address: Option<IpAddr>,
    decision: String,
    outcome: String,
}

/// Refusals that happened lately.
#[derive(Debug)]
pub(super) struct Refusals {
    repeats: LogRateLimiter<RefusalKind>,
    unknown: usize,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { repeats: LogRateLimiter::new(limits::REFUSALS_PERIOD), unknown: 0 }
    }
}

impl RefusalKind {
    fn of(record: &Record<'_>, origin: &RequestOrigin) -> Self {
        let Subject { tenant, key, .. } = record.subject();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let address = origin.address.filter(|_| tenant.is_none()).map(network);
        Self {
            event: record.event().to_owned(),
            tenant: text(tenant),
            key: text(key),
            address,
            decision: text(record.decision()),
            outcome: text(record.outcome()),
        }
    }

    /// The same, of everybody.
    fn of_all(self) -> Self {
        Self { tenant: String::new(), key: String::new(), address: None, ..self }
    }

    fn is_unknown(&self) -> bool {
        self.tenant.is_empty()
    }

    /// The line that says that it happened `count` times more.
    pub(super) fn record(&self, count: u64) -> Record<'_> {
        let text = |text| Some(text).filter(|text: &&str| !text.is_empty());
        Record::Repeated(RepeatedRecord {
            event: &self.event,
            subject: Subject { tenant: text(&self.tenant), key: text(&self.key), request: None },
            address: self.address,
            decision: text(&self.decision),
            outcome: text(&self.outcome),
            count,
        })
    }
}

/// Peers that have a network to themselves are one peer: the first 64 bits of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => six
            .to_ipv4_mapped()
            .map_or_else(|| IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))), IpAddr::V4),
    }
}

impl Refusals {
    /// Counts a refusal; whether its own line is to be written, with how many like it were not.
    pub(super) fn happened(&mut self, record: &Record<'_>, origin: &RequestOrigin, now: Instant) -> Option<u64> {
        let kind = RefusalKind::of(record, origin);
        if self.repeats.knows(&kind) {
            return self.repeats.happened(kind, now);
        }
        let full = self.repeats.kinds() >= limits::REFUSAL_KINDS_MAX
            || (kind.is_unknown() && self.unknown >= limits::REFUSAL_KINDS_UNKNOWN_MAX);
        if full {
            return self.repeats.happened(kind.of_all(), now);
        }
        self.unknown += usize::from(kind.is_unknown());
        self.repeats.happened(kind, now)
    }

    pub(super) fn kinds(&self) -> usize {
        self.repeats.kinds()
    }

    /// Kinds whose count is to be written now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(RefusalKind, u64)> {
        let due = self.repeats.due(now);
        self.unknown = self.repeats.count(RefusalKind::is_unknown);
        due
    }

    /// All counts that were not written.
    pub(super) fn rest(&mut self) -> Vec<(RefusalKind, u64)> {
        self.unknown = 0;
        self.repeats.rest()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RefusalRecord;
    use super::*;

    fn refusal(tenant: Option<&'static str>, address: u128) -> (Record<'static>, RequestOrigin) {
        let subject = Subject { tenant, ..Subject::default() };
        let record = RefusalRecord { subject, outcome: "unauthorized", ..RefusalRecord::default() };
        let address = Some(IpAddr::V6(Ipv6Addr::from_bits(address)));
        (Record::Refusal(record), RequestOrigin { address, client_request: None })
    }

    #[test]
    fn who_has_many_addresses_is_one_peer_and_the_table_is_bounded() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let told = |refusals: &mut Refusals, (record, origin): (Record<'_>, RequestOrigin)| {
            refusals.happened(&record, &origin, now).is_some()
        };
        let network = 0x2001_0db8_u128 << 96;
        assert!(told(&mut refusals, refusal(None, network + 1)));
        assert!(!told(&mut refusals, refusal(None, network + 2)), "the same network");
        let lines = (0..100_000_u128).filter(|at| told(&mut refusals, refusal(None, network + (at << 64)))).count();
        assert!(lines <= limits::REFUSAL_KINDS_UNKNOWN_MAX + 1, "{lines}");
        assert!(told(&mut refusals, refusal(Some("a"), 1)), "a flood of strangers leaves room for tenants");
        assert!(!told(&mut refusals, refusal(Some("a"), 2)), "a tenant is one peer wherever it is");
        let all: u64 = refusals.rest().into_iter().map(|(_, count)| count).sum();
        assert_eq!(all, 100_004 - lines as u64 - 2);
    }
}

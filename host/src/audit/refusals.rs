//! Refusals. Clients can cause them as fast as they like, so each kind is written once a period, with its count.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use firebox_contract::limits;

use super::{Record, RepeatedRecord, RequestOrigin, Subject};
use crate::system::log_rate_limit::LogRateLimiter;

/// The kind of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RefusalKind {
    event: String,
    tenant: String,
    key: String,
    /// The network of the client, if no tenant is known.
    address: Option<IpAddr>,
    decision: String,
    outcome: String,
}

/// Recent refusals.
#[derive(Debug)]
pub(super) struct Refusals {
    limiter: LogRateLimiter<RefusalKind>,
    unknown: usize,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { limiter: LogRateLimiter::new(limits::REFUSALS_PERIOD), unknown: 0 }
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

    /// The same kind for all tenants and addresses.
    fn of_all(self) -> Self {
        Self { tenant: String::new(), key: String::new(), address: None, ..self }
    }

    fn is_unknown(&self) -> bool {
        self.tenant.is_empty()
    }

    /// The record of `count` further refusals of this kind.
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

/// The network of an address: the first 64 bits of an IPv6 address, because one client may use all addresses of it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => six
            .to_ipv4_mapped()
            .map_or_else(|| IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))), IpAddr::V4),
    }
}

impl Refusals {
    /// Counts a refusal. If it is to be written, returns the number of unwritten ones before it.
    pub(super) fn happened(&mut self, record: &Record<'_>, origin: &RequestOrigin, now: Instant) -> Option<u64> {
        let kind = RefusalKind::of(record, origin);
        if self.limiter.knows(&kind) {
            return self.limiter.happened(kind, now);
        }
        let full = self.limiter.kinds() >= limits::REFUSAL_KINDS_MAX
            || (kind.is_unknown() && self.unknown >= limits::REFUSAL_KINDS_UNKNOWN_MAX);
        if full {
            return self.limiter.happened(kind.of_all(), now);
        }
        self.unknown += usize::from(kind.is_unknown());
        self.limiter.happened(kind, now)
    }

    pub(super) fn kinds(&self) -> usize {
        self.limiter.kinds()
    }

    /// The kinds whose counts are due to be written.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(RefusalKind, u64)> {
        let due = self.limiter.due(now);
        self.unknown = self.limiter.count(RefusalKind::is_unknown);
        due
    }

    /// All unwritten counts.
    pub(super) fn unwritten(&mut self) -> Vec<(RefusalKind, u64)> {
        self.unknown = 0;
        self.limiter.unwritten()
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
    fn addresses_of_one_network_are_one_client_and_the_table_is_bounded() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let is_written = |refusals: &mut Refusals, (record, origin): (Record<'_>, RequestOrigin)| {
            refusals.happened(&record, &origin, now).is_some()
        };
        let network = 0x2001_0db8_u128 << 96;
        assert!(is_written(&mut refusals, refusal(None, network + 1)));
        assert!(!is_written(&mut refusals, refusal(None, network + 2)), "the same network");
        let lines =
            (0..100_000_u128).filter(|at| is_written(&mut refusals, refusal(None, network + (at << 64)))).count();
        assert!(lines <= limits::REFUSAL_KINDS_UNKNOWN_MAX + 1, "{lines}");
        assert!(is_written(&mut refusals, refusal(Some("a"), 1)), "unknown clients leave room for tenants");
        assert!(!is_written(&mut refusals, refusal(Some("a"), 2)), "a tenant is one kind from any address");
        let all: u64 = refusals.unwritten().into_iter().map(|(_, count)| count).sum();
        assert_eq!(all, 100_004 - lines as u64 - 2);
    }
}

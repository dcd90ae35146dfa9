//! What a request takes of its tenant before its body is read: a place among the tenant's requests at a time, and its rate.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use firebox_contract::{Caller, Error, Reservation, limits};

use super::meters::Meters;
use super::reservation::{TenantReservation, check_rate, note_limited};
use super::{Tenancy, TenantEntry};

/// Requests of one kind are counted together. One kind never takes the places of another: who waits for an approval must be
/// able to give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// Answers and embeddings.
    Generation,
    /// Changes of sessions.
    Session,
    /// Messages of MCP clients. A tool call in one takes its rate when it runs; here it is only looked at.
    Mcp,
    /// Decisions about tool calls, which belong to requests that took their rate.
    Approval,
}

/// How many kinds there are.
pub(super) const KINDS: usize = 4;

/// A request that its tenant has room for. Dropping it gives the place back.
pub struct Admitted {
    account: Option<TenantReservation>,
    in_flight: InFlight,
}

/// A place among a tenant's requests at a time, given back when it is dropped.
pub struct InFlight {
    meters: Arc<Meters>,
    kind: WorkKind,
}

impl Tenancy {
    /// Admits a request of this kind before anything of its body is read.
    ///
    /// # Errors
    /// `Error::Limited` when the tenant has as many requests under way as it may, or its rate is used up; as
    /// [`firebox_contract::Gate::admit`] for the rest.
    pub fn begin(&self, caller: &Caller, kind: WorkKind, request_id: &str) -> Result<Admitted, Error> {
        let entry = self.live(caller)?;
        self.audit_ready_for(caller)?;
        let Some(in_flight) = InFlight::take(&entry, kind) else {
            let full = kind.full(&entry);
            note_limited(self, &entry, caller, request_id, &full);
            return Err(full);
        };
        let account = match kind {
            WorkKind::Generation | WorkKind::Session => {
                Some(TenantReservation::open(self.clone(), entry, caller, None, request_id)?.without_model())
            }
            WorkKind::Mcp => {
                check_rate(self, &entry, caller, request_id)?;
                None
            }
            WorkKind::Approval => None,
        };
        Ok(Admitted { account, in_flight })
    }
}

impl Admitted {
    /// The account of the request, now that its model is known.
    ///
    /// # Errors
    /// `Error::Denied` for a model that the tenant may not use, `Error::Internal` when it was taken already.
    pub fn open_model(&mut self, model: &str) -> Result<Box<dyn Reservation>, Error> {
        let taken = || Error::Internal("the account of a request was taken twice".to_owned());
        let account = self.account.take().ok_or_else(taken)?.with_model(model)?;
        Ok(Box::new(account))
    }

    /// The place alone, for work that outlives its handler.
    #[must_use]
    pub fn into_in_flight(self) -> InFlight {
        self.in_flight
    }
}

impl InFlight {
    fn take(entry: &TenantEntry, kind: WorkKind) -> Option<Self> {
        let (meters, max) = (Arc::clone(&entry.meters), kind.max(entry));
        let more = |running: usize| (running < max).then_some(running + 1);
        meters.in_flight[kind as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self { meters, kind })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.meters.in_flight[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl WorkKind {
    fn max(self, entry: &TenantEntry) -> usize {
        match self {
            Self::Generation => entry.config.limits.in_flight_max,
            Self::Session => limits::SESSION_REQUESTS_IN_FLIGHT_MAX,
            Self::Mcp => limits::MCP_REQUESTS_IN_FLIGHT_MAX,
            Self::Approval => limits::APPROVAL_REQUESTS_IN_FLIGHT_MAX,
        }
    }

    fn full(self, entry: &TenantEntry) -> Error {
        let (tenant, max) = (&entry.id, self.max(entry));
        let what = match self {
            Self::Generation => "requests",
            Self::Session => "requests about sessions",
            Self::Mcp => "requests to /mcp",
            Self::Approval => "decisions about tool calls",
        };
        Error::Limited {
            message: format!(
                "tenant \"{tenant}\" already has {max} {what} under way, which is its limit; try again when one has ended"
            ),
            retry_after: Duration::from_secs(1),
        }
    }
}

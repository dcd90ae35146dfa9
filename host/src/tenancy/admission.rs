//! Admission of a request before its body is read: a slot among the tenant's requests at a time, and its rate.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use firebox_contract::{Caller, Error, Reservation, limits};

use super::meters::Meters;
use super::reservation::{TenantReservation, check_rate, log_limited};
use super::{Tenancy, TenantEntry};

/// The kind of a request. Each kind has slots of its own, so that a tenant whose requests all wait for approvals can still
/// send the approvals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// Answers and embeddings.
    Generation,
    /// Changes of sessions.
    Session,
    /// Messages of MCP clients. The rate is only checked here; each tool call in a message is counted when it runs.
    Mcp,
    /// Approvals of tool calls. Their requests were counted before.
    Approval,
}

/// The number of kinds.
pub(super) const KINDS: usize = 4;

/// An admitted request. Dropping it frees its slot.
pub struct AdmittedRequest {
    reservation: Option<TenantReservation>,
    in_flight: InFlight,
}

/// A slot among the requests of a tenant at a time. Dropping it frees the slot.
pub struct InFlight {
    meters: Arc<Meters>,
    kind: WorkKind,
}

impl Tenancy {
    /// Admits a request of this kind before its body is read.
    ///
    /// # Errors
    /// `Error::Limited` if all slots of the tenant are used or its rate is exceeded; else as
    /// [`firebox_contract::Gate::admit`].
    pub fn begin(&self, caller: &Caller, kind: WorkKind, request_id: &str) -> Result<AdmittedRequest, Error> {
        let entry = self.active_tenant(caller)?;
        self.audit_ready_for(caller)?;
        let Some(in_flight) = InFlight::take(&entry, kind) else {
            let full = kind.full(&entry);
            log_limited(self, &entry, caller, request_id, &full);
            return Err(full);
        };
        let reservation = match kind {
            WorkKind::Generation | WorkKind::Session => {
                Some(TenantReservation::open(self.clone(), entry, caller, None, request_id)?.without_model())
            }
            WorkKind::Mcp => {
                check_rate(self, &entry, caller, request_id)?;
                None
            }
            WorkKind::Approval => None,
        };
        Ok(AdmittedRequest { reservation, in_flight })
    }
}

impl AdmittedRequest {
    /// Takes the reservation of the request, for this model.
    ///
    /// # Errors
    /// `Error::Denied` for a model that the tenant may not use, `Error::Internal` if it was taken already.
    pub fn open_model(&mut self, model: &str) -> Result<Box<dyn Reservation>, Error> {
        let taken = || Error::Internal("the reservation of a request was taken twice".to_owned());
        let reservation = self.reservation.take().ok_or_else(taken)?.with_model(model)?;
        Ok(Box::new(reservation))
    }

    /// The slot alone, for work that continues after the handler.
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
            Self::Session => "session requests",
            Self::Mcp => "requests to /mcp",
            Self::Approval => "approval requests",
        };
        Error::Limited {
            message: format!(
                "tenant \"{tenant}\" already has {max} {what} running, its limit; retry when one has finished"
            ),
            retry_after: Duration::from_secs(1),
        }
    }
}

//! Who asks. Decided once at the door (invariant I7) and carried by everything below it.

use std::fmt;
use std::sync::Arc;

use crate::limits;
use crate::liveness::LivenessHandle;

/// Names a tenant. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// A tenant called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The authenticated origin of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The tenant whose limits, grants and caches apply.
    pub tenant: TenantId,
    /// The public part of the key it came with; empty where there is none.
    pub key: Arc<str>,
    /// Its share of a model when several tenants wait: twice the weight, twice the turns. At least 1.
    pub weight: u32,
    /// Requests this tenant may have at one model at a time, waiting ones included.
    pub in_flight_max: usize,
    /// Whether it may still go on.
    pub liveness: LivenessHandle,
}

impl Caller {
    /// `tenant` with an even share and no limit but the model's own.
    #[must_use]
    pub fn of(tenant: TenantId) -> Self {
        let liveness = LivenessHandle::default();
        Self { tenant, key: Arc::from(""), weight: 1, in_flight_max: limits::IN_FLIGHT_MAX, liveness }
    }

    /// The person at this machine's command line: a caller like any other, with limits of its own.
    #[must_use]
    pub fn local() -> Self {
        Self::of(TenantId::new("local"))
    }
}

//! The caller of a request. It is decided once, from the API key (invariant I7), and passed through all layers.

pub mod liveness;

use std::fmt;
use std::sync::Arc;

use self::liveness::LivenessHandle;
use crate::limits;

/// The id of a tenant. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The id of the tenant with this name.
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

/// The authenticated origin of a request: a tenant with its limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The tenant whose limits, grants and caches apply.
    pub tenant: TenantId,
    /// The public part of its API key; empty if there is none.
    pub key: Arc<str>,
    /// Its weight between tenants: a tenant with twice the weight gets twice the time of a model. At least 1.
    pub weight: u32,
    /// Maximum number of requests of this tenant at one model, including waiting ones.
    pub in_flight_max: usize,
    /// Whether its key is still valid.
    pub liveness: LivenessHandle,
}

impl Caller {
    /// A caller of `tenant` with weight 1 and no limits of its own.
    #[must_use]
    pub fn of(tenant: TenantId) -> Self {
        let liveness = LivenessHandle::default();
        Self { tenant, key: Arc::from(""), weight: 1, in_flight_max: limits::IN_FLIGHT_MAX, liveness }
    }

    /// The caller of the command line: tenant "local".
    #[must_use]
    pub fn local() -> Self {
        Self::of(TenantId::new("local"))
    }
}

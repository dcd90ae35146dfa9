//! The origins of running requests, for their records.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::limits;

/// The origin of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestOrigin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The id that the client gave the request, validated and of limited length.
    pub client_request: Option<Arc<str>>,
}

/// The origins of running requests, by request id.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestOrigins(Arc<Mutex<HashMap<Arc<str>, RequestOrigin>>>);

/// Keeps the origin of a running request until it is dropped.
#[derive(Debug)]
pub struct OriginGuard {
    origins: RequestOrigins,
    request: Arc<str>,
}

impl RequestOrigins {
    fn table(&self) -> MutexGuard<'_, HashMap<Arc<str>, RequestOrigin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, request: &str, origin: RequestOrigin) -> OriginGuard {
        let request: Arc<str> = Arc::from(request);
        let mut table = self.table();
        // The table has room for all connections. If it is full, records have no origin.
        if table.len() < limits::AUDIT_ORIGINS_MAX && origin != RequestOrigin::default() {
            table.insert(Arc::clone(&request), origin);
        }
        drop(table);
        OriginGuard { origins: self.clone(), request }
    }

    pub(super) fn of(&self, request: &str) -> Option<RequestOrigin> {
        self.table().get(request).cloned()
    }
}

impl Drop for OriginGuard {
    fn drop(&mut self) {
        self.origins.table().remove(&self.request);
    }
}

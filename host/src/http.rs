//! The HTTP API: a table of endpoints, the middleware in front of them, and answers in the shape of OpenAI's API.
//!
//! A request goes through `serve::connections` (limits of connections), the router built here, [`middleware`] (which
//! reads the columns of the endpoint's row in [`ROUTES`]), and the endpoint's handler in `endpoints`.

mod body;
mod endpoints;
mod middleware;
mod request;
mod response;
mod routes;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::routing::{MethodFilter, on};
use firebox_contract::Error;

pub(crate) use body::discard;
pub use endpoints::sessions::{SessionLocks, StorePermits};
pub use middleware::access_log::RefusalLog;
pub(crate) use middleware::paths::normalized;
pub use response::failure::Failure;
pub use routes::{
    Access, BodyLimit, Charge, Listeners, OriginCheck, Policy, Port, ROUTES, Route, TimeLimit, WhileDraining,
    probe_paths,
};

use crate::serve::App;
use crate::serve::connections::open_requests::OpenRequest;
use crate::tenancy::{AdmittedRequest, Tenant};

/// A request that the middleware let through to its endpoint.
struct ApiRequest {
    /// The id of the request in the log, the audit log and the answer.
    id: String,
    /// The limit on the bytes of the body, from the endpoint's row.
    body_limit: BodyLimit,
    parts: Parts,
    /// The variable parts of the path, decoded.
    params: Vec<(String, String)>,
    body: Body,
    /// The tenant of the request's key; `None` on an endpoint that needs no key.
    tenant: Option<Tenant>,
    slot: RequestSlot,
    /// What the tenant's limits admitted; `Some` where the row's charge is [`Charge::InFlight`].
    admitted: Option<AdmittedRequest>,
}

/// The request's count among its tenant's open requests; empty without a tenant.
#[derive(Debug, Clone, Default)]
struct RequestSlot(Option<Arc<OpenRequest>>);

impl RequestSlot {
    /// Counts the answer as one of the tenant's open streams.
    ///
    /// # Errors
    /// `Error::Limited` if the tenant has its maximum of open streams.
    fn begin_stream(&self) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |open| open.begin_stream())
    }
}

impl ApiRequest {
    /// The tenant.
    ///
    /// # Errors
    /// `Error::Internal` on an endpoint that needs no key.
    fn tenant(&self) -> Result<&Tenant, Failure> {
        let none = || Failure::from(Error::Internal("the endpoint reads a tenant and its row needs no key".to_owned()));
        self.tenant.as_ref().ok_or_else(none)
    }

    /// Takes what the tenant's limits admitted.
    ///
    /// # Errors
    /// `Error::Internal` on an endpoint whose charge is not [`Charge::InFlight`].
    fn admitted(&mut self) -> Result<AdmittedRequest, Failure> {
        let none = || Failure::from(Error::Internal("the endpoint's row has no in-flight charge".to_owned()));
        self.admitted.take().ok_or_else(none)
    }

    /// A variable part of the path; empty if the route has none of this name.
    fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// The variable parts of a path, if they are UTF-8 once they are decoded.
type PathParams = Result<RawPathParams, RawPathParamsRejection>;

/// Parses the body of a completion request and drops the result: an entry point for fuzz tests. `chat` selects the body
/// of `/v1/chat/completions`; otherwise it is that of `/v1/completions`.
///
/// # Errors
/// The failure that the client would get.
#[doc(hidden)]
pub fn read_completion_request(bytes: &[u8], chat: bool) -> Result<(), Failure> {
    let body = body::parse(bytes)?;
    if chat { request::chat(&body, None).map(drop) } else { request::text(&body).map(drop) }
}

/// The router of the endpoints that `port` has.
pub fn router(app: &Arc<App>, port: Port) -> Router {
    let mut router = Router::new();
    for route in ROUTES.iter().filter(|route| port.has(route.policy.listeners)) {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        let enter = move |State(app): State<Arc<App>>, params: PathParams, request: Request| {
            middleware::enter(app, route, params, request)
        };
        router = router.route(route.path, on(filter, enter));
    }
    router
        .fallback(middleware::unknown_path)
        .method_not_allowed_fallback(middleware::unknown_method)
        .with_state(Arc::clone(app))
}

//! The HTTP door: one table of routes, each behind a scope, all in the shape the official OpenAI clients expect.

mod approvals;
mod ask;
mod body;
mod busy;
mod chat;
mod content_encoding;
mod embeddings;
mod failure;
mod fields;
mod guard;
mod info;
mod live;
mod mcp;
mod paths;
mod record;
mod request_body;
mod sessions;
mod store_share;
mod stream;
mod turn;
pub mod wire;
mod work;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Response};
use axum::routing::{MethodFilter, on};
use firebox_contract::{BoxFuture, Error};

pub use busy::BusySessions;
pub use failure::Failure;
pub(crate) use paths::as_meant;
pub use record::RefusalLog;
pub(crate) use request_body::discard;
pub use store_share::StoreShares;

use crate::config::Scope;
use crate::serve::App;
use crate::serve::connections::tenants::TenantRequest;
use crate::tenancy::{AdmittedRequest, Tenant};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches the port: says nothing but which program it is and whether it lives.
    Open,
    /// A key with one of these scopes.
    Needs(&'static [Scope]),
}

/// One row of [`ROUTES`].
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{…}` for what varies.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    handler: Handler,
}

/// Answers one request.
type Handler = fn(Arc<App>, Call) -> BoxFuture<'static, Result<Response<Body>, Failure>>;

/// A request that passed the guard.
struct Call {
    id: String,
    parts: Parts,
    params: Vec<(String, String)>,
    body: Body,
    tenant: Option<Tenant>,
    open: OpenRequest,
    /// What was taken of the tenant, where the route does work.
    admitted: Option<AdmittedRequest>,
}

/// The tenant's share that a request takes, where it has a tenant.
#[derive(Debug, Clone, Default)]
struct OpenRequest(Option<Arc<TenantRequest>>);

impl OpenRequest {
    /// Counts the answer as a stream.
    ///
    /// # Errors
    /// `Error::Limited` where the tenant has as many as it may.
    fn begin_stream(&self) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |open| open.begin_stream())
    }
}

impl Call {
    /// Whose request it is.
    fn tenant(&self) -> Result<&Tenant, Failure> {
        let none = || Failure::from(Error::Internal("a route that needs a tenant is open".to_owned()));
        self.tenant.as_ref().ok_or_else(none)
    }

    /// What was taken of its tenant for it.
    fn admitted(&mut self) -> Result<AdmittedRequest, Failure> {
        let none = || Failure::from(Error::Internal("a route that does work was not admitted".to_owned()));
        self.admitted.take().ok_or_else(none)
    }

    /// A part of the path.
    fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// What varies in the path, if it is text once it is decoded.
type PathParams = Result<RawPathParams, RawPathParamsRejection>;

macro_rules! route {
    ($method:ident $path:literal $access:expr => $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            access: $access,
            handler: |app, call| Box::pin($handler(app, call)),
        }
    };
}

/// Who uses models at all may know which there are.
const ANY_MODEL: &[Scope] = &[Scope::Chat, Scope::Embed, Scope::Sessions];

/// Every endpoint. What is not here does not exist.
pub static ROUTES: &[Route] = &[
    route!(POST "/v1/chat/completions" Access::Needs(&[Scope::Chat]) => chat::chat_completions),
    route!(POST "/v1/completions" Access::Needs(&[Scope::Chat]) => chat::completions),
    route!(POST "/v1/embeddings" Access::Needs(&[Scope::Embed]) => embeddings::embeddings),
    route!(GET "/v1/models" Access::Needs(ANY_MODEL) => info::models),
    route!(GET "/v1/models/{*id}" Access::Needs(ANY_MODEL) => info::model),
    route!(POST "/v1/sessions" Access::Needs(&[Scope::Sessions]) => sessions::create),
    route!(GET "/v1/sessions" Access::Needs(&[Scope::Sessions]) => sessions::list),
    route!(GET "/v1/sessions/{id}" Access::Needs(&[Scope::Sessions]) => sessions::get),
    route!(DELETE "/v1/sessions/{id}" Access::Needs(&[Scope::Sessions]) => sessions::delete),
    route!(POST "/v1/sessions/{id}/messages" Access::Needs(&[Scope::Sessions]) => sessions::append),
    route!(POST "/v1/sessions/{id}/generate" Access::Needs(&[Scope::Sessions]) => chat::session_generate),
    route!(POST "/v1/sessions/{id}/fork" Access::Needs(&[Scope::Sessions]) => sessions::fork),
    route!(POST "/v1/sessions/{id}/pin" Access::Needs(&[Scope::Sessions]) => sessions::pin),
    route!(GET "/v1/usage" Access::Needs(&[Scope::Usage]) => info::usage),
    route!(GET "/v1/approvals" Access::Needs(&[Scope::Approve, Scope::Chat, Scope::Sessions]) => approvals::list),
    route!(POST "/v1/approvals/{id}" Access::Needs(&[Scope::Approve]) => approvals::answer),
    route!(GET "/metrics" Access::Needs(&[Scope::Metrics]) => info::metrics),
    route!(GET "/" Access::Open => info::about),
    route!(GET "/v1" Access::Open => info::about),
    route!(GET "/healthz" Access::Open => info::healthz),
    route!(GET "/readyz" Access::Open => info::readyz),
    route!(POST "/mcp" Access::Needs(&[Scope::Tools]) => mcp::mcp),
    route!(GET "/mcp" Access::Needs(&[Scope::Tools]) => mcp::mcp),
    route!(DELETE "/mcp" Access::Needs(&[Scope::Tools]) => mcp::mcp),
];

/// What is answered where the server has no room for a connection, and at its address for operators.
pub const PROBES: &[&str] = &["/healthz", "/readyz", "/metrics"];

/// Which routes a port has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// All.
    Whole,
    /// All but metrics, which another port has.
    WithoutAdmin,
    /// Probes and metrics.
    Admin,
}

impl Port {
    fn has(self, path: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::WithoutAdmin => path != "/metrics",
            Self::Admin => PROBES.contains(&path),
        }
    }
}

/// Reads the body of a request for text as its endpoint does, and forgets it: the way in for tests that send anything.
///
/// # Errors
/// What the client would be told.
#[doc(hidden)]
pub fn read_text_request(bytes: &[u8], chat: bool) -> Result<(), Failure> {
    let body = request_body::parse(bytes)?;
    if chat { ask::chat(&body, None).map(drop) } else { ask::text(&body).map(drop) }
}

/// The service behind a port.
pub fn router(app: &Arc<App>, port: Port) -> Router {
    let mut router = Router::new();
    for route in ROUTES.iter().filter(|route| port.has(route.path)) {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        let enter = move |State(app): State<Arc<App>>, params: PathParams, request: Request| {
            guard::enter(app, route, params, request)
        };
        router = router.route(route.path, on(filter, enter));
    }
    router.fallback(guard::unknown_path).method_not_allowed_fallback(guard::unknown_method).with_state(Arc::clone(app))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_route_is_without_a_scope() {
        let bare = |row: &&Route| matches!(row.access, Access::Needs([]));
        assert!(ROUTES.iter().find(bare).is_none());
    }

    #[test]
    fn only_the_probes_and_the_list_of_routes_are_open() {
        let open: Vec<&str> = ROUTES.iter().filter(|row| row.access == Access::Open).map(|row| row.path).collect();
        assert_eq!(open, ["/", "/v1", "/healthz", "/readyz"]);
    }

    /// What is written for people is what the router does, scopes included.
    #[test]
    fn the_page_about_serving_has_every_route_with_its_scopes() {
        let page = include_str!("../../specifications/reference/http.md");
        let rows: Vec<Vec<&str>> =
            page.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').collect()).collect();
        for route in ROUTES {
            let path = route.path.replace("{*id}", "{id}");
            let named = |cell: &str| cell.split(['`', ' ']).any(|word| word == path);
            let row = rows.iter().find(|row| row[1].contains(route.method.as_str()) && named(row[1]));
            let row = row.unwrap_or_else(|| panic!("{} {path} is not in the table", route.method));
            match route.access {
                Access::Open => assert_eq!(row[2].trim(), "none", "{path}"),
                Access::Needs(scopes) => {
                    for scope in scopes {
                        assert!(row[2].contains(scope.as_str()), "{path} needs {}", scope.as_str());
                    }
                }
            }
        }
    }

    #[test]
    fn every_route_has_a_method_the_router_knows_and_is_there_once() {
        for (at, row) in ROUTES.iter().enumerate() {
            assert!(MethodFilter::try_from(row.method.clone()).is_ok(), "{}", row.path);
            let twin = ROUTES.iter().skip(at + 1).find(|other| other.path == row.path && other.method == row.method);
            assert!(twin.is_none(), "{} {}", row.method, row.path);
        }
    }
}

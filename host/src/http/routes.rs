//! The table of endpoints. Everything that depends on the endpoint and that the middleware decides is a column here.
//!
//! To add an endpoint: a file with its handler in `http/endpoints/`, the file's `mod` line in `http/endpoints.rs`, and a row
//! in [`ROUTES`] with one of the policies below or a new one. `http/tests.rs` checks the effect of every column of
//! every row.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Response};
use firebox_contract::{BoxFuture, limits};

use super::{ApiRequest, Failure, endpoints};
use crate::config::Scope;
use crate::serve::App;
use crate::tenancy::WorkKind;

/// An endpoint.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for a variable part.
    pub path: &'static str,
    /// Which keys may use it.
    pub access: Access,
    /// What the middleware does with its requests.
    pub policy: Policy,
    pub(super) handler: Handler,
}

/// Answers one request.
type Handler = fn(Arc<App>, ApiRequest) -> BoxFuture<'static, Result<Response<Body>, Failure>>;

/// Which keys may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No key is needed. The answer says only which program answers, and whether it is alive and ready.
    Open,
    /// A key with one of these scopes.
    Needs(&'static [Scope]),
}

/// The columns of a row that the middleware reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What a request takes of its tenant's limits before its body is read.
    pub charge: Charge,
    /// What happens to its requests while the server shuts down.
    pub while_draining: WhileDraining,
    /// The longest time until the handler has answered.
    pub time_limit: TimeLimit,
    /// Whether the middleware checks the headers `host` and `origin`.
    pub origin_check: OriginCheck,
    /// The limit on the bytes of a body.
    pub body_limit: BodyLimit,
    /// Which listeners have it.
    pub listeners: Listeners,
    /// Whether a successful request gets a line in the log. Refused and failed requests are logged in any case.
    pub log_success: bool,
    /// Whether an event stream that is cut, because its key was revoked or expired, ends with an error event in the
    /// shape of OpenAI's API.
    pub error_event: bool,
}

/// What a request takes of its tenant's limits before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// Nothing.
    Nothing,
    /// One request of the tenant's rate.
    Rate,
    /// A slot among the tenant's running requests of this kind, and what [`WorkKind`] says about the rate.
    InFlight(WorkKind),
}

/// What happens to a request while the server shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileDraining {
    /// A new request is refused with 503, and the shutdown waits for a running one.
    Refused,
    /// It is answered, and the shutdown does not wait for it.
    Answered,
}

/// The longest time until a handler has answered. A stream may take longer: it is an answer once it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// `server.request_timeout`, and `limits::HTTP_TIMEOUT_SLACK` for the answer itself.
    RequestTimeout,
    /// This time, whatever the configuration.
    AtMost(Duration),
}

/// Whether the middleware checks the headers `host` and `origin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginCheck {
    /// By `server.hosts` and `server.origins`.
    Checked,
    /// Not at all: the answer is no secret, or the endpoint checks them by the rules of its protocol.
    Skipped,
}

/// The limit on the bytes of a body, as it was sent and as it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLimit {
    /// The endpoint reads no body. A body that is sent is ignored.
    NoBody,
    /// `server.body_bytes_max`.
    Server,
    /// This many bytes, or `server.body_bytes_max` if that is less.
    AtMost(usize),
}

impl BodyLimit {
    /// The limit in bytes, where the configuration allows `server_max`.
    #[must_use]
    pub fn bytes(self, server_max: usize) -> usize {
        match self {
            Self::NoBody => 0,
            Self::Server => server_max,
            Self::AtMost(max) => max.min(server_max),
        }
    }
}

/// Which listeners have an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listeners {
    /// The main listener.
    Main,
    /// The main and the admin listener. It is also answered on connections beyond their limit.
    Both,
    /// The admin listener, or the main one if there is no admin listener. It is also answered on connections beyond
    /// their limit.
    Admin,
}

/// A port of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The only port, with all endpoints.
    Only,
    /// The main port, next to an admin port.
    Main,
    /// The admin port (`server.admin_listen`).
    Admin,
}

impl Port {
    /// Whether the port has endpoints of these listeners.
    #[must_use]
    pub fn has(self, listeners: Listeners) -> bool {
        match self {
            Self::Only => true,
            Self::Main => listeners != Listeners::Admin,
            Self::Admin => listeners != Listeners::Main,
        }
    }
}

/// The paths that are also answered on connections beyond their limit.
#[must_use]
pub fn probe_paths() -> Vec<&'static str> {
    ROUTES.iter().filter(|route| route.policy.listeners != Listeners::Main).map(|route| route.path).collect()
}

/// Computes an answer or vectors.
const GENERATION: Policy = Policy {
    charge: Charge::InFlight(WorkKind::Generation),
    while_draining: WhileDraining::Refused,
    time_limit: TimeLimit::RequestTimeout,
    origin_check: OriginCheck::Checked,
    body_limit: BodyLimit::Server,
    listeners: Listeners::Main,
    log_success: true,
    error_event: true,
};

/// Creates or changes a session.
const SESSION_CHANGE: Policy = Policy { charge: Charge::InFlight(WorkKind::Session), ..GENERATION };

/// Deletes a session.
const SESSION_DELETE: Policy = Policy { charge: Charge::Rate, body_limit: BodyLimit::NoBody, ..GENERATION };

/// Reads something small.
const READ: Policy = Policy {
    charge: Charge::Nothing,
    while_draining: WhileDraining::Answered,
    body_limit: BodyLimit::NoBody,
    ..GENERATION
};

/// Reads the session file.
const SESSION_READ: Policy = Policy { charge: Charge::Rate, ..READ };

/// Decides about a tool call that a running request waits for.
const APPROVAL: Policy = Policy {
    charge: Charge::InFlight(WorkKind::Approval),
    while_draining: WhileDraining::Answered,
    body_limit: BodyLimit::AtMost(limits::APPROVAL_BODY_BYTES_MAX),
    ..GENERATION
};

/// Says which program answers.
const ABOUT: Policy = Policy { origin_check: OriginCheck::Skipped, log_success: false, ..READ };

/// Says whether the server is alive or ready. It is asked every few seconds.
const PROBE: Policy = Policy { listeners: Listeners::Both, ..ABOUT };

/// Metrics for the operator.
const METRICS: Policy = Policy { listeners: Listeners::Admin, ..READ };

/// A message of an MCP client. The MCP service checks `host` and `origin` itself and ends its own streams.
const MCP_MESSAGE: Policy = Policy {
    charge: Charge::InFlight(WorkKind::Mcp),
    time_limit: TimeLimit::AtMost(limits::REQUEST_TIMEOUT_MAX),
    origin_check: OriginCheck::Skipped,
    body_limit: BodyLimit::AtMost(limits::MCP_BODY_BYTES_MAX),
    error_event: false,
    ..GENERATION
};

/// The event stream of an MCP client.
const MCP_STREAM: Policy = Policy {
    charge: Charge::Nothing,
    while_draining: WhileDraining::Answered,
    body_limit: BodyLimit::NoBody,
    ..MCP_MESSAGE
};

/// The end of an MCP session.
const MCP_END: Policy = Policy { charge: Charge::Nothing, body_limit: BodyLimit::NoBody, ..MCP_MESSAGE };

/// A key that may use any model may list the models.
const ANY_MODEL: Access = Access::Needs(&[Scope::Chat, Scope::Embed, Scope::Sessions]);
const CHAT: Access = Access::Needs(&[Scope::Chat]);
const SESSIONS: Access = Access::Needs(&[Scope::Sessions]);
const TOOLS: Access = Access::Needs(&[Scope::Tools]);

macro_rules! route {
    ($method:ident $path:literal $access:expr, $policy:expr => $module:ident::$handler:ident) => {
        Route {
            method: Method::$method,
            path: $path,
            access: $access,
            policy: $policy,
            handler: |app, request| Box::pin(endpoints::$module::$handler(app, request)),
        }
    };
}

/// All endpoints: method, path, access, policy, handler. A path that is not listed here is answered with 404.
pub static ROUTES: &[Route] = &[
    route!(POST "/v1/chat/completions" CHAT, GENERATION => completions::chat_completions),
    route!(POST "/v1/completions" CHAT, GENERATION => completions::completions),
    route!(POST "/v1/embeddings" Access::Needs(&[Scope::Embed]), GENERATION => encoders::embeddings),
    route!(POST "/v1/rerank" Access::Needs(&[Scope::Embed]), GENERATION => encoders::rerank),
    route!(GET "/v1/models" ANY_MODEL, READ => models::list),
    route!(GET "/v1/models/{*id}" ANY_MODEL, READ => models::get),
    route!(POST "/v1/sessions" SESSIONS, SESSION_CHANGE => sessions::create),
    route!(GET "/v1/sessions" SESSIONS, SESSION_READ => sessions::list),
    route!(GET "/v1/sessions/{id}" SESSIONS, SESSION_READ => sessions::get),
    route!(DELETE "/v1/sessions/{id}" SESSIONS, SESSION_DELETE => sessions::delete),
    route!(POST "/v1/sessions/{id}/messages" SESSIONS, SESSION_CHANGE => sessions::append),
    route!(POST "/v1/sessions/{id}/generate" SESSIONS, GENERATION => completions::session_generate),
    route!(POST "/v1/sessions/{id}/fork" SESSIONS, SESSION_CHANGE => sessions::fork),
    route!(POST "/v1/sessions/{id}/pin" SESSIONS, SESSION_CHANGE => sessions::pin),
    route!(GET "/v1/usage" Access::Needs(&[Scope::Usage]), READ => usage::usage),
    route!(GET "/v1/approvals" Access::Needs(&[Scope::Approve, Scope::Chat, Scope::Sessions]), READ => approvals::list),
    route!(POST "/v1/approvals/{id}" Access::Needs(&[Scope::Approve]), APPROVAL => approvals::answer),
    route!(GET "/metrics" Access::Needs(&[Scope::Metrics]), METRICS => status::metrics),
    route!(GET "/" Access::Open, ABOUT => status::about),
    route!(GET "/v1" Access::Open, ABOUT => status::about),
    route!(GET "/healthz" Access::Open, PROBE => status::healthz),
    route!(GET "/readyz" Access::Open, PROBE => status::readyz),
    route!(POST "/mcp" TOOLS, MCP_MESSAGE => mcp::mcp),
    route!(GET "/mcp" TOOLS, MCP_STREAM => mcp::mcp),
    route!(DELETE "/mcp" TOOLS, MCP_END => mcp::mcp),
];

#[cfg(test)]
mod tests {
    use axum::routing::MethodFilter;

    use super::*;

    #[test]
    fn every_route_that_needs_a_key_names_a_scope() {
        let without = |row: &&Route| matches!(row.access, Access::Needs([]));
        assert!(ROUTES.iter().find(without).is_none());
    }

    #[test]
    fn only_the_probes_and_the_list_of_endpoints_need_no_key() {
        let open: Vec<&str> = ROUTES.iter().filter(|row| row.access == Access::Open).map(|row| row.path).collect();
        assert_eq!(open, ["/", "/v1", "/healthz", "/readyz"]);
    }

    #[test]
    fn the_http_reference_lists_every_route_with_its_scopes() {
        let page = include_str!("../../../specifications/reference/http.md");
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
    fn every_route_is_listed_once_with_a_method_that_the_router_has() {
        for (at, row) in ROUTES.iter().enumerate() {
            assert!(MethodFilter::try_from(row.method.clone()).is_ok(), "{}", row.path);
            let twin = ROUTES.iter().skip(at + 1).find(|other| other.path == row.path && other.method == row.method);
            assert!(twin.is_none(), "{} {}", row.method, row.path);
        }
    }
}

//! The streamable HTTP transport as a tower service, for one path of a router.

mod accept;
mod post;
mod refusal;

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use firebox_contract::{BoxFuture, Caller, Error, ToolSource, limits};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;

use self::accept::AcceptedTypes;
use super::handler::McpHandler;
use super::lists::ToolList;
use super::sessions::SessionStore;
use super::{ServerContext, ServerInfo};

/// Finds the caller of a request from its head and extensions. A request without a caller gets 401.
pub type CallerOf = Arc<dyn Fn(&Parts) -> Option<Caller> + Send + Sync>;

/// The router's id of a request, an extension of the request. Usage and audit records of its calls have this id.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

pub(super) type HttpReply = Response<BoxBody<Bytes, Infallible>>;

/// Origins that are always allowed: web pages of this machine.
const LOCAL_ORIGINS: [&str; 2] = ["http://localhost:*", "http://127.0.0.1:*"];
/// Host names that are always allowed. Other names that resolve to this machine (DNS rebinding) are refused.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const SESSION_ID: &str = "mcp-session-id";
const METHOD: &str = "mcp-method";
const LISTEN: &str = "subscriptions/listen";
const SUBSCRIPTIONS_MAX: usize = limits::MCP_SUBSCRIPTIONS_PER_TENANT_MAX;

/// The options of the HTTP transport.
#[derive(Debug, Clone)]
pub struct ServerHttpOptions {
    /// Further host names that requests may use (`example.org` or `example.org:8443`), in addition to those of this machine.
    pub hosts: Vec<String>,
    /// Further allowed origins (`https://example.org:443`, or `:*` for any port), in addition to those of this machine.
    pub origins: Vec<String>,
    /// Maximum bytes of a request's body.
    pub body_bytes_max: usize,
    /// The server's description for clients.
    pub info: ServerInfo,
}

impl Default for ServerHttpOptions {
    fn default() -> Self {
        let (hosts, origins) = (Vec::new(), Vec::new());
        Self { hosts, origins, body_bytes_max: limits::MCP_BODY_BYTES_MAX, info: ServerInfo::firebox() }
    }
}

/// A set of tools as an HTTP service. Clones share all state.
#[derive(Clone)]
pub struct HttpTools {
    inner: StreamableHttpService<McpHandler, SessionStore>,
    shared: Arc<ServerContext>,
    sessions: Arc<SessionStore>,
    caller_of: CallerOf,
}

/// The tower service that offers `source` to the caller that `caller_of` finds in a request. It answers at the path that it is
/// nested at. It needs a tokio runtime with its timer enabled.
#[must_use]
pub fn http_service(source: Arc<dyn ToolSource>, options: ServerHttpOptions, caller_of: CallerOf) -> HttpTools {
    let shared = ServerContext::new(source, options.info);
    let sessions = Arc::new(SessionStore::new(Arc::clone(&shared.subscriptions)));
    let named = |local: &[&str], more: Vec<String>| -> Vec<String> {
        local.iter().map(|name| (*name).to_owned()).chain(more).collect()
    };
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(named(&LOCAL_HOSTS, options.hosts))
        .with_allowed_origins(named(&LOCAL_ORIGINS, options.origins))
        .enforce_origin_validation()
        .with_sse_keep_alive(Some(limits::MCP_KEEP_ALIVE_PERIOD))
        .with_json_response(true)
        .with_max_request_body_bytes(options.body_bytes_max);
    let ours = Arc::clone(&shared);
    let inner =
        StreamableHttpService::new(move || Ok(McpHandler::new(Arc::clone(&ours), None)), Arc::clone(&sessions), config);
    HttpTools { inner, shared, sessions, caller_of }
}

impl HttpTools {
    /// Refuses new requests, ends subscriptions, waits up to `time` for running calls, and then ends every session. Returns the
    /// number of calls that were cancelled.
    pub async fn drain(&self, time: Duration) -> usize {
        self.shared.closing.cancel();
        if tokio::time::timeout(time, self.shared.calls.free()).await.is_ok() {
            // The last answer is complete. Wait for it to be sent.
            tokio::time::sleep(limits::MCP_FLUSH_TIME.min(time)).await;
        }
        let cut = self.shared.calls.taken();
        self.inner.config.cancellation_token.cancel();
        cut
    }

    async fn handle<B>(&self, request: Request<B>) -> HttpReply
    where
        B: http_body::Body + Send + 'static,
        B::Error: Display,
    {
        if self.shared.closing.is_cancelled() {
            let error = Error::Unavailable("the server is stopping; try again soon".to_owned());
            return refusal::of(&error, Value::Null);
        }
        let (mut parts, body) = request.into_parts();
        let Some(caller) = (self.caller_of)(&parts) else {
            let error = Error::Unauthorized("missing or invalid API key; send Authorization: Bearer KEY".to_owned());
            return refusal::of(&error, Value::Null);
        };
        if parts.method == Method::POST {
            return self.post(parts, body, caller).await;
        }
        if let Some(id) = text(&parts.headers, SESSION_ID).filter(|id| !self.sessions.is_of(id, &caller.tenant)) {
            return refusal::of(&post::no_session(id), Value::Null);
        }
        if parts.method == Method::GET && AcceptedTypes::of(&parts.headers).events {
            accept::events(&mut parts.headers);
        }
        let ends = parts.method == Method::DELETE;
        let mut reply = self.forward(Request::from_parts(parts, Full::new(Bytes::new())), caller, &Value::Null).await;
        // rmcp's 202 means that something is still to be done. Clients in Python take it for a failure.
        if ends && reply.status() == StatusCode::ACCEPTED {
            *reply.status_mut() = StatusCode::NO_CONTENT;
        }
        reply
    }

    /// The answer of rmcp to the message with `id`, or the refusal of a part that rmcp called.
    async fn forward(&self, mut request: Request<Full<Bytes>>, caller: Caller, id: &Value) -> HttpReply {
        // Only this method mirrors parameters in headers. rmcp compares them by the tool's schema.
        let tools = match text(request.headers(), METHOD) {
            Some("tools/call") => Some(self.shared.lists.of(&*self.shared.source, &caller).await),
            _ => None,
        };
        request.extensions_mut().insert(caller.clone());
        let scope = Arc::new(RequestScope { caller, tools, refused: Mutex::default() });
        let reply = REQUEST_SCOPE.scope(Arc::clone(&scope), self.inner.handle(request)).await;
        match scope.take_refusal() {
            Some(error) => refusal::of(&error, id.clone()),
            None => refusal::in_json(reply, id).await,
        }
    }
}

impl<B> tower::Service<Request<B>> for HttpTools
where
    B: http_body::Body + Send + 'static,
    B::Data: Send + 'static,
    B::Error: Display,
{
    type Response = HttpReply;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpReply, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.handle(request).await) })
    }
}

tokio::task_local! {
    static REQUEST_SCOPE: Arc<RequestScope>;
}

/// The request that is being answered, for the parts that rmcp calls without passing the request.
pub(super) struct RequestScope {
    pub(super) caller: Caller,
    tools: Option<ToolList>,
    refused: Mutex<Option<Error>>,
}

impl RequestScope {
    /// Answers the request with `error` instead of rmcp's answer.
    pub(super) fn refuse(&self, error: Error) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take_refusal(&self) -> Option<Error> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) fn this_request() -> Option<Arc<RequestScope>> {
    REQUEST_SCOPE.try_with(Arc::clone).ok()
}

pub(super) fn tools_of_this_request() -> Option<ToolList> {
    this_request()?.tools.clone()
}

/// The error for a tenant that has reached its maximum number of event streams.
pub(super) fn too_many_subscriptions() -> Error {
    let message = format!("too many event streams: a tenant may have {SUBSCRIPTIONS_MAX}; close one of them");
    Error::Limited { message, retry_after: limits::MCP_RETRY_AFTER }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

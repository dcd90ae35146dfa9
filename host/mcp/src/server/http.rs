//! The streamable HTTP transport as a tower service, for one path of somebody's router.

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
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;

use self::accept::Accepts;
use super::door::Door;
use super::lists::List;
use super::sessions::Sessions;
use super::{ServerInfo, Shared};

/// Who asks, from what the request's head and its router know; nobody is refused with 401.
pub type CallerOf = Arc<dyn Fn(&Parts) -> Option<Caller> + Send + Sync>;

/// How the router calls a request; an extension of it. Calls are accounted for under this id.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

type Reply = Response<BoxBody<Bytes, Infallible>>;

/// Web pages of this machine may ask; those of other places need naming.
const LOCAL_ORIGINS: [&str; 2] = ["http://localhost:*", "http://127.0.0.1:*"];
/// Names of this machine, so that a foreign name that resolves to it (DNS rebinding) is refused.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const SESSION_ID: &str = "mcp-session-id";
const METHOD: &str = "mcp-method";
const LISTEN: &str = "subscriptions/listen";
const MOST: usize = limits::MCP_SUBSCRIPTIONS_PER_TENANT_MAX;

/// How the HTTP door is set up.
#[derive(Debug, Clone)]
pub struct ServerHttpOptions {
    /// Names that requests may call this server by (`example.org` or `example.org:8443`) beside those of this machine.
    pub hosts: Vec<String>,
    /// Web pages that may ask (`https://example.org:443`, or `:*` for any port) beside those of this machine.
    pub origins: Vec<String>,
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// What clients are told.
    pub info: ServerInfo,
}

impl Default for ServerHttpOptions {
    fn default() -> Self {
        let (hosts, origins) = (Vec::new(), Vec::new());
        Self { hosts, origins, body_bytes_max: limits::MCP_BODY_BYTES_MAX, info: ServerInfo::firebox() }
    }
}

/// A set of tools as an HTTP service. Clones share everything.
#[derive(Clone)]
pub struct HttpTools {
    inner: StreamableHttpService<Door, Sessions>,
    shared: Arc<Shared>,
    sessions: Arc<Sessions>,
    caller_of: CallerOf,
}

/// The tower service that offers `source` to whomever `caller_of` finds in a request. It answers below the path that
/// it is nested at. Needs a tokio runtime with its timer enabled.
#[must_use]
pub fn http_service(source: Arc<dyn ToolSource>, options: ServerHttpOptions, caller_of: CallerOf) -> HttpTools {
    let shared = Shared::new(source, options.info);
    let sessions = Arc::new(Sessions::new(Arc::clone(&shared.listeners)));
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
        StreamableHttpService::new(move || Ok(Door::new(Arc::clone(&ours), None)), Arc::clone(&sessions), config);
    HttpTools { inner, shared, sessions, caller_of }
}

impl HttpTools {
    /// Refuses new requests, ends those that only listen, lets running calls end for at most `time`, then ends every
    /// session. Returns how many calls were cut off.
    pub async fn drain(&self, time: Duration) -> usize {
        self.shared.closing.cancel();
        if tokio::time::timeout(time, self.shared.calls.free()).await.is_ok() {
            // The last answer is made; this is for its way out.
            tokio::time::sleep(limits::MCP_FLUSH_TIME.min(time)).await;
        }
        let cut = self.shared.calls.taken();
        self.inner.config.cancellation_token.cancel();
        cut
    }

    async fn handle<B>(&self, request: Request<B>) -> Reply
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
            let error = Error::Unauthorized("no key that is known here; send Authorization: Bearer KEY".to_owned());
            return refusal::of(&error, Value::Null);
        };
        if parts.method == Method::POST {
            return self.post(parts, body, caller).await;
        }
        if let Some(id) = text(&parts.headers, SESSION_ID).filter(|id| !self.sessions.is_of(id, &caller.tenant)) {
            return refusal::of(&post::no_session(id), Value::Null);
        }
        if parts.method == Method::GET && Accepts::of(&parts.headers).events {
            accept::events(&mut parts.headers);
        }
        self.forward(Request::from_parts(parts, Full::new(Bytes::new())), caller, &Value::Null).await
    }

    /// What rmcp answers, or what its parts refused meanwhile, to the message with `id`.
    async fn forward(&self, mut request: Request<Full<Bytes>>, caller: Caller, id: &Value) -> Reply {
        // Only then are parameters mirrored in headers, which are compared by the tool's schema.
        let tools = match text(request.headers(), METHOD) {
            Some("tools/call") => Some(self.shared.lists.of(&*self.shared.source, &caller).await),
            _ => None,
        };
        request.extensions_mut().insert(caller.clone());
        let asked = Arc::new(Asked { caller, tools, refused: Mutex::default() });
        let reply = ASKED.scope(Arc::clone(&asked), self.inner.handle(request)).await;
        match asked.take_refusal() {
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
    type Response = Reply;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Reply, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.handle(request).await) })
    }
}

tokio::task_local! {
    static ASKED: Arc<Asked>;
}

/// What is known about the request that is being answered, for the parts that rmcp calls without it.
pub(super) struct Asked {
    pub(super) caller: Caller,
    tools: Option<List>,
    refused: Mutex<Option<Error>>,
}

impl Asked {
    /// Answers the request with `error`, whatever rmcp would say.
    pub(super) fn refuse(&self, error: Error) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take_refusal(&self) -> Option<Error> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) fn this_request() -> Option<Arc<Asked>> {
    ASKED.try_with(Arc::clone).ok()
}

pub(super) fn tools_of_this_request() -> Option<List> {
    this_request()?.tools.clone()
}

/// What is said where a tenant has as many streams as it may.
pub(super) fn too_many_listen() -> Error {
    let message = format!("too many requests listen already: a tenant may have {MOST}; end one of them");
    Error::Limited { message, retry_after: limits::MCP_RETRY_AFTER }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

//! One live connection: the list of tools, calls within their times, and whether it still answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::limits::{MCP_CLIENT_CALLS_MAX, MCP_CLIENT_CLOSE_GRACE, MCP_CLIENT_HEALTH_TIMEOUT};
use firebox_contract::{Progress, ToolDefinition};
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, DiscoverRequest, DiscoverRequestParams, ErrorData,
    JsonObject, ListToolsRequest, PaginatedRequestParams, PingRequest, ServerResult, SubscriptionFilter,
};
use rmcp::service::{Peer, RequestHandle, RunningService, ServiceError, Subscription};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::catalog::Offer;
use super::child::Stderr;
use super::handler::{Handler, ProgressTable, Report};
use super::http;
use super::listing::{LeftOut, Listing};
use super::opening::Dialect;
use super::result::{self, Reading};
use super::spec::ServerSpec;
use super::transport::Fate;
use super::wire::{CALL_RESULT, Exchange, LOST, SAID};

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAbout {
    /// The protocol revision agreed on.
    pub revision: String,
    /// Its name and version, where it gives them.
    pub software: Option<String>,
}

/// How a request ended without its answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing came for this long; what the server did meanwhile.
    Timeout(Duration, Option<String>),
    /// The connection ended.
    Closed(String),
    /// The server said no.
    Rejected(ErrorData),
    /// What came is no answer to this.
    Unexpected(String),
}

/// A connection that has shaken hands.
#[derive(Debug)]
pub(super) struct Connection {
    spec: Arc<ServerSpec>,
    peer: Peer<RoleClient>,
    progress: Arc<ProgressTable>,
    fate: Arc<Fate>,
    exchange: Arc<Exchange>,
    calls: Semaphore,
    offer: Mutex<Offer>,
    left_out: Mutex<Vec<LeftOut>>,
    heard: Mutex<Instant>,
    proven: AtomicBool,
    /// Something went wrong; whether the server still answers is to be found out.
    pub(super) suspect: Notify,
    /// The server says that its list changed.
    pub(super) list_changed: Arc<Notify>,
    /// What the server says about itself.
    pub(super) about: ServerAbout,
    legacy: bool,
    dialect: Dialect,
}

/// What a connection begins with.
pub(super) struct Parts {
    pub(super) progress: Arc<ProgressTable>,
    pub(super) list_changed: Arc<Notify>,
    pub(super) dialect: Dialect,
}

/// What runs a connection; whoever holds it ends the connection by dropping it.
pub(super) struct Engine {
    service: RunningService<RoleClient, Handler>,
    stderr: Stderr,
}

impl Engine {
    pub(super) fn new(service: RunningService<RoleClient, Handler>, stderr: Stderr) -> Self {
        Self { service, stderr }
    }

    /// Ends the connection and waits for its child, within bounds.
    pub(super) async fn close(mut self) {
        // The grace of the protocol's own drain, and of each step of ending a child.
        if self.service.close_with_timeout(MCP_CLIENT_CLOSE_GRACE * 5).await.is_err() {
            tracing::warn!("the task of an mcp connection did not end well");
        }
    }

    /// What the server said last on standard error.
    pub(super) async fn last_words(&mut self) -> Option<String> {
        self.stderr.last_words().await
    }
}

impl Connection {
    pub(super) fn new(
        spec: &Arc<ServerSpec>,
        service: &RunningService<RoleClient, Handler>,
        parts: Parts,
        fate: Arc<Fate>,
        exchange: Arc<Exchange>,
    ) -> Self {
        let info = service.peer().peer_info();
        let version = info.as_ref().map(|info| info.protocol_version.clone()).unwrap_or_default();
        let software = info.as_ref().and_then(|info| info.server_info.as_ref());
        let software = software.map(|about| format!("{} {}", about.name, about.version).trim_end().to_owned());
        let revision = match exchange.unknown_revision() {
            Some(said) => format!("{said} (not known here, spoken as {version})"),
            None => version.to_string(),
        };
        let legacy = version.has_initialize();
        let dialect = match parts.dialect {
            Dialect::FirstHttp => Dialect::FirstHttp,
            _ if legacy => Dialect::Older,
            _ => Dialect::Newest,
        };
        Self {
            spec: Arc::clone(spec),
            peer: service.peer().clone(),
            progress: parts.progress,
            fate,
            exchange,
            calls: Semaphore::new(MCP_CLIENT_CALLS_MAX),
            offer: Mutex::default(),
            left_out: Mutex::default(),
            heard: Mutex::new(Instant::now()),
            proven: AtomicBool::new(false),
            suspect: Notify::new(),
            list_changed: parts.list_changed,
            about: ServerAbout { revision, software },
            legacy,
            dialect,
        }
    }

    /// How it is spoken to.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The tools that are not offered, and why.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a call has ended well here.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// When the server last said something that was asked for.
    pub(super) fn heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that are running.
    pub(super) fn busy(&self) -> bool {
        self.calls.available_permits() < MCP_CLIENT_CALLS_MAX
    }

    /// The tools, under their own names.
    pub(super) fn offer(&self) -> Offer {
        Arc::clone(&self.offer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why it ended.
    pub(super) fn why(&self) -> &str {
        self.fate.why()
    }

    /// Whether it ended because it said too much.
    pub(super) fn is_flooded(&self) -> bool {
        self.fate.is_flooded()
    }

    /// Ends when nothing can be heard any more.
    pub(super) async fn gone(&self) {
        self.fate.gone().await;
    }

    /// Whether this connection can still carry a call.
    pub(super) fn is_gone(&self) -> bool {
        self.fate.is_gone() || self.peer.is_transport_closed()
    }

    /// Calls a tool by its own name.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: JsonObject,
        progress: &dyn Progress,
    ) -> Result<Reading, Failure> {
        let Ok(permit) = timeout(self.spec.call_timeout, self.calls.acquire()).await else {
            return Err(Failure::Timeout(self.spec.call_timeout, None));
        };
        let _permit = permit.map_err(|_| Failure::Closed("the connection was closed".to_owned()))?;
        let request = CallToolRequest::new(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments));
        let times = Times { silence: self.spec.call_timeout, total: self.spec.total_timeout };
        match self.request(ClientRequest::CallToolRequest(request), times, progress).await {
            Ok(answer) => {
                let result = call_result(answer)?;
                self.proven.store(true, Ordering::Relaxed);
                Ok(result)
            }
            Err(failure) => {
                if !matches!(failure, Failure::Rejected(_)) {
                    self.suspect.notify_one();
                }
                Err(failure)
            }
        }
    }

    /// Asks whether the server still answers; a refusal is an answer.
    pub(super) async fn health(&self) -> Result<(), Failure> {
        let request = if self.legacy {
            ClientRequest::PingRequest(PingRequest::default())
        } else {
            ClientRequest::DiscoverRequest(DiscoverRequest::new(DiscoverRequestParams {}))
        };
        let times = Times { silence: MCP_CLIENT_HEALTH_TIMEOUT, total: MCP_CLIENT_HEALTH_TIMEOUT };
        match self.request(request, times, &()).await {
            Ok(_) | Err(Failure::Rejected(_) | Failure::Unexpected(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Lists the tools again. True when they are others than before.
    pub(super) async fn refresh(&self) -> Result<bool, Failure> {
        let (fresh, left_out) = self.list().await?;
        let fresh = Arc::new(fresh);
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = left_out;
        let mut offer = self.offer.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *offer != fresh;
        *offer = fresh;
        Ok(changed)
    }

    async fn list(&self) -> Result<(Vec<ToolDefinition>, Vec<LeftOut>), Failure> {
        let mut listing = Listing::default();
        let mut cursor = None;
        let times = Times { silence: self.spec.connect_timeout, total: self.spec.connect_timeout };
        loop {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
            let next = match self.request(request, times, &()).await {
                Ok(answer) => listing.page(&self.spec, answer)?,
                // A server without tools need not know the method.
                Err(Failure::Rejected(error)) if error.code == rmcp::model::ErrorCode::METHOD_NOT_FOUND => None,
                Err(failure) => return Err(failure),
            };
            if next.is_none() {
                return Ok(listing.finish(&self.spec));
            }
            cursor = next;
        }
    }

    /// Listens for changes of the list where the revision wants that to be asked for.
    pub(super) async fn subscribe(&self) -> Option<Subscription> {
        let info = self.peer.peer_info()?;
        let tells = info.capabilities.tools.as_ref().and_then(|tools| tools.list_changed).unwrap_or(false);
        if self.legacy || !tells {
            return None;
        }
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        match timeout(MCP_CLIENT_HEALTH_TIMEOUT, self.peer.listen(filter)).await {
            Ok(Ok(subscription)) => Some(subscription),
            Ok(Err(error)) => {
                tracing::debug!(server = %self.spec.name, %error, "changes of the list are not told");
                None
            }
            Err(_) => None,
        }
    }

    async fn request(
        &self,
        request: ClientRequest,
        times: Times,
        progress: &dyn Progress,
    ) -> Result<ServerResult, Failure> {
        let started = Instant::now();
        let end = started + times.total;
        let late = |after| Failure::Timeout(after, self.exchange.remarks().since(started));
        let sent = timeout(times.silence, self.progress.send(&self.peer, request)).await;
        let (handle, mut listener) = sent.map_err(|_| late(times.silence))?.map_err(|error| self.failure(error))?;
        let mut pending = Pending(Some(handle));
        let mut silence = Instant::now() + times.silence;
        let mut heard = Heard { done: f64::NEG_INFINITY, progress };
        loop {
            let Some(handle) = pending.0.as_mut() else {
                return Err(Failure::Closed(self.why().to_owned()));
            };
            tokio::select! {
                biased;
                answer = &mut handle.rx => {
                    pending.0 = None;
                    while let Ok(report) = listener.reports.try_recv() {
                        heard.tell(report);
                    }
                    *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    let closed = || Failure::Closed(self.why().to_owned());
                    return answer.map_err(|_| closed())?.map_err(|error| self.failure(error));
                }
                () = self.fate.gone() => {
                    pending.0 = None;
                    return Err(Failure::Closed(self.why().to_owned()));
                }
                Some(report) = listener.reports.recv() => {
                    silence = Instant::now() + times.silence;
                    heard.tell(report);
                }
                () = sleep_until(silence.min(end)) => {
                    return Err(late(if end <= silence { times.total } else { times.silence }));
                }
            }
        }
    }

    fn failure(&self, error: ServiceError) -> Failure {
        match error {
            ServiceError::McpError(error) if is_marked(&error, SAID) => Failure::Unexpected(error.message.to_string()),
            ServiceError::McpError(error) if is_marked(&error, LOST) => Failure::Closed(error.message.to_string()),
            ServiceError::McpError(error) => Failure::Rejected(error),
            ServiceError::TransportClosed => Failure::Closed(self.why().to_owned()),
            ServiceError::TransportSend(error) => match http::told(error.error.as_ref()) {
                Some((words, true)) => Failure::Unexpected(words),
                Some((words, false)) => Failure::Closed(words),
                None => Failure::Closed(http::chain(error.error.as_ref())),
            },
            ServiceError::Timeout { timeout } => Failure::Timeout(timeout, None),
            other => Failure::Unexpected(other.to_string()),
        }
    }
}

impl Failure {
    /// As people read it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Timeout(after, said) => {
                let said = said.as_ref().map(|said| format!(" (meanwhile {said})")).unwrap_or_default();
                format!("no answer within {} s{said}", after.as_secs_f32())
            }
            Self::Closed(why) | Self::Unexpected(why) => why.clone(),
            Self::Rejected(error) => rejection(error),
        }
    }
}

/// How long a request may take.
#[derive(Clone, Copy)]
struct Times {
    silence: Duration,
    total: Duration,
}

/// Who hears of progress, and how far it had come.
struct Heard<'a> {
    done: f64,
    progress: &'a dyn Progress,
}

impl Heard<'_> {
    fn tell(&mut self, report: Report) {
        // Reports may overtake each other on their way; progress never goes back.
        if report.done > self.done {
            self.done = report.done;
            self.progress.report(report.done, report.total, report.message.as_deref());
        }
    }
}

/// A request that is out. Dropped before its answer, it tells the server to stop.
struct Pending(Option<RequestHandle<RoleClient>>);

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(handle) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let told = timeout(MCP_CLIENT_HEALTH_TIMEOUT, handle.cancel(Some("the caller no longer waits".to_owned())));
            // A server that cannot be told finds out by its closed connection.
            drop(told.await);
        });
    }
}

fn call_result(answer: ServerResult) -> Result<Reading, Failure> {
    let value = match answer {
        ServerResult::CustomResult(custom) => custom.0,
        other => serde_json::to_value(other).map_err(|error| Failure::Unexpected(error.to_string()))?,
    };
    let value = match value {
        Value::Object(mut envelope) => envelope.remove(CALL_RESULT).unwrap_or(Value::Object(envelope)),
        value => value,
    };
    result::read(value).map_err(Failure::Unexpected)
}

/// A protocol error as people read it.
pub(super) fn rejection(error: &ErrorData) -> String {
    if is_marked(error, SAID) {
        error.message.to_string()
    } else {
        format!("{} (code {})", error.message, error.code.0)
    }
}

fn is_marked(error: &ErrorData, mark: &str) -> bool {
    error.data.as_ref().is_some_and(|data| data.get(mark).is_some())
}

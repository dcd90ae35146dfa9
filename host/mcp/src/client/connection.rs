//! One open connection: its tool list, calls with timeouts, and health checks.

pub(super) mod definition;
pub(super) mod handler;
pub(super) mod listing;
pub(super) mod opening;
pub(super) mod result;

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

use crate::McpError;
use crate::client::connection::handler::{Handler, ProgressReport, ProgressTable};
use crate::client::connection::listing::{Listing, RejectedTool};
use crate::client::connection::opening::Dialect;
use crate::client::connection::result::CallReading;
use crate::client::pool::catalog::OfferedTools;
use crate::client::spec::ServerSpec;
use crate::client::transport::CloseReason;
use crate::client::transport::child::StderrTail;
use crate::client::transport::http;
use crate::client::wire::{CALL_RESULT, CONNECTION_LOST, Exchange, UNREADABLE};

/// A server's description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The protocol revision agreed on.
    pub revision: String,
    /// Its name and version, if it gives them.
    pub software: Option<String>,
}

/// The failure of a request.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// No message came for this long. The text says what else the server sent in that time.
    Timeout(Duration, Option<String>),
    /// The connection ended.
    Closed(String),
    /// The server answered with an error.
    Rejected(ErrorData),
    /// The answer cannot be used.
    Unexpected(String),
}

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Connection {
    spec: Arc<ServerSpec>,
    peer: Peer<RoleClient>,
    progress: Arc<ProgressTable>,
    close_reason: Arc<CloseReason>,
    exchange: Arc<Exchange>,
    calls: Semaphore,
    offer: Mutex<OfferedTools>,
    rejected: Mutex<Vec<RejectedTool>>,
    /// Why the tools are not offered.
    withheld: Mutex<Option<McpError>>,
    last_answer: Mutex<Instant>,
    proven: AtomicBool,
    /// Notified when a call failed, so that a health check runs.
    pub(super) suspect: Notify,
    /// Notified when the server reports a change of its list.
    pub(super) list_changed: Arc<Notify>,
    /// The server's description of itself.
    pub(super) about: ServerIdentity,
    legacy: bool,
    dialect: Dialect,
}

/// The state that a connection shares with its handler.
pub(super) struct ConnectionParts {
    pub(super) progress: Arc<ProgressTable>,
    pub(super) list_changed: Arc<Notify>,
    pub(super) dialect: Dialect,
}

/// The service that runs a connection. Dropping it ends the connection.
pub(super) struct ConnectionRunner {
    service: RunningService<RoleClient, Handler>,
    stderr: StderrTail,
}

impl ConnectionRunner {
    pub(super) fn new(service: RunningService<RoleClient, Handler>, stderr: StderrTail) -> Self {
        Self { service, stderr }
    }

    /// Ends the connection and waits for its child process, with a time limit.
    pub(super) async fn close(mut self) {
        // One grace period for the protocol's own shutdown, and one for each step of ending a child process.
        if self.service.close_with_timeout(MCP_CLIENT_CLOSE_GRACE * 5).await.is_err() {
            tracing::warn!("the task of an mcp connection failed or did not end in time");
        }
    }

    /// The last lines that the server wrote to standard error.
    pub(super) async fn last_lines(&mut self) -> Option<String> {
        self.stderr.last_lines().await
    }
}

impl Connection {
    pub(super) fn new(
        spec: &Arc<ServerSpec>,
        service: &RunningService<RoleClient, Handler>,
        parts: ConnectionParts,
        close_reason: Arc<CloseReason>,
        exchange: Arc<Exchange>,
    ) -> Self {
        let info = service.peer().peer_info();
        let version = info.as_ref().map(|info| info.protocol_version.clone()).unwrap_or_default();
        let software = info.as_ref().and_then(|info| info.server_info.as_ref());
        let software = software.map(|about| format!("{} {}", about.name, about.version).trim_end().to_owned());
        let revision = match exchange.unknown_revision() {
            Some(named) => format!("{named} (unknown to this host, which uses {version})"),
            None => version.to_string(),
        };
        let legacy = version.has_initialize();
        let dialect = match parts.dialect {
            Dialect::LegacySse => Dialect::LegacySse,
            _ if legacy => Dialect::Older,
            _ => Dialect::Newest,
        };
        Self {
            spec: Arc::clone(spec),
            peer: service.peer().clone(),
            progress: parts.progress,
            close_reason,
            exchange,
            calls: Semaphore::new(MCP_CLIENT_CALLS_MAX),
            offer: Mutex::default(),
            rejected: Mutex::default(),
            withheld: Mutex::default(),
            last_answer: Mutex::new(Instant::now()),
            proven: AtomicBool::new(false),
            suspect: Notify::new(),
            list_changed: parts.list_changed,
            about: ServerIdentity { revision, software },
            legacy,
            dialect,
        }
    }

    /// The dialect of the connection.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The tools that are not offered, with the reasons.
    pub(super) fn rejected(&self) -> Vec<RejectedTool> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The reason why none of the server's tools is offered, if its list is not the accepted one.
    pub(super) fn withheld(&self) -> Option<McpError> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a call has succeeded on this connection.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// The time of the last answer of the server.
    pub(super) fn last_answer(&self) -> Instant {
        *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls are running.
    pub(super) fn busy(&self) -> bool {
        self.calls.available_permits() < MCP_CLIENT_CALLS_MAX
    }

    /// The tools, with their own names.
    pub(super) fn offer(&self) -> OfferedTools {
        Arc::clone(&self.offer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The reason why the connection ended.
    pub(super) fn close_reason(&self) -> &str {
        self.close_reason.text()
    }

    /// Whether it ended because the server sent too much.
    pub(super) fn is_flooded(&self) -> bool {
        self.close_reason.is_flooded()
    }

    /// Waits for the end of the connection.
    pub(super) async fn gone(&self) {
        self.close_reason.gone().await;
    }

    /// Whether the connection has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.close_reason.is_gone() || self.peer.is_transport_closed()
    }

    /// Calls a tool by its own name.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: JsonObject,
        progress: &dyn Progress,
    ) -> Result<CallReading, RequestFailure> {
        let Ok(permit) = timeout(self.spec.call_timeout, self.calls.acquire()).await else {
            return Err(RequestFailure::Timeout(self.spec.call_timeout, None));
        };
        let _permit = permit.map_err(|_| RequestFailure::Closed("the connection was closed".to_owned()))?;
        let request = CallToolRequest::new(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments));
        let times = RequestTimeouts { silence: self.spec.call_timeout, total: self.spec.total_timeout };
        match self.request(ClientRequest::CallToolRequest(request), times, progress).await {
            Ok(answer) => {
                let result = call_result(answer)?;
                self.proven.store(true, Ordering::Relaxed);
                Ok(result)
            }
            Err(failure) => {
                if !matches!(failure, RequestFailure::Rejected(_)) {
                    self.suspect.notify_one();
                }
                Err(failure)
            }
        }
    }

    /// Checks that the server still answers. An error is an answer, too.
    pub(super) async fn health(&self) -> Result<(), RequestFailure> {
        let request = if self.legacy {
            ClientRequest::PingRequest(PingRequest::default())
        } else {
            ClientRequest::DiscoverRequest(DiscoverRequest::new(DiscoverRequestParams {}))
        };
        let times = RequestTimeouts { silence: MCP_CLIENT_HEALTH_TIMEOUT, total: MCP_CLIENT_HEALTH_TIMEOUT };
        match self.request(request, times, &()).await {
            Ok(_) | Err(RequestFailure::Rejected(_) | RequestFailure::Unexpected(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Reads the tool list again. Returns whether it changed. A list that was not accepted counts as an empty one.
    pub(super) async fn refresh(&self) -> Result<bool, RequestFailure> {
        let (fresh, rejected) = self.list().await?;
        let withheld = self.spec.withheld(&fresh);
        let fresh = Arc::new(if withheld.is_none() { fresh } else { Vec::new() });
        if let Some(error) = &withheld {
            tracing::warn!(server = %self.spec.name, "{error}");
        }
        let before =
            std::mem::replace(&mut *self.withheld.lock().unwrap_or_else(PoisonError::into_inner), withheld.clone());
        *self.rejected.lock().unwrap_or_else(PoisonError::into_inner) = rejected;
        let mut offer = self.offer.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *offer != fresh || before != withheld;
        *offer = fresh;
        Ok(changed)
    }

    async fn list(&self) -> Result<(Vec<ToolDefinition>, Vec<RejectedTool>), RequestFailure> {
        let mut listing = Listing::default();
        let mut cursor = None;
        let times = RequestTimeouts { silence: self.spec.connect_timeout, total: self.spec.connect_timeout };
        loop {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
            let next = match self.request(request, times, &()).await {
                Ok(answer) => listing.page(&self.spec, answer)?,
                // A server without tools need not implement the method.
                Err(RequestFailure::Rejected(error)) if error.code == rmcp::model::ErrorCode::METHOD_NOT_FOUND => None,
                Err(failure) => return Err(failure),
            };
            if next.is_none() {
                return Ok(listing.finish(&self.spec));
            }
            cursor = next;
        }
    }

    /// Subscribes to changes of the list, if the revision needs a subscription for that.
    pub(super) async fn subscribe(&self) -> Option<Subscription> {
        let info = self.peer.peer_info()?;
        let reports_changes = info.capabilities.tools.as_ref().and_then(|tools| tools.list_changed).unwrap_or(false);
        if self.legacy || !reports_changes {
            return None;
        }
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        match timeout(MCP_CLIENT_HEALTH_TIMEOUT, self.peer.listen(filter)).await {
            Ok(Ok(subscription)) => Some(subscription),
            Ok(Err(error)) => {
                tracing::debug!(server = %self.spec.name, %error, "the server accepts no subscription to list changes");
                None
            }
            Err(_) => None,
        }
    }

    async fn request(
        &self,
        request: ClientRequest,
        times: RequestTimeouts,
        progress: &dyn Progress,
    ) -> Result<ServerResult, RequestFailure> {
        let started = Instant::now();
        let end = started + times.total;
        let late = |after| RequestFailure::Timeout(after, self.exchange.warnings().since(started));
        let sent = timeout(times.silence, self.progress.send(&self.peer, request)).await;
        let (handle, mut listener) = sent.map_err(|_| late(times.silence))?.map_err(|error| self.failure(error))?;
        let mut pending = PendingRequest(Some(handle));
        let mut silence = Instant::now() + times.silence;
        let mut state = ProgressState { done: f64::NEG_INFINITY, progress };
        loop {
            let Some(handle) = pending.0.as_mut() else {
                return Err(RequestFailure::Closed(self.close_reason().to_owned()));
            };
            tokio::select! {
                biased;
                answer = &mut handle.rx => {
                    pending.0 = None;
                    while let Ok(report) = listener.reports.try_recv() {
                        state.forward(report);
                    }
                    *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    let closed = || RequestFailure::Closed(self.close_reason().to_owned());
                    return answer.map_err(|_| closed())?.map_err(|error| self.failure(error));
                }
                () = self.close_reason.gone() => {
                    pending.0 = None;
                    return Err(RequestFailure::Closed(self.close_reason().to_owned()));
                }
                Some(report) = listener.reports.recv() => {
                    silence = Instant::now() + times.silence;
                    state.forward(report);
                }
                () = sleep_until(silence.min(end)) => {
                    return Err(late(if end <= silence { times.total } else { times.silence }));
                }
            }
        }
    }

    fn failure(&self, error: ServiceError) -> RequestFailure {
        match error {
            ServiceError::McpError(error) if is_marked(&error, UNREADABLE) => {
                RequestFailure::Unexpected(error.message.to_string())
            }
            ServiceError::McpError(error) if is_marked(&error, CONNECTION_LOST) => {
                RequestFailure::Closed(error.message.to_string())
            }
            ServiceError::McpError(error) => RequestFailure::Rejected(error),
            ServiceError::TransportClosed => RequestFailure::Closed(self.close_reason().to_owned()),
            ServiceError::TransportSend(error) => match http::describe(error.error.as_ref()) {
                Some((message, true)) => RequestFailure::Unexpected(message),
                Some((message, false)) => RequestFailure::Closed(message),
                None => RequestFailure::Closed(http::chain(error.error.as_ref())),
            },
            ServiceError::Timeout { timeout } => RequestFailure::Timeout(timeout, None),
            other => RequestFailure::Unexpected(other.to_string()),
        }
    }
}

impl RequestFailure {
    /// The failure as a message.
    pub(super) fn message(&self) -> String {
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

/// The time limits of a request: without a message, and in total.
#[derive(Clone, Copy)]
struct RequestTimeouts {
    silence: Duration,
    total: Duration,
}

/// The receiver of progress reports, and the last reported progress.
struct ProgressState<'a> {
    done: f64,
    progress: &'a dyn Progress,
}

impl ProgressState<'_> {
    fn forward(&mut self, report: ProgressReport) {
        // Reports may arrive out of order. Progress that does not grow is not forwarded.
        if report.done > self.done {
            self.done = report.done;
            self.progress.report(report.done, report.total, report.message.as_deref());
        }
    }
}

/// A request without an answer yet. Dropping it sends a cancellation to the server.
struct PendingRequest(Option<RequestHandle<RoleClient>>);

impl Drop for PendingRequest {
    fn drop(&mut self) {
        let Some(handle) = self.0.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let sent = timeout(MCP_CLIENT_HEALTH_TIMEOUT, handle.cancel(Some("the caller no longer waits".to_owned())));
            // If the cancellation cannot be sent, the connection is closed and the server notices that.
            drop(sent.await);
        });
    }
}

fn call_result(answer: ServerResult) -> Result<CallReading, RequestFailure> {
    let value = match answer {
        ServerResult::CustomResult(custom) => custom.0,
        other => serde_json::to_value(other).map_err(|error| RequestFailure::Unexpected(error.to_string()))?,
    };
    let value = match value {
        Value::Object(mut envelope) => envelope.remove(CALL_RESULT).unwrap_or(Value::Object(envelope)),
        value => value,
    };
    result::read(value).map_err(RequestFailure::Unexpected)
}

/// A protocol error as a message.
pub(super) fn rejection(error: &ErrorData) -> String {
    if is_marked(error, UNREADABLE) {
        error.message.to_string()
    } else {
        format!("{} (code {})", error.message, error.code.0)
    }
}

fn is_marked(error: &ErrorData, mark: &str) -> bool {
    error.data.as_ref().is_some_and(|data| data.get(mark).is_some())
}

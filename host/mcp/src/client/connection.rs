//! One live connection: the handshake, the list of tools, calls within their times, and whether it still answers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::limits::{
    MCP_CLIENT_CALLS_MAX, MCP_CLIENT_CLOSE_GRACE, MCP_CLIENT_HEALTH_TIMEOUT, MCP_CLIENT_LIST_BYTES_MAX,
    MCP_CLIENT_PAGES_MAX, MCP_CLIENT_TOOL_NAME_BYTES_MAX, MCP_CLIENT_TOOLS_MAX,
};
use firebox_contract::{Progress, ToolDefinition};
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, DiscoverRequest, DiscoverRequestParams,
    ErrorData, JsonObject, ListToolsRequest, PaginatedRequestParams, PingRequest, ProtocolVersion, ServerResult,
    SubscriptionFilter, Tool,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, Peer, RequestHandle, RunningService, ServiceError, Subscription,
    serve_client_with_lifecycle_and_ct,
};
use rmcp::transport::Transport;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::catalog::Offer;
use super::child::{self, Stderr};
use super::handler::{Handler, ProgressTable, Report};
use super::spec::{ServerSpec, ServerTransport};
use super::transport::{Fate, Watched};
use super::{content, http};
use crate::McpError;

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
    /// Nothing came for this long.
    Timeout(Duration),
    /// The connection ended.
    Closed(String),
    /// The server said no.
    Rejected(ErrorData),
    /// The answer is no answer to this.
    Unexpected(String),
}

/// A connection that has shaken hands.
#[derive(Debug)]
pub(super) struct Connection {
    spec: Arc<ServerSpec>,
    peer: Peer<RoleClient>,
    progress: Arc<ProgressTable>,
    fate: Arc<Fate>,
    calls: Semaphore,
    offer: Mutex<Offer>,
    heard: Mutex<Instant>,
    proven: AtomicBool,
    /// Something went wrong; whether the server still answers is to be found out.
    pub(super) suspect: Notify,
    /// The server says that its list changed.
    pub(super) list_changed: Arc<Notify>,
    /// What the server says about itself.
    pub(super) about: ServerAbout,
    legacy: bool,
}

/// What runs a connection; whoever holds it ends the connection by dropping it.
pub(super) struct Engine {
    service: RunningService<RoleClient, Handler>,
    stderr: Stderr,
}

impl Engine {
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

/// Starts or reaches the server, agrees on a revision and lists its tools, all within its connect timeout. The newest
/// revision is offered first; `legacy` says that this server is known to want an old one.
pub(super) async fn open(
    spec: &Arc<ServerSpec>,
    alive: &Arc<AtomicUsize>,
    legacy: bool,
) -> Result<(Connection, Engine), McpError> {
    let failed = |reason: &str| McpError::Connect { server: spec.name.clone(), reason: spec.redact(reason) };
    let newest = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    };
    let all = async {
        let first = if legacy { ClientLifecycleMode::Initialize } else { newest.clone() };
        let refused = match attempt(spec, alive, first).await {
            Ok(opened) => return Ok(opened),
            Err(refused) => refused,
        };
        let second = match refused.late {
            // So slow to start that it was taken for an old one: it is not.
            true => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
            false if legacy => newest,
            // Some old servers end, or close the connection, at a first message they do not know.
            false => ClientLifecycleMode::Initialize,
        };
        // The first failure is the one that tells.
        attempt(spec, alive, second).await.map_err(|_| refused.error)
    };
    match timeout(spec.connect_timeout, all).await {
        Ok(result) => result,
        Err(_) => Err(failed(&format!(
            "it did not finish the handshake within {} s; raise its connect timeout if it is slow to start",
            spec.connect_timeout.as_secs_f32()
        ))),
    }
}

/// An attempt that failed.
struct Refused {
    error: McpError,
    /// It answered the newest revision's question, after an older one's was asked.
    late: bool,
}

impl From<McpError> for Refused {
    fn from(error: McpError) -> Self {
        Self { error, late: false }
    }
}

async fn attempt(
    spec: &Arc<ServerSpec>,
    alive: &Arc<AtomicUsize>,
    mode: ClientLifecycleMode,
) -> Result<(Connection, Engine), Refused> {
    let fate = Arc::new(Fate::default());
    match &spec.transport {
        ServerTransport::Stdio(server) => {
            let (transport, stderr) = child::spawn(spec, server, &fate, alive)?;
            handshake(spec, Watched::new(transport, Arc::clone(&fate)), stderr, fate, mode).await
        }
        ServerTransport::Http(server) => {
            let transport = Watched::new(http::open(spec, server)?, Arc::clone(&fate));
            handshake(spec, transport, Stderr::default(), fate, mode).await
        }
    }
}

async fn handshake<T: Transport<RoleClient> + 'static>(
    spec: &Arc<ServerSpec>,
    transport: T,
    mut stderr: Stderr,
    fate: Arc<Fate>,
    mode: ClientLifecycleMode,
) -> Result<(Connection, Engine), Refused> {
    let progress = Arc::new(ProgressTable::default());
    let list_changed = Arc::new(Notify::new());
    let handler =
        Handler { server: spec.name.clone(), progress: Arc::clone(&progress), list_changed: Arc::clone(&list_changed) };
    let served = serve_client_with_lifecycle_and_ct(handler, transport, mode, CancellationToken::new()).await;
    let service = match served {
        Ok(service) => service,
        Err(error) => {
            let late = matches!(error, ClientInitializeError::ConflictInitResponseId(..));
            let mut reason = if fate.is_gone() { fate.why().to_owned() } else { http::chain(&error) };
            if let Some(words) = stderr.last_words().await {
                reason = format!("{reason}; it said: {words}");
            }
            let error = McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) };
            return Err(Refused { error, late });
        }
    };
    let connection = Connection::new(spec, &service, progress, fate, list_changed);
    let mut engine = Engine { service, stderr };
    connection.fate.settle();
    if let Err(failure) = connection.refresh().await {
        let mut reason = format!("it did not list its tools: {}", failure.words());
        if let Some(words) = engine.last_words().await {
            reason = format!("{reason}; it said: {words}");
        }
        return Err(McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) }.into());
    }
    Ok((connection, engine))
}

impl Connection {
    fn new(
        spec: &Arc<ServerSpec>,
        service: &RunningService<RoleClient, Handler>,
        progress: Arc<ProgressTable>,
        fate: Arc<Fate>,
        list_changed: Arc<Notify>,
    ) -> Self {
        let info = service.peer().peer_info();
        let version = info.as_ref().map(|info| info.protocol_version.clone()).unwrap_or_default();
        let software = info.as_ref().and_then(|info| info.server_info.as_ref());
        let software = software.map(|about| format!("{} {}", about.name, about.version));
        Self {
            spec: Arc::clone(spec),
            peer: service.peer().clone(),
            progress,
            fate,
            calls: Semaphore::new(MCP_CLIENT_CALLS_MAX),
            offer: Mutex::default(),
            heard: Mutex::new(Instant::now()),
            proven: AtomicBool::new(false),
            suspect: Notify::new(),
            list_changed,
            about: ServerAbout { revision: version.to_string(), software },
            legacy: version.has_initialize(),
        }
    }

    /// Whether an old revision was agreed on.
    pub(super) fn is_legacy(&self) -> bool {
        self.legacy
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
    ) -> Result<CallToolResult, Failure> {
        let Ok(permit) = timeout(self.spec.call_timeout, self.calls.acquire()).await else {
            return Err(Failure::Timeout(self.spec.call_timeout));
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
        let fresh = Arc::new(self.list().await?);
        let mut offer = self.offer.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *offer != fresh;
        *offer = fresh;
        Ok(changed)
    }

    async fn list(&self) -> Result<Vec<ToolDefinition>, Failure> {
        let mut tools = Vec::new();
        let mut names = HashSet::new();
        let (mut cursor, mut bytes) = (None, 0);
        let times = Times { silence: self.spec.connect_timeout, total: self.spec.connect_timeout };
        for _ in 0..MCP_CLIENT_PAGES_MAX {
            let params = PaginatedRequestParams::default().with_cursor(cursor.take());
            let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
            let (page, next) = match self.request(request, times, &()).await {
                Ok(answer) => page(answer)?,
                // A server without tools need not know the method.
                Err(Failure::Rejected(error)) if error.code == rmcp::model::ErrorCode::METHOD_NOT_FOUND => {
                    return Ok(tools);
                }
                Err(failure) => return Err(failure),
            };
            for tool in page.into_iter().filter(|tool| self.spec.offers(&tool.name)) {
                match content::definition(&tool) {
                    Some(definition) if names.insert(definition.name.clone()) => {
                        bytes += content::size(&definition);
                        tools.push(definition);
                    }
                    _ => {
                        tracing::warn!(server = %self.spec.name, tool = content::cut(&tool.name, MCP_CLIENT_TOOL_NAME_BYTES_MAX), "a tool is not offered: no name, \
                                        a name it shares, or a schema that is too large")
                    }
                }
                if tools.len() > MCP_CLIENT_TOOLS_MAX || bytes > MCP_CLIENT_LIST_BYTES_MAX {
                    tracing::warn!(server = %self.spec.name, "its list is too long; further tools are not offered");
                    tools.pop();
                    return Ok(tools);
                }
            }
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(tools),
            }
        }
        tracing::warn!(server = %self.spec.name, max = MCP_CLIENT_PAGES_MAX, "further pages of tools are not read");
        Ok(tools)
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
        let end = Instant::now() + times.total;
        let sent = timeout(times.silence, self.progress.send(&self.peer, request)).await;
        let (handle, mut listener) =
            sent.map_err(|_| Failure::Timeout(times.silence))?.map_err(|error| self.failure(error))?;
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
                    return Err(Failure::Timeout(if end <= silence { times.total } else { times.silence }));
                }
            }
        }
    }

    fn failure(&self, error: ServiceError) -> Failure {
        match error {
            ServiceError::McpError(error) => Failure::Rejected(error),
            ServiceError::TransportClosed => Failure::Closed(self.why().to_owned()),
            ServiceError::TransportSend(error) => Failure::Closed(http::chain(&error)),
            ServiceError::Timeout { timeout } => Failure::Timeout(timeout),
            other => Failure::Unexpected(other.to_string()),
        }
    }
}

impl Failure {
    /// As people read it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Timeout(after) => format!("no answer within {} s", after.as_secs_f32()),
            Self::Closed(why) | Self::Unexpected(why) => why.clone(),
            Self::Rejected(error) => format!("{} (code {})", error.message, error.code.0),
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

fn call_result(answer: ServerResult) -> Result<CallToolResult, Failure> {
    match answer {
        ServerResult::CallToolResult(result) => Ok(result),
        // A result without content says that it is done.
        ServerResult::EmptyResult(_) | ServerResult::TaskAckResult(_) => Ok(CallToolResult::success(Vec::new())),
        ServerResult::InputRequiredResult(_) => {
            Err(Failure::Unexpected("it asks for more input, which this host does not give".to_owned()))
        }
        ServerResult::CreateTaskResult(_) => {
            Err(Failure::Unexpected("it made a task of the call, which this host did not ask for".to_owned()))
        }
        _ => Err(Failure::Unexpected("its answer is not the result of a call".to_owned())),
    }
}

/// One page of tools. A tool that is not well formed is left out and does not cost the others their place.
fn page(answer: ServerResult) -> Result<(Vec<Tool>, Option<String>), Failure> {
    match answer {
        ServerResult::ListToolsResult(list) => Ok((list.tools, list.next_cursor)),
        ServerResult::CustomResult(custom) => {
            let Some(tools) = custom.0.get("tools").and_then(|tools| tools.as_array()) else {
                return Err(Failure::Unexpected("its answer is not a list of tools".to_owned()));
            };
            let good = tools.iter().filter_map(|tool| serde_json::from_value(tool.clone()).ok()).collect();
            let next = custom.0.get("nextCursor").and_then(|next| next.as_str()).map(str::to_owned);
            Ok((good, next))
        }
        _ => Err(Failure::Unexpected("its answer is not a list of tools".to_owned())),
    }
}

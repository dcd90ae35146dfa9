//! The pool of connections to all MCP servers of a host, for all its callers.

pub(super) mod backoff;
pub(super) mod catalog;
pub(super) mod slot;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::limits::{
    MCP_CLIENT_CLOSE_GRACE, MCP_CLIENT_CONNECTIONS_MAX, MCP_CLIENT_IDLE_TIME, MCP_CLIENT_SERVERS_MAX,
    MCP_CLIENT_TIMEOUT_MAX, TOOL_ARGUMENTS_BYTES_MAX,
};
use firebox_contract::{
    BoxFuture, Caller, Error, Progress, ToolCall, ToolDefinition, ToolEffects, ToolOutcome, ToolSource,
};
use futures_util::future::join_all;
use rmcp::model::JsonObject;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::client::connection::listing::RejectedTool;
use crate::client::connection::result::CallReading;
use crate::client::connection::{Connection, RequestFailure, ServerIdentity};
use crate::client::pool::backoff::RetryBackoff;
use crate::client::pool::catalog::Catalog;
use crate::client::pool::slot::{PoolShared, ServerState, Slot};
use crate::client::spec::{ConnectionKey, ServerSpec};
use crate::{McpError, Revision};

/// Decides whether a caller may use the server of this name.
pub type Access = Arc<dyn Fn(&Caller, &str) -> bool + Send + Sync>;

/// The options of a pool.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Idle time after which a connection is closed. `None` means never.
    pub idle_time: Option<Duration>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { idle_time: Some(MCP_CLIENT_IDLE_TIME) }
    }
}

/// The status of a server over all its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// The best state of its connections, so that a failure of one tenant's connection does not show for all tenants.
    pub state: ServerState,
    /// The last failure of a connection, if one is down.
    pub last_error: Option<String>,
    /// The highest number of consecutive failures of its connections.
    pub failures: u32,
    /// The highest number of tools that one of its connections offers.
    pub tools: usize,
    /// Whether the host is ready only with this server.
    pub required: bool,
}

/// The result of connecting to a server.
#[derive(Debug, Clone)]
pub struct ServerReport {
    /// Its name.
    pub name: String,
    /// Whether the host is ready only with this server.
    pub required: bool,
    /// The server's description of itself and its tools with their own names, or the failure.
    pub result: Result<(ServerIdentity, Vec<ToolDefinition>), McpError>,
    /// The tools that it lists and that are not offered, with the reasons.
    pub rejected: Vec<RejectedTool>,
    /// The time until the tool list was read.
    pub elapsed: Duration,
}

/// A tool and the server that offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTool {
    /// The server's name.
    pub server: String,
    /// The name that the server gives the tool.
    pub own_name: String,
    /// The definition with the name that models see.
    pub shown: ToolDefinition,
}

/// MCP servers as one source of tools. Clones share the pool. When the last clone is dropped, the connections are cut and the
/// child processes killed. [`ClientPool::close`] ends them gracefully.
#[derive(Clone)]
pub struct ClientPool {
    inner: Arc<PoolInner>,
}

struct PoolInner {
    access: Access,
    common: Arc<PoolShared>,
    state: Mutex<PoolState>,
}

struct PoolState {
    specs: Vec<Arc<ServerSpec>>,
    slots: HashMap<ConnectionKey, (Arc<Slot>, JoinHandle<()>)>,
    /// The tasks of connections that have ended or are ending.
    ending: Vec<JoinHandle<()>>,
    closed: bool,
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPool").field("servers", &self.inner.lock().specs.len()).finish_non_exhaustive()
    }
}

impl PoolInner {
    fn lock(&self) -> std::sync::MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (slot, _) in state.slots.values() {
            slot.stop();
        }
    }
}

impl PoolState {
    /// Removes slots and tasks that have ended.
    fn sweep(&mut self) {
        self.ending.retain(|task| !task.is_finished());
        let over: Vec<ConnectionKey> =
            self.slots.iter().filter(|(_, (slot, _))| slot.is_closed()).map(|(key, _)| *key).collect();
        for key in over {
            self.ending.extend(self.slots.remove(&key).map(|(_, task)| task));
        }
    }

    /// The slot for `spec` and the tenant of `caller`. Starts one if there is none.
    fn slot(
        &mut self,
        spec: &Arc<ServerSpec>,
        caller: &Caller,
        common: &Arc<PoolShared>,
    ) -> Result<Arc<Slot>, McpError> {
        let key = spec.key(&caller.tenant);
        self.sweep();
        if let Some((slot, _)) = self.slots.get(&key) {
            return Ok(Arc::clone(slot));
        }
        let failed = |reason: String| McpError::Connect { server: spec.name.clone(), reason };
        if self.closed {
            return Err(failed("this host is shutting down".to_owned()));
        }
        if self.slots.len() >= MCP_CLIENT_CONNECTIONS_MAX {
            let free = self.slots.values().map(|(slot, _)| slot).filter(|slot| !slot.busy());
            let Some(oldest) = free.min_by_key(|slot| slot.used()).map(|slot| slot.key) else {
                return Err(failed(format!("all {MCP_CLIENT_CONNECTIONS_MAX} connections to mcp servers are in use")));
            };
            if let Some((slot, task)) = self.slots.remove(&oldest) {
                slot.stop();
                self.ending.push(task);
            }
        }
        let (slot, task) = Slot::start(spec, Caller::of(caller.tenant.clone()), common);
        self.slots.insert(key, (Arc::clone(&slot), task));
        Ok(slot)
    }
}

impl ClientPool {
    /// A pool of these servers. A server is started when a caller first needs it. `access` decides which caller may use which
    /// server.
    #[must_use]
    pub fn new(specs: Vec<ServerSpec>, access: Access) -> Self {
        Self::with_options(specs, access, PoolOptions::default())
    }

    /// As [`ClientPool::new`], with options.
    #[must_use]
    pub fn with_options(specs: Vec<ServerSpec>, access: Access, options: PoolOptions) -> Self {
        let common = Arc::new(PoolShared {
            revision: Revision::default(),
            alive: Arc::new(AtomicUsize::new(0)),
            idle_time: options.idle_time,
            backoff: RetryBackoff::default(),
        });
        let specs = specs.into_iter().map(Arc::new).collect();
        let state = PoolState { specs, slots: HashMap::new(), ending: Vec::new(), closed: false };
        Self { inner: Arc::new(PoolInner { access, common, state: Mutex::new(state) }) }
    }

    /// Checks the configuration of these servers.
    ///
    /// # Errors
    /// [`McpError::Spec`] names the first problem.
    pub fn check(specs: &[ServerSpec]) -> Result<(), McpError> {
        if specs.len() > MCP_CLIENT_SERVERS_MAX {
            return Err(McpError::Spec(format!(
                "{} mcp servers given, at most {MCP_CLIENT_SERVERS_MAX} are allowed",
                specs.len()
            )));
        }
        for (index, spec) in specs.iter().enumerate() {
            spec.check()?;
            if specs[..index].iter().any(|other| other.name == spec.name) {
                return Err(McpError::Spec(format!("two mcp servers are called \"{}\"; rename one", spec.name)));
            }
        }
        Ok(())
    }

    /// Replaces the servers. A connection stays if its server's configuration is unchanged and its tenant may still use the
    /// server. All other connections end now, with their calls.
    pub fn replace(&self, specs: Vec<ServerSpec>) {
        let specs: Vec<Arc<ServerSpec>> = specs.into_iter().map(Arc::new).collect();
        let mut state = self.inner.lock();
        let known = |slot: &Slot| specs.iter().any(|spec| **spec == *slot.spec);
        // A shared connection belongs to no single tenant.
        let may = |slot: &Slot| slot.spec.shared || (self.inner.access)(&slot.caller, &slot.spec.name);
        let stale = |slot: &Slot| !known(slot) || !may(slot);
        for (slot, _) in state.slots.values().filter(|(slot, _)| stale(slot)) {
            slot.stop();
        }
        state.sweep();
        state.specs = specs;
        drop(state);
        self.inner.common.revision.advance();
    }

    /// The status of each server, in the operator's order.
    #[must_use]
    pub fn status(&self) -> Vec<ServerStatus> {
        let state = self.inner.lock();
        let of = |spec: &Arc<ServerSpec>| {
            let slots: Vec<&Arc<Slot>> = state.slots.values().map(|(slot, _)| slot).collect();
            let mine = || slots.iter().filter(|slot| slot.spec.name == spec.name && !slot.is_closed());
            let has = |wanted: ServerState| mine().any(|slot| slot.state() == wanted);
            let order = [ServerState::Ready, ServerState::Connecting, ServerState::Down];
            ServerStatus {
                name: spec.name.clone(),
                state: order.into_iter().find(|state| has(*state)).unwrap_or(ServerState::Idle),
                last_error: mine().find_map(|slot| slot.last_error()).map(|error| error.to_string()),
                failures: mine().map(|slot| slot.failures()).max().unwrap_or(0),
                tools: mine()
                    .filter(|slot| slot.state() == ServerState::Ready)
                    .map(|s| s.known().len())
                    .max()
                    .unwrap_or(0),
                required: spec.required,
            }
        };
        state.specs.iter().map(of).collect()
    }

    /// Connects to every server of `caller` at the same time. Returns the results in the operator's order.
    pub async fn connect(&self, caller: &Caller) -> Vec<ServerReport> {
        join_all(self.specs(caller).into_iter().map(|spec| self.report(caller, spec))).await
    }

    /// Connects to the server `name`. Returns the result, or `None` if `caller` may not use such a server.
    pub async fn connect_to(&self, caller: &Caller, name: &str) -> Option<ServerReport> {
        let spec = self.specs(caller).into_iter().find(|spec| spec.name == name)?;
        Some(self.report(caller, spec).await)
    }

    /// The names of the caller's servers whose tools are not available now. Does not wait.
    #[must_use]
    pub fn absent(&self, caller: &Caller) -> Vec<String> {
        let state = self.inner.lock();
        let specs = state.specs.iter().filter(|spec| (self.inner.access)(caller, &spec.name));
        let ready = |spec: &&Arc<ServerSpec>| {
            let slot = state.slots.get(&spec.key(&caller.tenant));
            slot.is_some_and(|(slot, _)| slot.state() == ServerState::Ready && slot.last_error().is_none())
        };
        specs.filter(|spec| !ready(spec)).map(|spec| spec.name.clone()).collect()
    }

    async fn report(&self, caller: &Caller, spec: Arc<ServerSpec>) -> ServerReport {
        let started = Instant::now();
        let mut rejected = Vec::new();
        let result = match self.slot(caller, &spec) {
            // Return the failure itself and not the error that the server is down.
            Ok(slot) => match slot.ready(spec.connect_timeout).await {
                Ok(connection) => {
                    rejected = connection.rejected();
                    connection
                        .withheld()
                        .map_or(Ok(()), Err)
                        .map(|()| (connection.about.clone(), slot.known().as_ref().clone()))
                }
                Err(error) => Err(slot.last_error().unwrap_or(error)),
            },
            Err(error) => Err(error),
        };
        let (name, elapsed) = (spec.name.clone(), started.elapsed());
        ServerReport { name, required: spec.required, result, rejected, elapsed }
    }

    /// The tools that `caller` can call now, with their servers. Does not wait.
    #[must_use]
    pub fn listing(&self, caller: &Caller) -> Vec<ListedTool> {
        let catalog = self.catalog(caller);
        let ready = catalog.entries().iter().filter(|entry| entry.slot.state() == ServerState::Ready);
        ready
            .map(|entry| ListedTool {
                server: entry.slot.spec.name.clone(),
                own_name: entry.own.clone(),
                shown: entry.shown.clone(),
            })
            .collect()
    }

    /// The number of child processes of this pool.
    #[must_use]
    pub fn children(&self) -> usize {
        self.inner.common.alive.load(Ordering::SeqCst)
    }

    /// Ends every connection. Each child process gets the end of its input, then SIGTERM, then SIGKILL for its process group,
    /// with a grace period after each step. Returns the number of child processes that are left: 0 unless the system hangs.
    pub async fn close(&self) -> usize {
        let tasks: Vec<JoinHandle<()>> = {
            let mut state = self.inner.lock();
            state.closed = true;
            for (slot, _) in state.slots.values() {
                slot.stop();
            }
            let mut tasks = std::mem::take(&mut state.ending);
            tasks.extend(state.slots.drain().map(|(_, (_, task))| task));
            tasks
        };
        if timeout(MCP_CLIENT_CLOSE_GRACE * 6, join_all(tasks)).await.is_err() {
            tracing::warn!("some mcp connections did not end in time");
        }
        self.children()
    }

    /// Calls a tool by the names of its server and of the tool there.
    ///
    /// # Errors
    /// `McpError` if the call has no result. An error that the tool itself reports is an outcome.
    pub async fn call_server(
        &self,
        caller: &Caller,
        server: &str,
        tool: &str,
        arguments_json: &str,
        progress: &dyn Progress,
    ) -> Result<ToolOutcome, McpError> {
        let specs = self.specs(caller);
        let Some(spec) = specs.iter().find(|spec| spec.name == server) else {
            let names = specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(McpError::NotFound(format!("there is no mcp server \"{server}\"; there are: {names}")));
        };
        let (slot, connection) = self.connection(caller, spec, spec.connect_timeout).await?;
        connection.withheld().map_or(Ok(()), Err)?;
        let Some(definition) = slot.known().iter().find(|known| known.name == tool).cloned() else {
            let known = slot.known();
            let names = known.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(McpError::NotFound(format!("mcp server \"{server}\" has no tool \"{tool}\"; it has: {names}")));
        };
        run(&slot, tool, definition.effects, arguments_json, progress).await
    }

    fn specs(&self, caller: &Caller) -> Vec<Arc<ServerSpec>> {
        let specs = self.inner.lock().specs.clone();
        specs.into_iter().filter(|spec| (self.inner.access)(caller, &spec.name)).collect()
    }

    fn slot(&self, caller: &Caller, spec: &Arc<ServerSpec>) -> Result<Arc<Slot>, McpError> {
        let mut state = self.inner.lock();
        // Under the lock, so that no connection starts after `replace` has withdrawn the right to it.
        if !(self.inner.access)(caller, &spec.name) {
            return Err(McpError::NotFound(format!("there is no mcp server \"{}\"", spec.name)));
        }
        state.slot(spec, caller, &self.inner.common)
    }

    async fn connection(
        &self,
        caller: &Caller,
        spec: &Arc<ServerSpec>,
        again: Duration,
    ) -> Result<(Arc<Slot>, Arc<Connection>), McpError> {
        let slot = self.slot(caller, spec)?;
        let connection = slot.ready(again).await?;
        Ok((slot, connection))
    }

    /// The caller's tools, including those of servers that are down, because their names stay reserved.
    fn catalog(&self, caller: &Caller) -> Catalog {
        let slots = self.specs(caller).into_iter().filter_map(|spec| self.slot(caller, &spec).ok());
        Catalog::new(slots.map(|slot| (Arc::clone(&slot), slot.known())).collect())
    }

    async fn settle(&self, caller: &Caller) {
        let slots: Vec<Arc<Slot>> = self.specs(caller).iter().filter_map(|spec| self.slot(caller, spec).ok()).collect();
        // A failure is reported by `status`. Here the server just has no tools.
        join_all(slots.iter().map(|slot| slot.settled())).await;
    }
}

impl ToolSource for ClientPool {
    fn tools<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, Vec<ToolDefinition>> {
        Box::pin(async move {
            self.settle(caller).await;
            self.listing(caller).into_iter().map(|tool| tool.shown).collect()
        })
    }

    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(async move {
            let started = Instant::now();
            let mut catalog = self.catalog(caller);
            if catalog.find(&call.name).is_none() {
                // The tool may have been offered earlier. If its server is being connected, wait for it.
                let specs = self.specs(caller);
                drop(join_all(specs.iter().map(|spec| self.connection(caller, spec, spec.connect_timeout))).await);
                catalog = self.catalog(caller);
            }
            let Some(entry) = catalog.find(&call.name) else {
                return Err(Error::NotFound(format!("there is no tool \"{}\"", call.name)));
            };
            let effects = entry.shown.effects;
            let outcome = run(&entry.slot, &entry.own, effects, &call.arguments_json, progress).await;
            Ok(outcome.unwrap_or_else(|error| ToolOutcome {
                elapsed: started.elapsed(),
                ..ToolOutcome::error(entry.slot.spec.name.clone(), error.to_string())
            }))
        })
    }

    fn providers(&self, caller: &Caller) -> HashMap<String, String> {
        let named = |tool: ListedTool| (tool.shown.name, format!("mcp server \"{}\"", tool.server));
        self.listing(caller).into_iter().map(named).collect()
    }

    /// The maximum for all servers. The timeouts of each server end connecting and calling earlier.
    fn timeout(&self, _tool: &str) -> Duration {
        MCP_CLIENT_TIMEOUT_MAX
    }

    fn revision(&self) -> u64 {
        self.inner.common.revision.now()
    }

    fn changed(&self, seen: u64) -> BoxFuture<'_, u64> {
        self.inner.common.revision.after(seen)
    }
}

/// Runs one call. If the connection is lost and the tool is read-only or idempotent, the call is repeated once on the next
/// connection.
async fn run(
    slot: &Arc<Slot>,
    tool: &str,
    effects: ToolEffects,
    arguments_json: &str,
    progress: &dyn Progress,
) -> Result<ToolOutcome, McpError> {
    let started = Instant::now();
    let arguments = parse(tool, arguments_json)?;
    // The server may have come back with another list since the tool was looked up.
    let accepted = async || {
        let connection = slot.ready(slot.spec.connect_timeout).await?;
        connection.withheld().map_or(Ok(connection), Err)
    };
    let connection = accepted().await?;
    let mut result = connection.call(tool, arguments.clone(), progress).await;
    if matches!(result, Err(RequestFailure::Closed(_)))
        && (effects.read_only || effects.idempotent)
        && let Ok(connection) = accepted().await
    {
        result = connection.call(tool, arguments, progress).await;
    }
    let CallReading { content, blocks, is_error } = result.map_err(|failure| error(slot, tool, failure))?;
    let text = ToolOutcome::ok(slot.spec.name.clone(), content);
    Ok(ToolOutcome { blocks, is_error, elapsed: started.elapsed(), ..text })
}

fn parse(tool: &str, arguments_json: &str) -> Result<JsonObject, McpError> {
    let invalid = |reason: String| McpError::Arguments { tool: tool.to_owned(), reason };
    if arguments_json.len() > TOOL_ARGUMENTS_BYTES_MAX {
        return Err(invalid(format!("they have more than the {TOOL_ARGUMENTS_BYTES_MAX} bytes allowed")));
    }
    if arguments_json.trim().is_empty() {
        return Ok(JsonObject::new());
    }
    serde_json::from_str(arguments_json).map_err(|error| invalid(error.to_string()))
}

/// The failure of a call as an error that names server and tool.
fn error(slot: &Slot, tool: &str, failure: RequestFailure) -> McpError {
    let (server, tool) = (slot.spec.name.clone(), tool.to_owned());
    match failure {
        RequestFailure::Timeout(after, said) => {
            let meanwhile = said.map(|said| slot.spec.redact(&format!("; meanwhile {said}"))).unwrap_or_default();
            McpError::Timeout { server, tool, after, meanwhile }
        }
        RequestFailure::Closed(reason) => McpError::Lost { server, tool, reason: slot.spec.redact(&reason) },
        RequestFailure::Unexpected(reason) => McpError::Unusable { server, tool, reason: slot.spec.redact(&reason) },
        RequestFailure::Rejected(_) => {
            McpError::Rejected { server, tool, reason: slot.spec.redact(&failure.message()) }
        }
    }
}

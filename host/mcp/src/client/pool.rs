//! All servers of a host, for all its callers.

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

use super::backoff::Pace;
use super::catalog::Catalog;
use super::connection::{Connection, Failure, ServerAbout};
use super::listing::LeftOut;
use super::result::Reading;
use super::slot::{Common, ServerState, Slot};
use super::spec::{Key, ServerSpec};
use crate::{McpError, Revision};

/// Who may use which server: asked with the caller and the server's name.
pub type Access = Arc<dyn Fn(&Caller, &str) -> bool + Send + Sync>;

/// What a pool can be told beyond its servers.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Time without use after which a connection is closed; `None` for never.
    pub idle_time: Option<Duration>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { idle_time: Some(MCP_CLIENT_IDLE_TIME) }
    }
}

/// How a server is, over all its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// The best of its connections, so that one tenant's trouble is not everybody's.
    pub state: ServerState,
    /// Why a connection of it failed last, where one is down.
    pub last_error: Option<String>,
    /// Failures in a row of the connection that has most.
    pub failures: u32,
    /// Tools it offers, on the connection that has most.
    pub tools: usize,
    /// Whether the host is not ready without it.
    pub required: bool,
}

/// What came of connecting to a server.
#[derive(Debug, Clone)]
pub struct ServerReport {
    /// Its name.
    pub name: String,
    /// Whether the host is not ready without it.
    pub required: bool,
    /// What it says about itself and the tools it offers under their own names, or why not.
    pub result: Result<(ServerAbout, Vec<ToolDefinition>), McpError>,
    /// Tools that it lists and that are not offered, with the reasons.
    pub left_out: Vec<LeftOut>,
    /// Time until the list was there.
    pub elapsed: Duration,
}

/// A tool as models see it, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The server.
    pub server: String,
    /// The tool's own name there.
    pub own_name: String,
    /// The tool under the name models see.
    pub shown: ToolDefinition,
}

/// MCP servers as one source of tools. Cheap to clone; when the last clone is dropped, connections are cut and children
/// killed. [`ClientPool::close`] ends them with grace.
#[derive(Clone)]
pub struct ClientPool {
    inner: Arc<Inner>,
}

struct Inner {
    access: Access,
    common: Arc<Common>,
    state: Mutex<State>,
}

struct State {
    specs: Vec<Arc<ServerSpec>>,
    slots: HashMap<Key, (Arc<Slot>, JoinHandle<()>)>,
    /// Of connections that are over or ending.
    ending: Vec<JoinHandle<()>>,
    closed: bool,
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPool").field("servers", &self.inner.lock().specs.len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (slot, _) in state.slots.values() {
            slot.stop();
        }
    }
}

impl State {
    /// Forgets what is over, so that its memory and its place are free.
    fn sweep(&mut self) {
        self.ending.retain(|task| !task.is_finished());
        let over: Vec<Key> = self.slots.iter().filter(|(_, (slot, _))| slot.is_closed()).map(|(key, _)| *key).collect();
        for key in over {
            self.ending.extend(self.slots.remove(&key).map(|(_, task)| task));
        }
    }

    /// The slot for `spec` and the tenant of `caller`; starts it where there is none.
    fn slot(&mut self, spec: &Arc<ServerSpec>, caller: &Caller, common: &Arc<Common>) -> Result<Arc<Slot>, McpError> {
        let key = spec.key(&caller.tenant);
        self.sweep();
        if let Some((slot, _)) = self.slots.get(&key) {
            return Ok(Arc::clone(slot));
        }
        let failed = |reason: String| McpError::Connect { server: spec.name.clone(), reason };
        if self.closed {
            return Err(failed("this host is ending".to_owned()));
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
    /// A pool of these servers. Nothing is started before somebody asks; `access` says who may use which server.
    #[must_use]
    pub fn new(specs: Vec<ServerSpec>, access: Access) -> Self {
        Self::with_options(specs, access, PoolOptions::default())
    }

    /// As [`ClientPool::new`], and told more.
    #[must_use]
    pub fn with_options(specs: Vec<ServerSpec>, access: Access, options: PoolOptions) -> Self {
        let common = Arc::new(Common {
            revision: Revision::default(),
            alive: Arc::new(AtomicUsize::new(0)),
            idle_time: options.idle_time,
            pace: Pace::default(),
        });
        let specs = specs.into_iter().map(Arc::new).collect();
        let state = State { specs, slots: HashMap::new(), ending: Vec::new(), closed: false };
        Self { inner: Arc::new(Inner { access, common, state: Mutex::new(state) }) }
    }

    /// Whether these servers can be meant together.
    ///
    /// # Errors
    /// [`McpError::Spec`] names the first that cannot.
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

    /// Takes other servers instead. Connections stay whose server and credentials are the same as before and whose
    /// tenant may still use the server; the others end now, and with them their calls.
    pub fn replace(&self, specs: Vec<ServerSpec>) {
        let specs: Vec<Arc<ServerSpec>> = specs.into_iter().map(Arc::new).collect();
        let mut state = self.inner.lock();
        let known = |slot: &Slot| specs.iter().any(|spec| **spec == *slot.spec);
        // A connection that tenants share is nobody's own.
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

    /// How each server is, in the operator's order.
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

    /// Connects to every server of `caller`, at once, and says what came of it, in the operator's order.
    pub async fn connect(&self, caller: &Caller) -> Vec<ServerReport> {
        join_all(self.specs(caller).into_iter().map(|spec| self.report(caller, spec))).await
    }

    /// Connects to the server called `name`, if `caller` may use it, and says what came of it.
    pub async fn connect_to(&self, caller: &Caller, name: &str) -> Option<ServerReport> {
        let spec = self.specs(caller).into_iter().find(|spec| spec.name == name)?;
        Some(self.report(caller, spec).await)
    }

    /// The servers of `caller` whose tools are not there now. Waits for nobody.
    #[must_use]
    pub fn absent(&self, caller: &Caller) -> Vec<String> {
        let state = self.inner.lock();
        let specs = state.specs.iter().filter(|spec| (self.inner.access)(caller, &spec.name));
        let ready = |spec: &&Arc<ServerSpec>| {
            let slot = state.slots.get(&spec.key(&caller.tenant));
            slot.is_some_and(|(slot, _)| slot.state() == ServerState::Ready)
        };
        specs.filter(|spec| !ready(spec)).map(|spec| spec.name.clone()).collect()
    }

    async fn report(&self, caller: &Caller, spec: Arc<ServerSpec>) -> ServerReport {
        let started = Instant::now();
        let mut left_out = Vec::new();
        let result = match self.slot(caller, &spec) {
            // Why it failed says more here than that it did.
            Ok(slot) => match slot.ready(spec.connect_timeout).await {
                Ok(connection) => {
                    left_out = connection.left_out();
                    Ok((connection.about.clone(), slot.known().as_ref().clone()))
                }
                Err(error) => Err(slot.last_error().unwrap_or(error)),
            },
            Err(error) => Err(error),
        };
        let (name, elapsed) = (spec.name.clone(), started.elapsed());
        ServerReport { name, required: spec.required, result, left_out, elapsed }
    }

    /// The tools `caller` can call now, and whose they are. Waits for nobody.
    #[must_use]
    pub fn listing(&self, caller: &Caller) -> Vec<Listed> {
        let catalog = self.catalog(caller);
        let ready = catalog.entries().iter().filter(|entry| entry.slot.state() == ServerState::Ready);
        ready
            .map(|entry| Listed {
                server: entry.slot.spec.name.clone(),
                own_name: entry.own.clone(),
                shown: entry.shown.clone(),
            })
            .collect()
    }

    /// Child processes of this pool that exist now.
    #[must_use]
    pub fn children(&self) -> usize {
        self.inner.common.alive.load(Ordering::SeqCst)
    }

    /// Ends every connection: end of input, then SIGTERM, then SIGKILL, to each child and its whole group, each step
    /// with its grace. Returns how many children are still there, which is none unless the system itself hangs.
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

    /// Calls a server's tool by its own name, for those who know both.
    ///
    /// # Errors
    /// Why it did not come to a result; a tool's own error is an outcome.
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
        let (slot, _) = self.connection(caller, spec, spec.connect_timeout).await?;
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
        // Under the lock, so that nothing begins that a change of rights has just ended.
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

    /// The caller's tools, those of servers that are down included: their names are still taken.
    fn catalog(&self, caller: &Caller) -> Catalog {
        let slots = self.specs(caller).into_iter().filter_map(|spec| self.slot(caller, &spec).ok());
        Catalog::new(slots.map(|slot| (Arc::clone(&slot), slot.known())).collect())
    }

    async fn settle(&self, caller: &Caller) {
        let slots: Vec<Arc<Slot>> = self.specs(caller).iter().filter_map(|spec| self.slot(caller, spec).ok()).collect();
        // A server that fails is told of in its status; here it only has no tools.
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
                // It was offered once: where its server is being reached, the call waits for that.
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
                content: error.to_string(),
                blocks: Vec::new(),
                is_error: true,
                provider: entry.slot.spec.name.clone(),
                fuel: 0,
                memory_peak_bytes: 0,
                elapsed: started.elapsed(),
            }))
        })
    }

    fn providers(&self, caller: &Caller) -> HashMap<String, String> {
        let named = |tool: Listed| (tool.shown.name, format!("mcp server \"{}\"", tool.server));
        self.listing(caller).into_iter().map(named).collect()
    }

    /// Connecting and the call itself both end by their server's own limits; this only stops what those do not.
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

/// One call. Where the connection is lost, a tool that changes nothing is called once more on the next one.
async fn run(
    slot: &Arc<Slot>,
    tool: &str,
    effects: ToolEffects,
    arguments_json: &str,
    progress: &dyn Progress,
) -> Result<ToolOutcome, McpError> {
    let started = Instant::now();
    let arguments = parse(tool, arguments_json)?;
    let connection = slot.ready(slot.spec.connect_timeout).await?;
    let mut result = connection.call(tool, arguments.clone(), progress).await;
    if matches!(result, Err(Failure::Closed(_)))
        && (effects.read_only || effects.idempotent)
        && let Ok(connection) = slot.ready(slot.spec.connect_timeout).await
    {
        result = connection.call(tool, arguments, progress).await;
    }
    let Reading { content, blocks, is_error } = result.map_err(|failure| told(slot, tool, failure))?;
    Ok(ToolOutcome {
        content,
        blocks,
        is_error,
        provider: slot.spec.name.clone(),
        fuel: 0,
        memory_peak_bytes: 0,
        elapsed: started.elapsed(),
    })
}

fn parse(tool: &str, arguments_json: &str) -> Result<JsonObject, McpError> {
    let wrong = |reason: String| McpError::Arguments { tool: tool.to_owned(), reason };
    if arguments_json.len() > TOOL_ARGUMENTS_BYTES_MAX {
        return Err(wrong(format!("they have more than the {TOOL_ARGUMENTS_BYTES_MAX} bytes allowed")));
    }
    if arguments_json.trim().is_empty() {
        return Ok(JsonObject::new());
    }
    serde_json::from_str(arguments_json).map_err(|error| wrong(error.to_string()))
}

fn told(slot: &Slot, tool: &str, failure: Failure) -> McpError {
    let (server, tool) = (slot.spec.name.clone(), tool.to_owned());
    match failure {
        Failure::Timeout(after, said) => {
            let meanwhile = said.map(|said| slot.spec.redact(&format!("; meanwhile {said}"))).unwrap_or_default();
            McpError::Timeout { server, tool, after, meanwhile }
        }
        Failure::Closed(reason) => McpError::Lost { server, tool, reason: slot.spec.redact(&reason) },
        Failure::Unexpected(reason) => McpError::Unusable { server, tool, reason: slot.spec.redact(&reason) },
        Failure::Rejected(_) => McpError::Rejected { server, tool, reason: slot.spec.redact(&failure.words()) },
    }
}

//! Starting, reloading and ending a server.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use firebox_contract::{Approver, Error, Gate, HookSource, TenantId, limits};
use firebox_engine::TenantPermits;
use firebox_sandbox::Notice;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connections::address::TrustedProxies;
use super::connections::counters::ConnectionCounters;
use super::connections::files;
use super::connections::table::ConnectionsMax;
use super::connections::tenants::TenantShares;
use super::cors::Cors;
use super::listener::{self, ConnectionLimits};
use super::mcp::{McpServers, McpTools};
use super::metrics::{Live, McpStates, Metrics};
use super::models::{Models, Parts};
use super::request_bytes::RequestBytes;
use super::{App, Approvals, Doors, Drain, LOCAL_TENANT, Settings, TenantHooks};
use crate::audit::Audit;
use crate::config::{Config, ServerConfig, TenantConfig};
use crate::http::{BusySessions, PROBES, Port, RefusalLog, StoreShares, router};
use crate::plugins::{self, sandbox};
use crate::sessions::{SessionLimits, SessionStore};
use crate::system::memory;
use crate::system::threads;
use crate::tenancy::{Tenancy, UsageReport};

/// Says a line to the operator.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// A running server.
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    config: Config,
    say: Say,
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    admin_address: Option<SocketAddr>,
    accepting: Vec<JoinHandle<()>>,
    loading: Option<JoinHandle<Result<(), Error>>>,
    sweeping: JoinHandle<()>,
    probing: JoinHandle<()>,
    keeping: JoinHandle<()>,
    watching: JoinHandle<()>,
    trimming: JoinHandle<()>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were cut off.
    pub cut: usize,
}

impl Server {
    /// Opens the port, loads plugins and sessions, and begins to load models; [`Server::loaded`] waits for those.
    ///
    /// # Errors
    /// What is wrong with the configuration, a plugin, the port or the session file.
    pub async fn start(mut config: Config, say: Say) -> Result<Self, Error> {
        let open = open_up(&mut config)?;
        bound_by_files(&mut config, &say);
        let (listener, address) = bind(config.server.listen)?;
        config.server.listen = address;
        let admin = config.server.admin_listen.map(bind).transpose()?;
        let admin_address = admin.as_ref().map(|(_, address)| *address);
        config.server.admin_listen = admin_address;
        let (stop, stopped) = watch::channel(false);
        let (cut, cutting) = watch::channel(false);
        let (app, parts) = build(&config, open, cutting, &say).await?;
        let app = Arc::new(app);
        let mut accepting = vec![tokio::spawn(listener::serve(
            listener,
            router(&app, if admin.is_some() { Port::WithoutAdmin } else { Port::Whole }),
            connection_limits(&config.server),
            app.metrics.connections.clone(),
            stopped.clone(),
            limits::HTTP_CLOSE_GRACE,
        ))];
        if let Some((listener, address)) = admin {
            accepting.push(tokio::spawn(listener::serve(
                listener,
                router(&app, Port::Admin),
                admin_limits(&config.server),
                ConnectionCounters::default(),
                stopped,
                limits::HTTP_CLOSE_GRACE,
            )));
            say(&format!("probes and metrics on http://{address}"));
        }
        let (models, speak) = (Arc::clone(&app.models), Arc::clone(&say));
        let loading = Some(tokio::spawn(async move { models.load(&parts, &*speak).await }));
        let sweeping = tokio::spawn(sweep(app.sessions.clone()));
        let probing = tokio::spawn(probe(app.audit.clone(), app.sessions.clone()));
        let keeping = tokio::spawn(keep_usage(app.tenancy.clone(), app.sessions.clone()));
        let watching = tokio::spawn(app.mcp_servers.clone().watch(Arc::clone(&say)));
        let trimming = tokio::spawn(memory::keep_trimmed());
        if open {
            say(&format!("no tenants are configured: everybody on this machine is \"{LOCAL_TENANT}\", without a key"));
        }
        Ok(Self {
            app,
            address,
            admin_address,
            config,
            say,
            stop,
            cut,
            accepting,
            loading,
            sweeping,
            probing,
            keeping,
            watching,
            trimming,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers probes and metrics beside that.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Ends when all models have loaded or failed. Safe to call again, and to drop.
    ///
    /// # Errors
    /// The first failure, when no model could be loaded.
    pub async fn loaded(&mut self) -> Result<(), Error> {
        let Some(loading) = &mut self.loading else { return Ok(()) };
        let outcome = loading.await;
        self.loading = None;
        outcome.map_err(|error| Error::Internal(format!("loading the models stopped: {error}")))?
    }

    /// Takes over tenants, keys, plugins and policies of `config`, all or nothing; says what needs a restart.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then but that keys which it does not have are revoked.
    pub async fn reload(&mut self, mut config: Config) -> Result<(), Error> {
        let open = open_up(&mut config)?;
        let was_open = self.app.settings_are_open();
        if open != was_open {
            let message = "going from no tenants to tenants, or back, needs a restart; nothing was changed";
            return Err(Error::Usage(message.to_owned()));
        }
        self.app.tenancy.revoke_missing(&config)?;
        let mut notes = Vec::new();
        let table = self.app.hooks.prepare(&config, &mut notes).await?;
        McpServers::check(&config)?;
        self.app.tenancy.replace(&config)?;
        self.app.hooks.replace(table);
        self.app.mcp_servers.replace(&config);
        self.app.mcp_tools.announce();
        self.app.approvals.set_timeout(config.tools.approval_timeout);
        self.app.sessions.share(shares(&config));
        self.app.set(Settings::of(&config, open));
        notes.iter().for_each(|note| (self.say)(note));
        for part in needs_restart(&self.config, &config) {
            (self.say)(&format!("{part} changed in the configuration; that needs a restart"));
        }
        Ok(())
    }

    /// Ends the server: refuses new work, lets running requests end until the deadline of the configuration or until
    /// `hurry` ends, cuts off the rest, and closes every part.
    pub async fn drain(self, hurry: impl Future<Output = ()>) -> Drained {
        let Self {
            app,
            config,
            stop,
            cut,
            accepting,
            loading,
            sweeping,
            probing,
            keeping,
            watching,
            trimming,
            say,
            ..
        } = self;
        app.drain.close();
        if let Some(loading) = loading {
            loading.abort();
        }
        sweeping.abort();
        probing.abort();
        keeping.abort();
        watching.abort();
        trimming.abort();
        let deadline = config.server.drain_timeout;
        tokio::select! {
            // The MCP door ends its listeners at once and its calls when they are done; calls are counted as running.
            _ = async { tokio::join!(app.drain.idle(), app.mcp_tools.drain(deadline)) } => {}
            () = tokio::time::sleep(deadline) => {}
            () = hurry => {}
        }
        let running = app.drain.running();
        cut.send_replace(true);
        stop.send_replace(true);
        // Ends by itself: connections get their last words out within a grace period and are then cut.
        let _ended = tokio::time::timeout(limits::SERVE_CLOSE_TIMEOUT, join_all(accepting)).await;
        let children = app.mcp_servers.close().await;
        if children > 0 {
            (say)(&format!("{children} children of MCP servers could not be ended"));
        }
        close(app).await;
        Drained { cut: running }
    }
}

impl App {
    fn settings_are_open(&self) -> bool {
        self.settings.read().unwrap_or_else(std::sync::PoisonError::into_inner).open.is_some()
    }
}

/// Joins the models' threads and brings the sessions to disk, where blocking does no harm.
async fn close(app: Arc<App>) {
    let work = tokio::task::spawn_blocking(move || {
        app.models.close();
        save_usage(&app.tenancy, &app.sessions, &mut HashMap::new());
        if let Err(error) = app.sessions.flush() {
            tracing::error!(%error, "the sessions could not be flushed");
        }
        if let Some(Err(error)) = app.audit.as_ref().map(Audit::close) {
            tracing::error!(%error, "the audit log could not be closed");
        }
        drop(app);
    });
    // What does not end in time ends with the process.
    let _in_time = tokio::time::timeout(limits::SERVE_CLOSE_TIMEOUT, work).await;
}

/// A server without tenants has one, and listens where only this machine can reach it.
fn open_up(config: &mut Config) -> Result<bool, Error> {
    if !config.tenants.is_empty() {
        return Ok(false);
    }
    if !config.server.listen.ip().is_loopback() {
        let listen = config.server.listen;
        return Err(Error::Usage(format!(
            "without tenants the server listens on this machine only, and \"{listen}\" is open to others; \
             add a tenant (firebox tenants add NAME), or listen on 127.0.0.1"
        )));
    }
    let has_ember = config.models.iter().any(|model| model.path.is_none());
    if config.plugins.is_empty() && has_ember {
        config.plugins = plugins::with_ember().map(crate::config::PluginConfig::builtin).collect();
    }
    let names = config.plugins.iter().map(|plugin| plugin.name.clone()).collect();
    config.tenants.push(TenantConfig::local(LOCAL_TENANT, names));
    Ok(true)
}

/// Lowers the connections to what the system has files for.
fn bound_by_files(config: &mut Config, say: &Say) {
    let wanted = config.server.connections_max;
    let room = files::room_for(wanted);
    if room < wanted {
        say(&format!(
            "the system lets this process open too few files for {wanted} connections; it takes {room} (raise ulimit -n)"
        ));
        config.server.connections_max = room;
    }
}

/// A listener and where it listens.
fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = listener::bind(listen);
    let bound = listener.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|error| no_port(listen, &error))
}

fn connection_limits(server: &ServerConfig) -> ConnectionLimits {
    let total = server.connections_max;
    let half = total.div_ceil(limits::ADDRESS_CONNECTIONS_DIVISOR);
    ConnectionLimits {
        max: ConnectionsMax { total, per_address: server.connections_per_address_max.unwrap_or(half) },
        header_timeout: server.header_timeout,
        reader_timeout: server.reader_timeout,
        trusted_proxies: TrustedProxies::new(server.trusted_proxies.clone()),
        probes: PROBES,
        cors: Cors::new(server),
    }
}

/// Those of the address of probes and metrics, which is the operator's own.
fn admin_limits(server: &ServerConfig) -> ConnectionLimits {
    let total = limits::HTTP_ADMIN_CONNECTIONS_MAX;
    ConnectionLimits { max: ConnectionsMax { total, per_address: total }, ..connection_limits(server) }
}

fn no_port(listen: SocketAddr, error: &std::io::Error) -> Error {
    Error::Usage(format!("cannot listen on \"{listen}\": {error}; choose another address with --listen"))
}

async fn build(config: &Config, open: bool, cut: watch::Receiver<bool>, say: &Say) -> Result<(App, Parts), Error> {
    let open_log = |path: &std::path::PathBuf| Audit::open_alone(path, config.audit.prompts, "serve");
    let audit = config.audit.path.as_ref().map(open_log).transpose()?;
    let tenancy = Tenancy::new(config, audit.clone())?;
    let heard = Arc::clone(say);
    let mut notes = Vec::new();
    let notice = Notice::new(move |line| heard(line));
    let sandbox = sandbox::sandbox(config.server.plugin_memory_total, notice, &mut notes)?;
    let hooks = TenantHooks::load(sandbox, config, &mut notes).await?;
    notes.iter().for_each(|note| say(note));
    let sessions = open_sessions(config).await?;
    resume_usage(&tenancy, &sessions, say)?;
    let approvals = Approvals::new(config.tools.approval_timeout);
    let models = Arc::new(Models::new(&config.models));
    let drain = Drain::default();
    let mcp_servers = McpServers::new(config)?;
    let mcp_tools = McpTools::new(&hooks, &tenancy, &config.server);
    let watched = mcp_servers.clone();
    let states: McpStates = Arc::new(move || watched.states());
    let live = Live { models: Some(Arc::clone(&models)), drain: Some(drain.clone()), mcp: Some(states) };
    let parts = Parts {
        hooks: Arc::new(hooks.clone()) as Arc<dyn HookSource>,
        tools: Some(mcp_servers.source()),
        gate: Arc::new(tenancy.clone()) as Arc<dyn Gate>,
        approver: Arc::new(approvals.clone()) as Arc<dyn Approver>,
    };
    let connections = ConnectionCounters::default();
    let request_bytes = RequestBytes::of(&config.server);
    let body_bytes_max = config.server.body_bytes_max.min(request_bytes.longest_body());
    if body_bytes_max < config.server.body_bytes_max {
        say(&format!(
            "a request's body may have {body_bytes_max} bytes at most: there is no room for longer ones in \
             server.request_bytes_max, which follows the memory this process may have unless it is set"
        ));
    }
    let app = App {
        tenancy,
        audit,
        models,
        hooks,
        tools: mcp_servers.source(),
        sessions,
        busy: BusySessions::default(),
        refusal_log: RefusalLog::default(),
        store_shares: StoreShares::default(),
        approvals,
        shares: TenantShares::new(config.server.connections_max, connections.clone()),
        metrics: Metrics::new(live, connections),
        drain,
        doors: Doors::new(&config.server),
        mcp_servers,
        mcp_door: mcp_tools.door(),
        mcp_tools,
        request_timeout: config.server.request_timeout,
        body_bytes_max,
        request_bytes,
        readings: TenantPermits::new(limits::BODIES_PARSED_PARALLEL, threads::background()?),
        started: SystemTime::now(),
        cut,
        settings: std::sync::RwLock::new(Settings::of(config, open)),
    };
    Ok((app, parts))
}

async fn open_sessions(config: &Config) -> Result<SessionStore, Error> {
    let (path, idle) = (config.sessions.path.clone(), config.sessions.idle_timeout);
    let sessions = &config.sessions;
    let bounds = SessionLimits {
        messages_max: sessions.messages_max,
        bytes_max: sessions.bytes_max,
        file_bytes_max: sessions.file_bytes_max,
        tenant_bytes_max: sessions.file_bytes_max / limits::SESSIONS_TENANT_DIVISOR,
        idle: Some(idle),
        ..SessionLimits::default()
    };
    let opened = tokio::task::spawn_blocking(move || SessionStore::open_alone(&path, bounds)).await;
    let opened = opened.map_err(|error| Error::Internal(format!("opening the sessions stopped: {error}")))?;
    // Its words name the file, and this is the operator's own screen.
    let store = opened.map_err(|error| Error::Usage(error.to_string()))?;
    store.share(shares(config));
    Ok(store)
}

/// What each tenant may have of the session file, where that is not an even part. Who is alone may have all of it.
fn shares(config: &Config) -> HashMap<TenantId, u64> {
    let alone = Some(config.sessions.file_bytes_max).filter(|_| config.tenants.len() == 1);
    let share =
        |tenant: &TenantConfig| Some((TenantId::new(&tenant.name), tenant.limits.sessions_bytes_max.or(alone)?));
    config.tenants.iter().filter_map(share).collect()
}

/// Tries from time to time whether audit log and session file can be written, so that readiness says so before somebody
/// needs them.
async fn probe(audit: Option<Audit>, sessions: SessionStore) {
    loop {
        tokio::time::sleep(limits::STORAGE_PROBE_PERIOD).await;
        if let Some(audit) = &audit {
            audit.probe();
        }
        let (store, before) = (sessions.clone(), sessions.trouble());
        // What it finds is in the log and in `trouble`.
        let found = tokio::task::spawn_blocking(move || store.probe()).await;
        if matches!(found, Ok(Ok(()))) && before.is_some() {
            tracing::info!("the session file can be used again");
        }
    }
}

/// Removes expired sessions from time to time.
async fn sweep(sessions: SessionStore) {
    loop {
        tokio::time::sleep(limits::SESSIONS_SWEEP_PERIOD).await;
        let store = sessions.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.sweep()).await {
            tracing::error!(%error, "expired sessions could not be removed");
        }
    }
}

/// Stores from time to time what tenants used, so that the next start goes on from there.
async fn keep_usage(tenancy: Tenancy, sessions: SessionStore) {
    let mut waiting = HashMap::new();
    loop {
        tokio::time::sleep(limits::USAGE_SAVE_PERIOD).await;
        let (tenancy, store) = (tenancy.clone(), sessions.clone());
        let save = move || {
            save_usage(&tenancy, &store, &mut waiting);
            waiting
        };
        // A panic there loses what waited for this one time; the sums themselves are in memory.
        waiting = tokio::task::spawn_blocking(save).await.unwrap_or_default();
    }
}

/// Stores what changed since the last time, and what could not be stored then.
fn save_usage(tenancy: &Tenancy, sessions: &SessionStore, waiting: &mut HashMap<TenantId, String>) {
    match tenancy.changed_usage() {
        Ok(changed) => waiting.extend(changed.into_iter().map(|(tenant, report)| (tenant, report.text()))),
        Err(error) => tracing::error!(%error, "the usage of tenants is in doubt"),
    }
    if waiting.is_empty() {
        return;
    }
    let rows: Vec<(TenantId, String)> = waiting.iter().map(|(tenant, text)| (tenant.clone(), text.clone())).collect();
    match sessions.keep_usage(&rows) {
        Ok(()) => waiting.clear(),
        Err(error) => tracing::error!(%error, "the usage of tenants could not be stored; it is tried again"),
    }
}

/// Goes on counting from what the host stored when it ran before.
fn resume_usage(tenancy: &Tenancy, sessions: &SessionStore, say: &Say) -> Result<(), Error> {
    let rows = sessions.kept_usage().map_err(|error| Error::Usage(error.to_string()))?;
    let mut stored = Vec::with_capacity(rows.len());
    for (tenant, text) in rows {
        match UsageReport::parse(&text) {
            Some(report) => stored.push((tenant, report)),
            None => say(&format!("the stored usage of tenant \"{tenant}\" cannot be read and begins anew")),
        }
    }
    tenancy.resume(stored)
}

/// The parts of a configuration that a running server does not take over.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let rows = [
        ("[server]", old.server.listen.port() != 0 && differs_but_for_port(old, new)),
        ("[[model]]", old.models != new.models),
        ("[sessions]", old.sessions != new.sessions),
        ("[audit]", old.audit != new.audit),
    ];
    rows.into_iter().filter(|row| row.1).map(|row| row.0).collect()
}

/// Port 0 asked for any port, and the server has had one since; of connections it has those that the system has files for.
fn differs_but_for_port(old: &Config, new: &Config) -> bool {
    let mut new = new.server.clone();
    new.connections_max = files::room_for(new.connections_max);
    if new.listen.port() == 0 {
        new.listen.set_port(old.server.listen.port());
    }
    if let (Some(new), Some(old)) = (&mut new.admin_listen, old.server.admin_listen)
        && new.port() == 0
    {
        new.set_port(old.port());
    }
    new != old.server
}

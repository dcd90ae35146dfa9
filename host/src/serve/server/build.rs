//! Makes the state of a server from its configuration.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use firebox_contract::{Approver, Error, Gate, HookSource, TenantId, limits};
use firebox_engine::TenantPermits;
use firebox_sandbox::Notice;
use tokio::sync::watch;

use super::StatusSink;
use super::background::resume_usage;
use super::drain::Drain;
use crate::audit::Audit;
use crate::config::{Config, ModelConfig, PluginConfig, TenantConfig};
use crate::http::{RefusalLog, SessionLocks, StorePermits};
use crate::plugins::{self, sandbox};
use crate::serve::approvals::Approvals;
use crate::serve::connections::counters::ConnectionCounters;
use crate::serve::connections::open_requests::OpenRequests;
use crate::serve::connections::origin::OriginPolicy;
use crate::serve::connections::request_bytes::RequestByteBudget;
use crate::serve::hooks::TenantHooks;
use crate::serve::mcp::{McpServers, McpTools};
use crate::serve::metrics::{McpStates, Metrics, PluginMetrics, ScrapeCollector};
use crate::serve::models::plugin_embedder::ServedEmbedders;
use crate::serve::models::{ModelServices, ServedModels};
use crate::serve::{App, LOCAL_TENANT, Settings};
use crate::sessions::{SessionLimits, SessionStore};
use crate::system::threads;
use crate::tenancy::Tenancy;

/// Adds the tenant "local" to a configuration without tenants. Returns whether it did.
///
/// # Errors
/// `Error::Usage` if such a server would listen on an address that other machines can reach.
pub(crate) fn add_local_tenant(config: &mut Config) -> Result<bool, Error> {
    if !config.tenants.is_empty() {
        return Ok(false);
    }
    if !config.server.listen.ip().is_loopback() {
        let listen = config.server.listen;
        return Err(Error::Usage(format!(
            "a server without tenants needs no key and must not listen on \"{listen}\", which other machines can reach; \
             add a tenant (firebox tenants add NAME), or listen on 127.0.0.1"
        )));
    }
    let has_ember = config.models.iter().any(ModelConfig::is_ember);
    if config.plugins.is_empty() && has_ember {
        config.plugins = plugins::with_ember().map(PluginConfig::builtin).collect();
    }
    let names = config.plugins.iter().map(|plugin| plugin.name.clone()).collect();
    config.tenants.push(TenantConfig::local(LOCAL_TENANT, names));
    Ok(true)
}

/// Makes the state of the server, and the services that its models are loaded with. `is_open`: no key is needed.
///
/// # Errors
/// The first problem of the configuration, a plugin, the session file or the audit log.
pub(super) async fn build(
    config: &Config,
    is_open: bool,
    cut: watch::Receiver<bool>,
    status: &StatusSink,
) -> Result<(App, ModelServices), Error> {
    let open_log = |path: &std::path::PathBuf| Audit::open_alone(path, config.audit.prompts, "serve");
    let audit = config.audit.path.as_ref().map(open_log).transpose()?;
    let tenancy = Tenancy::new(config, audit.clone())?;
    let notices = Arc::clone(status);
    let (plugin_metrics, mut notes) = (PluginMetrics::default(), Vec::new());
    let notice = Notice::new(move |line| notices(line));
    let sandbox = sandbox::of_server(config, plugin_metrics.service(), notice, &mut notes)?;
    let hooks = TenantHooks::load(sandbox, config, &mut notes).await?;
    notes.iter().for_each(|note| status(note));
    let sessions = open_sessions(config).await?;
    resume_usage(&tenancy, &sessions, status)?;
    let (approvals, drain) = (Approvals::new(config.tools.approval_timeout), Drain::default());
    let models = Arc::new(ServedModels::new(&config.models));
    let mcp_servers = McpServers::new(config)?;
    let mcp_tools = McpTools::new(&hooks, &tenancy, &config.server);
    let servers = mcp_servers.clone();
    let states: McpStates = Arc::new(move || servers.states());
    let collector =
        ScrapeCollector { models: Some(Arc::clone(&models)), drain: Some(drain.clone()), mcp: Some(states) };
    let services = ModelServices {
        hooks: Arc::new(hooks.clone()) as Arc<dyn HookSource>,
        tools: Some(mcp_servers.source()),
        gate: Arc::new(tenancy.clone()) as Arc<dyn Gate>,
        approver: Arc::new(approvals.clone()) as Arc<dyn Approver>,
        embedder: Arc::new(ServedEmbedders::new(&models, hooks.clone(), tenancy.clone())),
        hub: config.hub.clone(),
    };
    let connections = ConnectionCounters::default();
    let request_bytes = RequestByteBudget::of(&config.server);
    let body_bytes_max = config.server.body_bytes_max.min(request_bytes.longest_body());
    if body_bytes_max < config.server.body_bytes_max {
        status(&format!(
            "the body of a request is limited to {body_bytes_max} bytes, since a longer one does not fit into \
             server.request_bytes_max; its default depends on the memory of this machine"
        ));
    }
    let app = App {
        tenancy,
        audit,
        models,
        hooks,
        tools: mcp_servers.source(),
        sessions,
        session_locks: SessionLocks::default(),
        refusal_log: RefusalLog::default(),
        store_permits: StorePermits::default(),
        approvals,
        open_requests: OpenRequests::new(config.server.connections_max, connections.clone()),
        metrics: Metrics::new(collector, plugin_metrics, connections),
        drain,
        origin_policy: OriginPolicy::new(&config.server),
        mcp_servers,
        mcp_endpoint: mcp_tools.endpoint(),
        mcp_tools,
        request_timeout: config.server.request_timeout,
        body_bytes_max,
        request_bytes,
        body_parsers: TenantPermits::new(limits::BODIES_PARSED_PARALLEL, threads::background()?),
        started: SystemTime::now(),
        cut,
        settings: RwLock::new(Settings::of(config, is_open)),
    };
    Ok((app, services))
}

/// Opens the session file, which no other process may use at the same time.
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
    let opened = opened.map_err(|error| Error::Internal(format!("opening the session file panicked: {error}")))?;
    // The message names the file. Only the operator sees it.
    let store = opened.map_err(|error| Error::Usage(error.to_string()))?;
    store.share(tenant_session_bytes(config));
    Ok(store)
}

/// The maximum bytes of sessions of each tenant that differs from the default. A single tenant may use the whole file.
pub(super) fn tenant_session_bytes(config: &Config) -> HashMap<TenantId, u64> {
    let alone = Some(config.sessions.file_bytes_max).filter(|_| config.tenants.len() == 1);
    let share =
        |tenant: &TenantConfig| Some((TenantId::new(&tenant.name), tenant.limits.sessions_bytes_max.or(alone)?));
    config.tenants.iter().filter_map(share).collect()
}

/// The state of a server with this configuration, for tests of the router. Its models are not loaded.
#[cfg(test)]
pub(crate) async fn test_app(mut config: Config) -> Arc<App> {
    let is_open = add_local_tenant(&mut config).expect("a valid configuration");
    let (_, cut) = watch::channel(false);
    let status: StatusSink = Arc::new(|_: &str| {});
    let (app, _) = build(&config, is_open, cut, &status).await.expect("a valid configuration");
    Arc::new(app)
}

//! MCP in both directions: MCP servers whose tools the models use, and the tools of tenants for MCP clients.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::http::Request;
use firebox_contract::tool::matches_glob;
use firebox_contract::{Caller, Error, Gate, Reservation, TenantId, ToolSource, limits};
use firebox_mcp::McpError;
use firebox_mcp::client::{ClientPool, HttpServer, Secret, ServerReport, ServerSpec, ServerTransport, StdioServer};
use firebox_mcp::server::{HttpTools, ServerHttpOptions, ServerInfo, http_service};
use futures_util::future::join_all;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::hooks::TenantHooks;
use super::{McpEndpoint, StatusSink};
use crate::config::{Config, McpServerConfig, ServerConfig, WebOrigin};
use crate::plugins::tools::{CallerTools, PluginTools};
use crate::tenancy::Tenancy;

/// Whether an MCP server answered when it was last checked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServerHealth {
    up: bool,
}

/// The MCP servers whose tools the models use. Clones share them.
#[derive(Clone)]
pub struct McpServers {
    pool: ClientPool,
    tenants: Arc<RwLock<ServerAccess>>,
    health: Arc<RwLock<BTreeMap<String, ServerHealth>>>,
}

/// The globs of the servers that each tenant may use, the tenants in the order of the configuration, and the required
/// servers.
#[derive(Default)]
struct ServerAccess {
    required: Vec<String>,
    order: Vec<TenantId>,
    globs: HashMap<TenantId, Vec<String>>,
}

impl ServerAccess {
    fn of(config: &Config) -> Self {
        let row = |tenant: &crate::config::TenantConfig| (TenantId::new(&tenant.name), tenant.mcp_servers.clone());
        let order = config.tenants.iter().map(|tenant| TenantId::new(&tenant.name)).collect();
        let required = config.mcp.servers.iter().filter(|server| server.required);
        let required = required.map(|server| server.name.clone()).collect();
        Self { required, order, globs: config.tenants.iter().map(row).collect() }
    }

    fn may(&self, tenant: &TenantId, server: &str) -> bool {
        self.globs.get(tenant).is_some_and(|globs| globs.iter().any(|glob| matches_glob(glob, server)))
    }
}

impl McpServers {
    /// The servers of `config`. A server is started when its tools are first needed.
    ///
    /// # Errors
    /// `Error::Usage` for an invalid server.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let specs = specs(config)?;
        let tenants = Arc::new(RwLock::new(ServerAccess::of(config)));
        let table = Arc::clone(&tenants);
        let access = move |caller: &Caller, server: &str| {
            table.read().unwrap_or_else(PoisonError::into_inner).may(&caller.tenant, server)
        };
        let pool = ClientPool::new(specs, Arc::new(access));
        Ok(Self { pool, tenants, health: Arc::default() })
    }

    /// The servers as a source of tools for models.
    #[must_use]
    pub fn source(&self) -> Arc<dyn ToolSource> {
        Arc::new(self.pool.clone())
    }

    /// Applies the servers of `config`, which [`McpServers::check`] accepted, and the tenants' access to them.
    pub fn replace(&self, config: &Config) {
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = ServerAccess::of(config);
        if let Ok(specs) = specs(config) {
            self.pool.replace(specs);
        }
    }

    /// Checks the servers of `config`.
    ///
    /// # Errors
    /// `Error::Usage` for the first invalid server.
    pub fn check(config: &Config) -> Result<(), Error> {
        specs(config).map(drop)
    }

    /// The required servers that do not answer.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let required = self.tenants.read().unwrap_or_else(PoisonError::into_inner).required.clone();
        let health = self.health.read().unwrap_or_else(PoisonError::into_inner);
        required.into_iter().filter(|name| !health.get(name).is_some_and(|health| health.up)).collect()
    }

    /// The servers of a tenant whose tools are missing now.
    #[must_use]
    pub fn absent(&self, tenant: &TenantId) -> Vec<String> {
        self.pool.absent(&Caller::of(tenant.clone()))
    }

    /// Each server that was checked, and whether it answered.
    #[must_use]
    pub fn states(&self) -> Vec<(String, bool)> {
        let health = self.health.read().unwrap_or_else(PoisonError::into_inner);
        health.iter().map(|(name, health)| (name.clone(), health.up)).collect()
    }

    /// Checks every server each `limits::MCP_WATCH_PERIOD`, and reports when one stops or starts to answer.
    pub async fn watch(self, status: StatusSink) {
        loop {
            self.check_all(&status).await;
            tokio::time::sleep(limits::MCP_WATCH_PERIOD).await;
        }
    }

    /// Checks each server once, all at the same time, with the connection of the first tenant that may use it.
    async fn check_all(&self, status: &StatusSink) {
        let servers: Vec<String> = self.pool.status().into_iter().map(|server| server.name).collect();
        let checks: Vec<(TenantId, &String)> = {
            let access = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            let first = |server| access.order.iter().find(|tenant| access.may(tenant, server)).cloned();
            servers.iter().filter_map(|server| Some((first(server)?, server))).collect()
        };
        join_all(checks.into_iter().map(|(tenant, server)| async move {
            if let Some(report) = self.pool.connect_to(&Caller::of(tenant), server).await {
                self.note(&report, status);
            }
        }))
        .await;
        let mut health = self.health.write().unwrap_or_else(PoisonError::into_inner);
        health.retain(|name, _| servers.contains(name));
    }

    fn note(&self, report: &ServerReport, status: &StatusSink) {
        let now = ServerHealth { up: report.result.is_ok() };
        let before =
            self.health.write().unwrap_or_else(PoisonError::into_inner).insert(report.name.clone(), now.clone());
        match (&report.result, before) {
            (Err(error @ McpError::Changed { .. }), before) if before.as_ref() != Some(&now) => {
                status(&error.to_string())
            }
            (Err(error), before) if before.as_ref() != Some(&now) => {
                status(&format!("mcp server \"{}\" does not answer; its tools are missing: {error}", report.name));
            }
            (Ok(_), Some(before)) if before != now => status(&format!("mcp server \"{}\" answers again", report.name)),
            _ => {}
        }
    }

    /// Closes every connection and ends every child process. Returns the number of child processes that did not end.
    pub async fn close(&self) -> usize {
        self.pool.close().await
    }
}

/// The servers of `config`, which offer only the tools that its lock file accepts.
///
/// # Errors
/// `Error::Usage` for the first invalid server.
pub(crate) fn specs(config: &Config) -> Result<Vec<ServerSpec>, Error> {
    let mut specs: Vec<ServerSpec> = config.mcp.servers.iter().map(spec).collect();
    if let Some(lock) = &config.lock {
        specs.iter_mut().for_each(|spec| lock.pin_server(spec));
    }
    ClientPool::check(&specs).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(specs)
}

fn spec(server: &McpServerConfig) -> ServerSpec {
    let secret = |(name, value): &(String, crate::config::Secret)| (name.clone(), Secret::new(value.expose()));
    let transport = match (&server.command, &server.url) {
        (Some(words), _) => ServerTransport::Stdio(StdioServer {
            command: words.first().cloned().unwrap_or_default(),
            args: words.iter().skip(1).cloned().collect(),
            cwd: server.cwd.clone(),
            env_allow: server.env_pass.clone(),
            env: server.env.iter().map(secret).collect(),
        }),
        (None, url) => ServerTransport::Http(HttpServer {
            url: url.clone().unwrap_or_default(),
            headers: server.headers.iter().map(secret).collect(),
        }),
    };
    ServerSpec {
        connect_timeout: server.connect_timeout,
        call_timeout: server.call_timeout,
        total_timeout: server.total_timeout,
        prefix: server.prefix.clone(),
        tools: server.tools.clone(),
        required: server.required,
        ..ServerSpec::new(&server.name, transport)
    }
}

/// The gate of tool calls by MCP clients, which have no model.
struct ToolGate(Tenancy);

impl Gate for ToolGate {
    fn admit(&self, caller: &Caller, _model: &str, request_id: &str) -> Result<Box<dyn Reservation>, Error> {
        self.0.admit_tools(caller, request_id)
    }
}

/// The tools of tenants for MCP clients.
pub struct McpTools {
    tools: Arc<PluginTools>,
    http: HttpTools,
}

impl McpTools {
    /// Offers each tenant the tools of its plugin chain, with its own policy and limits.
    #[must_use]
    pub fn new(hooks: &TenantHooks, tenancy: &Tenancy, server: &ServerConfig) -> Self {
        let hooks = hooks.clone();
        let offer_of = move |caller: &Caller| -> Option<CallerTools> { hooks.offer(caller) };
        let tools = PluginTools::for_each(Arc::new(offer_of)).gated(Arc::new(ToolGate(tenancy.clone())));
        let tools = Arc::new(tools);
        let options = ServerHttpOptions {
            hosts: server.hosts.clone(),
            origins: server.origins.iter().map(WebOrigin::with_port).collect(),
            body_bytes_max: server.body_bytes_max.min(limits::MCP_BODY_BYTES_MAX),
            info: ServerInfo::firebox(),
        };
        // The endpoint inserts the caller of a valid key.
        let caller_of = |parts: &axum::http::request::Parts| parts.extensions.get::<Caller>().cloned();
        let http = http_service(Arc::clone(&tools) as Arc<dyn ToolSource>, options, Arc::new(caller_of));
        Self { tools, http }
    }

    /// The MCP service for the endpoint `/mcp`.
    #[must_use]
    pub fn endpoint(&self) -> McpEndpoint {
        let service = ServiceExt::<Request<Body>>::map_response(self.http.clone(), |response| response.map(Body::new));
        BoxCloneSyncService::new(service)
    }

    /// Notifies clients that tool lists may have changed.
    pub fn announce(&self) {
        self.tools.announce();
    }

    /// Ends MCP sessions. Running calls may finish within `time`. Returns the number of calls that were cut off.
    pub async fn drain(&self, time: std::time::Duration) -> usize {
        self.http.drain(time).await
    }
}

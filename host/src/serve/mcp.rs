//! MCP on both sides: servers that give tools to the models, and the tenants' own tools for MCP clients.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::http::Request;
use firebox_contract::tool::matches_glob;
use firebox_contract::{Caller, Error, Gate, Reservation, TenantId, ToolSource, limits};
use firebox_mcp::client::{ClientPool, HttpServer, Secret, ServerReport, ServerSpec, ServerTransport, StdioServer};
use firebox_mcp::server::{HttpTools, ServerHttpOptions, ServerInfo, http_service};
use futures_util::future::join_all;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::{McpDoor, Say, TenantHooks};
use crate::config::{Config, McpServerConfig, ServerConfig, WebOrigin};
use crate::plugins::tools::{CallerTools, PluginTools};
use crate::tenancy::Tenancy;

/// Whether each server answered when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    up: bool,
}

/// The MCP servers of a host. Cheap to clone: clones share them.
#[derive(Clone)]
pub struct McpServers {
    pool: ClientPool,
    tenants: Arc<RwLock<Access>>,
    seen: Arc<RwLock<BTreeMap<String, Seen>>>,
}

/// Globs of the servers each tenant sees, in the order of the configuration, and the servers that are required.
#[derive(Default)]
struct Access {
    required: Vec<String>,
    order: Vec<TenantId>,
    globs: HashMap<TenantId, Vec<String>>,
}

impl Access {
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
    /// The servers of `config`. Nothing is started before somebody asks.
    ///
    /// # Errors
    /// `Error::Usage` for a server that cannot be meant.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let specs = specs(config)?;
        let tenants = Arc::new(RwLock::new(Access::of(config)));
        let table = Arc::clone(&tenants);
        let access = move |caller: &Caller, server: &str| {
            table.read().unwrap_or_else(PoisonError::into_inner).may(&caller.tenant, server)
        };
        let pool = ClientPool::new(specs, Arc::new(access));
        Ok(Self { pool, tenants, seen: Arc::default() })
    }

    /// As a source of tools for models.
    #[must_use]
    pub fn source(&self) -> Arc<dyn ToolSource> {
        Arc::new(self.pool.clone())
    }

    /// Takes over the servers of `config`, which [`McpServers::check`] let pass, and who sees which.
    pub fn replace(&self, config: &Config) {
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = Access::of(config);
        if let Ok(specs) = specs(config) {
            self.pool.replace(specs);
        }
    }

    /// Whether the servers of `config` can be meant.
    ///
    /// # Errors
    /// `Error::Usage` for the first that cannot.
    pub fn check(config: &Config) -> Result<(), Error> {
        specs(config).map(drop)
    }

    /// Required servers that have not answered yet, or do not answer any more.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let required = self.tenants.read().unwrap_or_else(PoisonError::into_inner).required.clone();
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        required.into_iter().filter(|name| !seen.get(name).is_some_and(|seen| seen.up)).collect()
    }

    /// The servers of a tenant whose tools are not there now.
    #[must_use]
    pub fn absent(&self, tenant: &TenantId) -> Vec<String> {
        self.pool.absent(&Caller::of(tenant.clone()))
    }

    /// Each server that was asked, and whether it answered.
    #[must_use]
    pub fn states(&self) -> Vec<(String, bool)> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(name, seen)| (name.clone(), seen.up)).collect()
    }

    /// Asks every server from time to time, and says when one stops or begins to answer.
    pub async fn watch(self, say: Say) {
        loop {
            self.ask(&say).await;
            tokio::time::sleep(limits::MCP_WATCH_PERIOD).await;
        }
    }

    /// Asks each server once, as the first tenant that sees it, whose connection it then is. One that hangs holds up no other.
    async fn ask(&self, say: &Say) {
        let servers: Vec<String> = self.pool.status().into_iter().map(|status| status.name).collect();
        let asks: Vec<(TenantId, &String)> = {
            let access = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
            let first = |server| access.order.iter().find(|tenant| access.may(tenant, server)).cloned();
            servers.iter().filter_map(|server| Some((first(server)?, server))).collect()
        };
        join_all(asks.into_iter().map(|(tenant, server)| async move {
            if let Some(report) = self.pool.connect_to(&Caller::of(tenant), server).await {
                self.note(&report, say);
            }
        }))
        .await;
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|name, _| servers.contains(name));
    }

    fn note(&self, report: &ServerReport, say: &Say) {
        let now = Seen { up: report.result.is_ok() };
        let before = self.seen.write().unwrap_or_else(PoisonError::into_inner).insert(report.name.clone(), now.clone());
        match (&report.result, before) {
            (Err(error), before) if before.as_ref() != Some(&now) => {
                say(&format!("mcp server \"{}\" does not answer, and its tools are missing: {error}", report.name));
            }
            (Ok(_), Some(before)) if before != now => say(&format!("mcp server \"{}\" answers again", report.name)),
            _ => {}
        }
    }

    /// Ends every connection and child; how many children are still there, which is none.
    pub async fn close(&self) -> usize {
        self.pool.close().await
    }
}

fn specs(config: &Config) -> Result<Vec<ServerSpec>, Error> {
    let specs: Vec<ServerSpec> = config.mcp.servers.iter().map(spec).collect();
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

/// A gate for tool calls that no model made.
struct ToolGate(Tenancy);

impl Gate for ToolGate {
    fn admit(&self, caller: &Caller, _model: &str, request_id: &str) -> Result<Box<dyn Reservation>, Error> {
        self.0.admit_tools(caller, request_id)
    }
}

/// The tenants' own tools for MCP clients.
pub struct McpTools {
    tools: Arc<PluginTools>,
    http: HttpTools,
}

impl McpTools {
    /// Offers each tenant the tools of its plugin chain, under its own policy and limits.
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
        // The guard has put the caller of a good key there.
        let caller_of = |parts: &axum::http::request::Parts| parts.extensions.get::<Caller>().cloned();
        let http = http_service(Arc::clone(&tools) as Arc<dyn ToolSource>, options, Arc::new(caller_of));
        Self { tools, http }
    }

    /// What the router calls.
    #[must_use]
    pub fn door(&self) -> McpDoor {
        let service = ServiceExt::<Request<Body>>::map_response(self.http.clone(), |response| response.map(Body::new));
        BoxCloneSyncService::new(service)
    }

    /// Tells clients that lists may have changed.
    pub fn announce(&self) {
        self.tools.announce();
    }

    /// Ends sessions; running calls have `time`. How many were cut off.
    pub async fn drain(&self, time: std::time::Duration) -> usize {
        self.http.drain(time).await
    }
}

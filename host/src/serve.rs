//! A server: models, plugins, tenants, sessions and tools behind one port, started, reloaded and ended in order.

pub mod approvals;
pub mod connections;
pub mod cors;
pub mod doors;
pub mod drain;
pub mod encoder;
pub mod hooks;
pub mod listener;
mod live_hooks;
pub mod mcp;
pub mod metrics;
pub mod models;
pub mod request_bytes;
mod server;

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response};
use firebox_contract::{Caller, Error, GenerationRequest, ToolChoice, ToolDefinition, ToolSource};
use firebox_engine::TenantPermits;
use tokio::sync::watch;
use tower::util::BoxCloneSyncService;

pub use connections::address::ClientAddress;
pub use server::{Drained, Say, Server};

use crate::audit::Audit;
use crate::config::{Config, Scope, TenantConfig, ToolsConfig};
use crate::http::{BusySessions, RefusalLog, StoreShares};
use crate::sessions::SessionStore;
use crate::tenancy::{Tenancy, Tenant};
use approvals::Approvals;
use connections::tenants::TenantShares;
use doors::Doors;
use drain::Drain;
use hooks::TenantHooks;
use mcp::{McpServers, McpTools};
use metrics::Metrics;
use models::Models;
use request_bytes::RequestBytes;

/// The MCP door as the router calls it.
pub type McpDoor = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The name of the one tenant of a server without tenants.
pub const LOCAL_TENANT: &str = "local";

/// What every request of a server shares.
pub struct App {
    pub(crate) tenancy: Tenancy,
    pub(crate) audit: Option<Audit>,
    pub(crate) models: Arc<Models>,
    pub(crate) hooks: TenantHooks,
    pub(crate) tools: Arc<dyn ToolSource>,
    pub(crate) sessions: SessionStore,
    pub(crate) busy: BusySessions,
    pub(crate) refusal_log: RefusalLog,
    pub(crate) store_shares: StoreShares,
    pub(crate) approvals: Approvals,
    pub(crate) metrics: Metrics,
    pub(crate) drain: Drain,
    pub(crate) doors: Doors,
    pub(crate) shares: TenantShares,
    pub(crate) mcp_servers: McpServers,
    pub(crate) mcp_tools: McpTools,
    pub(crate) mcp_door: McpDoor,
    pub(crate) request_timeout: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) request_bytes: RequestBytes,
    /// For bodies that are read on threads for blocking work.
    pub(crate) readings: TenantPermits,
    pub(crate) started: SystemTime,
    /// Becomes true when running answers are to end now.
    pub(crate) cut: watch::Receiver<bool>,
    /// What a reload may change.
    settings: RwLock<Settings>,
}

struct Settings {
    tools: ToolsConfig,
    /// The tenant of everybody, where the configuration has none.
    open: Option<Tenant>,
}

impl Settings {
    fn of(config: &Config, open: bool) -> Self {
        let open = config.tenants.first().filter(|_| open).map(open_tenant);
        Self { tools: config.tools.clone(), open }
    }
}

impl App {
    /// Whose request this is.
    ///
    /// # Errors
    /// `Error::Unauthorized` without a good key, where there are tenants.
    pub fn tenant_of(&self, authorization: Option<&HeaderValue>) -> Result<Tenant, Error> {
        if let Some(open) = &self.settings.read().unwrap_or_else(PoisonError::into_inner).open {
            return Ok(open.clone());
        }
        self.tenancy.authenticate(authorization.and_then(|value| value.to_str().ok()))
    }

    /// What the operator lets tool loops do.
    pub(crate) fn tools(&self) -> ToolsConfig {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).tools.clone()
    }

    fn set(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The tools a request offers to its model.
    ///
    /// # Errors
    /// `Error::Denied` for a plugin the caller may not add.
    pub(crate) async fn offered(
        &self,
        caller: &Caller,
        request: &GenerationRequest,
    ) -> Result<Vec<ToolDefinition>, Error> {
        let mut offered = request.tools.client.clone();
        if request.tools.rounds > 0 && request.tools.choice != ToolChoice::None {
            offered.extend(self.hooks.tools(caller, &request.plugins)?);
            offered.extend(self.tools.tools(caller).await);
        }
        Ok(offered)
    }

    /// What keeps this server from being ready; nothing when it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.drain.is_closing() {
            missing.push("the server is shutting down".to_owned());
        }
        let models = self.models.all().iter().filter(|model| !metrics::is_up(&model.state()));
        missing.extend(models.map(|model| format!("model \"{}\"", model.name())));
        if self.audit.as_ref().is_some_and(|audit| audit.ready().is_err()) {
            missing.push("the audit log".to_owned());
        }
        if self.sessions.trouble().is_some() {
            missing.push("the session store".to_owned());
        }
        missing.extend(self.mcp_servers.missing().into_iter().map(|name| format!("mcp server \"{name}\"")));
        missing
    }
}

/// Everybody, on a server that has no tenants: the operator is alone on this machine.
fn open_tenant(config: &TenantConfig) -> Tenant {
    let caller = Caller { in_flight_max: config.limits.in_flight_max, ..Caller::local() };
    Tenant {
        id: caller.tenant.clone(),
        caller,
        config: Arc::new(config.clone()),
        scopes: Scope::ALL.iter().map(|row| row.1).collect(),
        key_id: Arc::from(""),
    }
}

//! The server: connections, tenants' plugins and tools, models and metrics, started, reloaded and shut down in order.
//! `crate::http` has the endpoints.

pub mod approvals;
pub mod connections;
pub mod hooks;
pub mod mcp;
pub mod metrics;
pub mod models;
pub mod server;

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
pub use server::{Drained, Server, StatusSink};

use crate::audit::Audit;
use crate::config::{Config, Scope, TenantConfig, ToolsConfig};
use crate::http::{RefusalLog, SessionLocks, StorePermits};
use crate::sessions::SessionStore;
use crate::tenancy::{Tenancy, Tenant};
use approvals::Approvals;
use connections::open_requests::OpenRequests;
use connections::origin::OriginPolicy;
use connections::request_bytes::RequestByteBudget;
use hooks::TenantHooks;
use mcp::{McpServers, McpTools};
use metrics::Metrics;
use models::ServedModels;
use server::drain::Drain;

/// The MCP service behind `/mcp`.
pub type McpEndpoint = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The name of the only tenant of a server without configured tenants.
pub const LOCAL_TENANT: &str = "local";

/// The state of a server, shared by all requests.
pub struct App {
    pub(crate) tenancy: Tenancy,
    pub(crate) audit: Option<Audit>,
    pub(crate) models: Arc<ServedModels>,
    pub(crate) hooks: TenantHooks,
    pub(crate) tools: Arc<dyn ToolSource>,
    pub(crate) sessions: SessionStore,
    pub(crate) session_locks: SessionLocks,
    pub(crate) store_permits: StorePermits,
    pub(crate) refusal_log: RefusalLog,
    pub(crate) approvals: Approvals,
    pub(crate) metrics: Metrics,
    pub(crate) drain: Drain,
    pub(crate) origin_policy: OriginPolicy,
    pub(crate) open_requests: OpenRequests,
    pub(crate) mcp_servers: McpServers,
    pub(crate) mcp_tools: McpTools,
    pub(crate) mcp_endpoint: McpEndpoint,
    pub(crate) request_timeout: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) request_bytes: RequestByteBudget,
    /// Permits to parse long bodies on threads for blocking work.
    pub(crate) body_parsers: TenantPermits,
    pub(crate) started: SystemTime,
    /// Becomes true when the shutdown cuts running answers.
    pub(crate) cut: watch::Receiver<bool>,
    /// The settings that a reload may change.
    settings: RwLock<Settings>,
}

/// The settings that a reload may change.
struct Settings {
    tools: ToolsConfig,
    /// The tenant of all clients of a server without configured tenants.
    open: Option<Tenant>,
}

impl Settings {
    fn of(config: &Config, is_open: bool) -> Self {
        let open = config.tenants.first().filter(|_| is_open).map(open_tenant);
        Self { tools: config.tools.clone(), open }
    }
}

impl App {
    /// The tenant of a request.
    ///
    /// # Errors
    /// `Error::Unauthorized` without a valid key, if the server has tenants.
    pub fn tenant_of(&self, authorization: Option<&HeaderValue>) -> Result<Tenant, Error> {
        if let Some(open) = &self.settings.read().unwrap_or_else(PoisonError::into_inner).open {
            return Ok(open.clone());
        }
        self.tenancy.authenticate(authorization.and_then(|value| value.to_str().ok()))
    }

    /// The operator's limits on tool calls.
    pub(crate) fn tools(&self) -> ToolsConfig {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).tools.clone()
    }

    fn set(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The tools that a request offers to its model.
    ///
    /// # Errors
    /// `Error::Denied` for a plugin that the caller may not add.
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

    /// The reasons why this server is not ready; empty if it is.
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

/// The tenant of all clients of a server without configured tenants.
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

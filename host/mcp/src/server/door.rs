//! The protocol's methods over a set of tools.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firebox_contract::{Caller, limits};
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, Extensions, ListToolsResult, PaginatedRequestParams,
    ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::notices::{self, Listener};
use super::{Shared, call, http};

/// Serves one connection, one session or one request.
pub(super) struct Door {
    shared: Arc<Shared>,
    /// The one who asks, where the door itself knows; over HTTP every request says.
    caller: Option<Caller>,
    watching: AtomicBool,
    /// Ends what this door started when the door goes.
    life: CancellationToken,
    _guard: DropGuard,
}

impl Door {
    pub(super) fn new(shared: Arc<Shared>, caller: Option<Caller>) -> Self {
        let life = CancellationToken::new();
        Self { shared, caller, watching: AtomicBool::new(false), _guard: life.clone().drop_guard(), life }
    }

    fn caller(&self, extensions: &Extensions) -> Result<Caller, ErrorData> {
        let said = extensions.get::<::http::request::Parts>().and_then(|parts| parts.extensions.get::<Caller>());
        let caller = said.or(self.caller.as_ref()).cloned();
        caller.ok_or_else(|| ErrorData::internal_error("nobody was authenticated for this request", None))
    }
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        self.shared.config.clone()
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        http::tools_of_this_request()?.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if let Some(cursor) = request.and_then(|request| request.cursor) {
            let message = format!("there is no page \"{cursor}\": the list has one page; ask without a cursor");
            return Err(ErrorData::invalid_params(message, None));
        }
        let caller = self.caller(&context.extensions)?;
        let list = self.shared.lists.of(&*self.shared.source, &caller).await;
        let fresh = u64::try_from(limits::MCP_LIST_TTL.as_millis()).unwrap_or(u64::MAX);
        // Another caller's list may be another one, so nobody between may keep it.
        Ok(ListToolsResult::with_all_items(list.to_vec()).with_ttl_ms(fresh).with_cache_scope(CacheScope::Private))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context.extensions)?;
        Ok(call::run(&self.shared, &caller, request, &context).await?.into())
    }

    /// Revisions with a handshake: notices go to the session, for as long as it lasts.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let Ok(caller) = self.caller(&context.extensions) else { return };
        if self.watching.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, life) = (Arc::clone(&self.shared), self.life.clone());
        tokio::spawn(async move {
            let listener = Listener::Session(context.peer);
            tokio::select! {
                () = notices::watch(&shared, &caller, &listener) => {}
                () = life.cancelled() => {}
            }
        });
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    /// Revision 2026-07-28: notices go to whoever listens, until the request is cancelled.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let caller = self.caller(&context.request_context().extensions)?;
        let most = limits::MCP_SUBSCRIPTIONS_PER_TENANT_MAX;
        let Some(_place) = self.shared.listeners.take(&caller.tenant, most) else {
            return Err(ErrorData::internal_error(http::too_many_listen().to_string(), None));
        };
        let listener = Listener::Subscription(context.sink().clone());
        tokio::select! {
            () = notices::watch(&self.shared, &caller, &listener) => {}
            () = context.cancelled() => {}
        }
        Ok(())
    }
}

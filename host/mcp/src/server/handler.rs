//! The protocol's methods for a set of tools.

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

use super::notifications::{self, ListSubscriber};
use super::{ServerContext, call, http};

/// Handles the messages of one connection, one session or one request.
pub(super) struct McpHandler {
    shared: Arc<ServerContext>,
    /// The caller, if it is fixed for the handler. Over HTTP each request has its caller.
    caller: Option<Caller>,
    watching: AtomicBool,
    /// Cancelled when the handler is dropped. Ends the tasks that it started.
    life: CancellationToken,
    _guard: DropGuard,
}

impl McpHandler {
    pub(super) fn new(shared: Arc<ServerContext>, caller: Option<Caller>) -> Self {
        let life = CancellationToken::new();
        Self { shared, caller, watching: AtomicBool::new(false), _guard: life.clone().drop_guard(), life }
    }

    fn caller(&self, extensions: &Extensions) -> Result<Caller, ErrorData> {
        let found = extensions.get::<::http::request::Parts>().and_then(|parts| parts.extensions.get::<Caller>());
        let caller = found.or(self.caller.as_ref()).cloned();
        caller.ok_or_else(|| ErrorData::internal_error("this request has no authenticated caller", None))
    }
}

impl ServerHandler for McpHandler {
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
        // Other callers may have other lists, so shared caches must not store it.
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

    /// Revisions with a handshake: notifications go to the session until it ends.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let Ok(caller) = self.caller(&context.extensions) else { return };
        if self.watching.swap(true, Ordering::Relaxed) {
            return;
        }
        let (shared, life) = (Arc::clone(&self.shared), self.life.clone());
        tokio::spawn(async move {
            let subscriber = ListSubscriber::Session(context.peer);
            tokio::select! {
                () = notifications::watch(&shared, &caller, &subscriber) => {}
                () = life.cancelled() => {}
            }
        });
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    /// Revision 2026-07-28: notifications go to the subscription request until it is cancelled.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let caller = self.caller(&context.request_context().extensions)?;
        let most = limits::MCP_SUBSCRIPTIONS_PER_TENANT_MAX;
        let Some(_permit) = self.shared.subscriptions.take(&caller.tenant, most) else {
            return Err(ErrorData::internal_error(http::too_many_subscriptions().to_string(), None));
        };
        let subscriber = ListSubscriber::Subscription(context.sink().clone());
        tokio::select! {
            () = notifications::watch(&self.shared, &caller, &subscriber) => {}
            () = context.cancelled() => {}
        }
        Ok(())
    }
}

//! What a server may tell us: progress, changes of its list, log lines. What it asks of us is declined: this client
//! has no person to ask, no model to lend and no folders to show.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::limits::{MCP_CLIENT_PROGRESS_BUFFERED_MAX, MCP_CLIENT_PROGRESS_TEXT_BYTES_MAX};
use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, ProgressNotificationParam, ProgressToken,
};
use rmcp::service::{NotificationContext, Peer, PeerRequestOptions, RequestHandle, ServiceError};
use rmcp::{ClientHandler, RoleClient};
use tokio::sync::{Notify, RwLock, mpsc};

use super::content;

/// One report of progress.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    pub(super) done: f64,
    pub(super) total: Option<f64>,
    pub(super) message: Option<String>,
}

/// Which call a report belongs to.
#[derive(Debug, Default)]
pub(super) struct ProgressTable {
    calls: Mutex<HashMap<ProgressToken, mpsc::Sender<Report>>>,
    /// Held while a request goes out: its token is known only after that, and a report may be faster.
    sending: RwLock<()>,
}

impl ProgressTable {
    /// Sends `request` and listens to its progress. Dropping the listener ends it.
    pub(super) async fn send(
        self: &Arc<Self>,
        peer: &Peer<RoleClient>,
        request: ClientRequest,
    ) -> Result<(RequestHandle<RoleClient>, Listener), ServiceError> {
        let _sending = self.sending.read().await;
        let handle = peer.send_request_with_option(request, PeerRequestOptions::no_options()).await?;
        let (sender, reports) = mpsc::channel(MCP_CLIENT_PROGRESS_BUFFERED_MAX);
        let token = handle.progress_token.clone();
        self.lock().insert(token.clone(), sender);
        Ok((handle, Listener { reports, token, table: Arc::clone(self) }))
    }

    async fn report(&self, told: ProgressNotificationParam) {
        if !self.lock().contains_key(&told.progress_token) {
            // Waits for requests that are just going out; what is unknown then belongs to a call that ended.
            drop(self.sending.write().await);
        }
        let sender = self.lock().get(&told.progress_token).cloned();
        if let Some(sender) = sender {
            let message = told.message.map(|text| content::cut(&text, MCP_CLIENT_PROGRESS_TEXT_BYTES_MAX).to_owned());
            let report = Report { done: told.progress, total: told.total, message };
            // Reports nobody has time for are not worth waiting for.
            drop(sender.try_send(report));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ProgressToken, mpsc::Sender<Report>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reading end of one call's progress.
pub(super) struct Listener {
    pub(super) reports: mpsc::Receiver<Report>,
    token: ProgressToken,
    table: Arc<ProgressTable>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.table.lock().remove(&self.token);
    }
}

/// The client's side of a connection.
pub(super) struct Handler {
    pub(super) server: String,
    pub(super) progress: Arc<ProgressTable>,
    pub(super) list_changed: Arc<Notify>,
}

impl ClientHandler for Handler {
    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        self.progress.report(params).await;
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.list_changed.notify_one();
    }

    #[allow(deprecated, reason = "servers of older revisions still log this way")]
    async fn on_logging_message(
        &self,
        params: rmcp::model::LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        tracing::debug!(server = %self.server, level = ?params.level, "{}", params.data);
    }

    fn get_info(&self) -> ClientConfig {
        let about = Implementation::new("firebox", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), about)
    }
}

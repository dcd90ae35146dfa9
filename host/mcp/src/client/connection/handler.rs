//! Notifications from a server: progress, changes of its list, log lines. Requests from a server are declined, because this
//! client offers no elicitation, no sampling and no roots.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use firebox_contract::limits::{MCP_CLIENT_PROGRESS_BUFFERED_MAX, MCP_CLIENT_PROGRESS_TEXT_BYTES_MAX};
use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, ProgressNotificationParam, ProgressToken,
};
use rmcp::service::{NotificationContext, Peer, PeerRequestOptions, RequestHandle, ServiceError};
use rmcp::{ClientHandler, RoleClient};
use tokio::sync::{Notify, RwLock, mpsc};

use crate::client::connection::definition;

/// One progress report.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::client) struct ProgressReport {
    pub(in crate::client) done: f64,
    pub(in crate::client) total: Option<f64>,
    pub(in crate::client) message: Option<String>,
}

/// The receiver of progress reports of each call.
#[derive(Debug, Default)]
pub(in crate::client) struct ProgressTable {
    calls: Mutex<HashMap<ProgressToken, mpsc::Sender<ProgressReport>>>,
    /// Locked for reading while a request is sent. Its progress token is known only afterwards, and a report may arrive earlier.
    sending: RwLock<()>,
}

impl ProgressTable {
    /// Sends `request` and registers a receiver of its progress. Dropping the receiver unregisters it.
    pub(in crate::client) async fn send(
        self: &Arc<Self>,
        peer: &Peer<RoleClient>,
        request: ClientRequest,
    ) -> Result<(RequestHandle<RoleClient>, ProgressReceiver), ServiceError> {
        let _sending = self.sending.read().await;
        let handle = peer.send_request_with_option(request, PeerRequestOptions::no_options()).await?;
        let (sender, reports) = mpsc::channel(MCP_CLIENT_PROGRESS_BUFFERED_MAX);
        let token = handle.progress_token.clone();
        self.lock().insert(token.clone(), sender);
        Ok((handle, ProgressReceiver { reports, token, table: Arc::clone(self) }))
    }

    async fn report(&self, notification: ProgressNotificationParam) {
        if !self.lock().contains_key(&notification.progress_token) {
            // Wait for requests that are being sent. A token that is unknown afterwards belongs to a call that has ended.
            drop(self.sending.write().await);
        }
        let sender = self.lock().get(&notification.progress_token).cloned();
        if let Some(sender) = sender {
            let message =
                notification.message.map(|text| definition::cut(&text, MCP_CLIENT_PROGRESS_TEXT_BYTES_MAX).to_owned());
            let report = ProgressReport { done: notification.progress, total: notification.total, message };
            // If the receiver does not keep up, the report is dropped.
            drop(sender.try_send(report));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ProgressToken, mpsc::Sender<ProgressReport>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives the progress reports of one call.
pub(in crate::client) struct ProgressReceiver {
    pub(in crate::client) reports: mpsc::Receiver<ProgressReport>,
    token: ProgressToken,
    table: Arc<ProgressTable>,
}

impl Drop for ProgressReceiver {
    fn drop(&mut self) {
        self.table.lock().remove(&self.token);
    }
}

/// Handles the notifications of one connection.
pub(in crate::client) struct Handler {
    pub(in crate::client) server: String,
    pub(in crate::client) progress: Arc<ProgressTable>,
    pub(in crate::client) list_changed: Arc<Notify>,
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

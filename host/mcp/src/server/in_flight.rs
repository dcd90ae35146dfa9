//! Requests of one connection or session that wait for their answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::limits;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::watch;

/// The ids in use. Two requests of one id would share what rmcp knows of it, and one would never be answered.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Whether each will be answered by itself: one that listens is not.
    ids: Mutex<HashMap<RequestId, bool>>,
    /// How many will be.
    answers: watch::Sender<usize>,
}

impl InFlight {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { ids: Mutex::default(), answers: watch::Sender::new(0) })
    }

    /// Takes the id of `request`, until it is answered.
    ///
    /// # Errors
    /// In words, where the id is in use or too many are.
    pub(super) fn begin(&self, id: &RequestId, request: &ClientRequest) -> Result<(), String> {
        let mut ids = self.lock();
        if ids.contains_key(id) {
            return Err(format!("the id {} belongs to a request that still runs; give each its own", shown(id)));
        }
        if ids.len() >= limits::MCP_SERVER_REQUESTS_MAX {
            let most = limits::MCP_SERVER_REQUESTS_MAX;
            return Err(format!("{most} requests wait for their answer already; send this one when one has it"));
        }
        ids.insert(id.clone(), !matches!(request, ClientRequest::SubscriptionsListenRequest(_)));
        self.tell(&ids);
        Ok(())
    }

    /// Gives the id back: the request is answered, or cancelled and will not be.
    pub(super) fn end(&self, id: &RequestId) {
        let mut ids = self.lock();
        ids.remove(id);
        self.tell(&ids);
    }

    /// What `message` of the client ends.
    pub(super) fn heard(&self, message: &ClientJsonRpcMessage) {
        if let JsonRpcMessage::Notification(notification) = message
            && let ClientNotification::CancelledNotification(cancelled) = &notification.notification
            && let Some(id) = &cancelled.params.request_id
        {
            self.end(id);
        }
    }

    /// Ends when no request waits for an answer.
    pub(super) async fn answered(&self) {
        let mut answers = self.answers.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _none = answers.wait_for(|answers| *answers == 0).await;
    }

    /// How many requests wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        *self.answers.borrow()
    }

    fn tell(&self, ids: &HashMap<RequestId, bool>) {
        self.answers.send_replace(ids.values().filter(|answered| **answered).count());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, bool>> {
        // A panic while the lock was held leaves whole entries.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(id: &RequestId) -> String {
    id.clone().into_json_value().to_string()
}

/// The id that `message` of the server answers.
pub(super) fn answered_id(message: &TxJsonRpcMessage<RoleServer>) -> Option<RequestId> {
    match message {
        JsonRpcMessage::Response(response) => Some(response.id.clone()),
        JsonRpcMessage::Error(error) => error.id.clone(),
        JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
    }
}

/// A transport that gives ids back as their requests end.
pub(super) struct Tracked<T> {
    inner: T,
    in_flight: Arc<InFlight>,
}

impl<T> Tracked<T> {
    pub(super) fn new(inner: T, in_flight: Arc<InFlight>) -> Self {
        Self { inner, in_flight }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Tracked<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let (id, in_flight) = (answered_id(&message), Arc::clone(&self.in_flight));
        let sending = self.inner.send(message);
        async move {
            let sent = sending.await;
            if let Some(id) = id {
                in_flight.end(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        let message = self.inner.receive().await?;
        self.in_flight.heard(&message);
        Some(message)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}

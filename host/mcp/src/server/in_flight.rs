//! The unanswered requests of one connection or session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::limits;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::watch;

/// The ids in use. If two requests had the same id, rmcp would mix them up, and one would never be answered.
#[derive(Debug)]
pub(super) struct InFlightRequests {
    /// For each id, whether the request ends by itself. A subscription does not.
    ids: Mutex<HashMap<RequestId, bool>>,
    /// The number of requests that end by themselves.
    answers: watch::Sender<usize>,
}

impl InFlightRequests {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { ids: Mutex::default(), answers: watch::Sender::new(0) })
    }

    /// Registers the id of `request` until it is answered.
    ///
    /// # Errors
    /// The reason, if the id is in use or there are too many requests.
    pub(super) fn begin(&self, id: &RequestId, request: &ClientRequest) -> Result<(), String> {
        let mut ids = self.lock();
        if ids.contains_key(id) {
            return Err(format!(
                "the id {} belongs to a request that still runs; use a new id for each request",
                shown(id)
            ));
        }
        if ids.len() >= limits::MCP_SERVER_REQUESTS_MAX {
            let most = limits::MCP_SERVER_REQUESTS_MAX;
            return Err(format!("{most} requests already wait for their answers; try again when one is answered"));
        }
        ids.insert(id.clone(), !matches!(request, ClientRequest::SubscriptionsListenRequest(_)));
        self.update(&ids);
        Ok(())
    }

    /// Releases the id of a request that was answered or cancelled.
    pub(super) fn end(&self, id: &RequestId) {
        let mut ids = self.lock();
        ids.remove(id);
        self.update(&ids);
    }

    /// Releases the id of a request that `message` of the client cancels.
    pub(super) fn on_client_message(&self, message: &ClientJsonRpcMessage) {
        if let JsonRpcMessage::Notification(notification) = message
            && let ClientNotification::CancelledNotification(cancelled) = &notification.notification
            && let Some(id) = &cancelled.params.request_id
        {
            self.end(id);
        }
    }

    /// Waits until no request waits for an answer.
    pub(super) async fn answered(&self) {
        let mut answers = self.answers.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _none = answers.wait_for(|answers| *answers == 0).await;
    }

    /// The number of requests that wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        *self.answers.borrow()
    }

    fn update(&self, ids: &HashMap<RequestId, bool>) {
        self.answers.send_replace(ids.values().filter(|answered| **answered).count());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, bool>> {
        // A panic under the lock leaves complete entries.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(id: &RequestId) -> String {
    id.clone().into_json_value().to_string()
}

/// The id of the request that `message` of the server answers.
pub(super) fn answered_id(message: &TxJsonRpcMessage<RoleServer>) -> Option<RequestId> {
    match message {
        JsonRpcMessage::Response(response) => Some(response.id.clone()),
        JsonRpcMessage::Error(error) => error.id.clone(),
        JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
    }
}

/// A transport that releases the ids of answered requests.
pub(super) struct TrackedTransport<T> {
    inner: T,
    in_flight: Arc<InFlightRequests>,
}

impl<T> TrackedTransport<T> {
    pub(super) fn new(inner: T, in_flight: Arc<InFlightRequests>) -> Self {
        Self { inner, in_flight }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for TrackedTransport<T> {
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
        self.in_flight.on_client_message(&message);
        Some(message)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}

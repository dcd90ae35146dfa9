//! Sessions of the revisions that have them: bounded in number, ended when idle and with the caller that began them, each
//! its tenant's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{Error, LivenessHandle, TenantId, limits};
use futures_util::{Stream, StreamExt as _};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage, ServerResult};
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, LocalSessionManagerError};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use tokio::task::JoinHandle;

use super::http;
use super::in_flight::{InFlight, Tracked};
use super::places::{Place, Places};
use super::stdio::lines::has_batches;

/// rmcp's sessions in memory, with owners.
pub(super) struct Sessions {
    inner: Arc<LocalSessionManager>,
    places: Arc<Places>,
    owners: Arc<Mutex<HashMap<SessionId, Owned>>>,
    /// Streams that wait for what a session has to say.
    listeners: Arc<Places>,
}

/// Whose a session is.
struct Owned {
    place: Place,
    /// Ends the session when its caller ends.
    watching: Option<JoinHandle<()>>,
    in_flight: Arc<InFlight>,
    /// Its revision has batches.
    has_batches: bool,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionsError {
    /// The request that asked has been told why.
    #[error("the request is refused")]
    Refused,
    /// What rmcp says.
    #[error(transparent)]
    Inner(#[from] LocalSessionManagerError),
}

impl Sessions {
    pub(super) fn new(listeners: Arc<Places>) -> Self {
        let mut inner = LocalSessionManager::default();
        inner.session_config.channel_capacity = limits::MCP_EVENTS_BUFFERED_MAX;
        inner.session_config.keep_alive = Some(limits::MCP_SESSION_IDLE_TIMEOUT);
        inner.session_config.init_timeout = Some(limits::MCP_SESSION_START_TIMEOUT);
        inner.session_config.completed_cache_ttl = limits::MCP_REPLAY_TIME;
        let (inner, places) = (Arc::new(inner), Places::new(limits::MCP_SESSIONS_MAX));
        Self { inner, places, owners: Arc::default(), listeners }
    }

    /// Whether `tenant` opened the session `id`. Another tenant's session does not exist.
    pub(super) fn is_of(&self, id: &str, tenant: &TenantId) -> bool {
        self.owners().get(id).is_some_and(|owned| owned.place.tenant() == tenant)
    }

    /// Whether the session `id` takes several messages at a time.
    pub(super) fn has_batches(&self, id: &str) -> bool {
        self.owners().get(id).is_some_and(|owned| owned.has_batches)
    }

    /// Takes the id of `message` in the session `id`, where it is a request.
    fn begin(&self, id: &SessionId, message: &ClientJsonRpcMessage) -> Result<(), SessionsError> {
        let JsonRpcMessage::Request(request) = message else { return Ok(()) };
        let Some(in_flight) = self.owners().get(id).map(|owned| Arc::clone(&owned.in_flight)) else { return Ok(()) };
        in_flight.begin(&request.id, &request.request).map_err(|why| {
            if let Some(asked) = http::this_request() {
                asked.refuse(Error::Usage(why));
            }
            SessionsError::Refused
        })
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<SessionId, Owned>> {
        lock(&self.owners)
    }

    /// Ends the session `id` when its caller ends.
    fn watch(&self, id: &SessionId, liveness: &LivenessHandle) -> Option<JoinHandle<()>> {
        if !liveness.can_end() {
            return None;
        }
        let (inner, owners, id, ended) =
            (Arc::clone(&self.inner), Arc::clone(&self.owners), Arc::clone(id), liveness.ended());
        Some(tokio::spawn(async move {
            ended.await;
            // This ends its streams and calls; a session that is gone by now needs no end.
            let _gone = inner.close_session(&id).await;
            // Last, for this ends the task too.
            lock(&owners).remove(&id);
        }))
    }

    /// A place for the one who asks in this request.
    fn place(&self) -> Result<(Place, LivenessHandle), SessionsError> {
        let Some(asked) = http::this_request() else { return Err(SessionsError::Refused) };
        let most = limits::MCP_SESSIONS_PER_TENANT_MAX;
        let place = self.places.take(&asked.caller.tenant, most);
        place.map(|place| (place, asked.caller.liveness.clone())).ok_or_else(|| {
            let message = format!(
                "no more sessions: a tenant may have {most} and {} are open in all; close one with DELETE, or ask \
                 without sessions (revision 2026-07-28)",
                self.places.taken()
            );
            asked.refuse(Error::Limited { message, retry_after: limits::MCP_SESSION_IDLE_TIMEOUT });
            SessionsError::Refused
        })
    }

    /// Counts a stream of the one who asks in this request.
    fn listens(&self) -> Result<Place, SessionsError> {
        let Some(asked) = http::this_request() else { return Err(SessionsError::Refused) };
        let place = self.listeners.take(&asked.caller.tenant, limits::MCP_SUBSCRIPTIONS_PER_TENANT_MAX);
        place.ok_or_else(|| {
            asked.refuse(http::too_many_listen());
            SessionsError::Refused
        })
    }
}

/// `stream`, which counts until it is dropped.
fn holding(
    stream: impl Stream<Item = ServerSseMessage> + Send + Sync + 'static,
    listens: Place,
) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static {
    stream.map(move |message| {
        let _counts = &listens;
        message
    })
}

fn lock(owners: &Mutex<HashMap<SessionId, Owned>>) -> MutexGuard<'_, HashMap<SessionId, Owned>> {
    // A panic while the lock was held leaves whole entries.
    owners.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SessionManager for Sessions {
    type Error = SessionsError;
    type Transport = Tracked<<LocalSessionManager as SessionManager>::Transport>;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let (place, liveness) = self.place()?;
        let (id, transport) = self.inner.create_session().await?;
        let mut owners = self.owners();
        // Under the lock, so that a caller that ends now finds the session.
        let watching = self.watch(&id, &liveness);
        let in_flight = InFlight::new();
        let transport = Tracked::new(transport, Arc::clone(&in_flight));
        owners.insert(Arc::clone(&id), Owned { place, watching, in_flight, has_batches: false });
        drop(owners);
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        let answer = self.inner.initialize_session(id, message).await?;
        if let JsonRpcMessage::Response(response) = &answer
            && let ServerResult::InitializeResult(begun) = &response.result
            && let Some(owned) = self.owners().get_mut(id)
        {
            owned.has_batches = has_batches(&begun.protocol_version);
        }
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        Ok(self.inner.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.owners().remove(id);
        Ok(self.inner.close_session(id).await?)
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.begin(id, &message)?;
        Ok(self.inner.create_stream(id, message).await?)
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Self::Error> {
        Ok(self.inner.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let listens = self.listens()?;
        Ok(holding(self.inner.create_standalone_stream(id).await?, listens))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let listens = self.listens()?;
        Ok(holding(self.inner.resume(id, last_event_id).await?, listens))
    }
}

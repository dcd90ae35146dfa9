//! Sessions of the revisions that have them. Their number is limited, and each belongs to a tenant. A session ends when it is idle
//! or when the caller that opened it ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{Error, LivenessHandle, TenantId, limits};
use futures_util::{Stream, StreamExt as _};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage, ServerResult};
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, LocalSessionManagerError};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use tokio::task::JoinHandle;

use super::http;
use super::in_flight::{InFlightRequests, TrackedTransport};
use super::permits::{Permit, PermitPool};
use super::stdio::lines::has_batches;

/// rmcp's sessions in memory, with the tenant of each.
pub(super) struct SessionStore {
    inner: Arc<LocalSessionManager>,
    permits: Arc<PermitPool>,
    records: Arc<Mutex<HashMap<SessionId, SessionRecord>>>,
    /// The permits of event streams.
    subscriptions: Arc<PermitPool>,
}

/// The tenant and the state of one session.
struct SessionRecord {
    permit: Permit,
    /// Ends the session when its caller ends.
    watching: Option<JoinHandle<()>>,
    in_flight: Arc<InFlightRequests>,
    /// Whether its revision supports batches.
    has_batches: bool,
}

impl Drop for SessionRecord {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

/// The error of a session operation.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The request was refused. Its answer has the reason.
    #[error("the request is refused")]
    Refused,
    /// The error of rmcp.
    #[error(transparent)]
    Inner(#[from] LocalSessionManagerError),
}

impl SessionStore {
    pub(super) fn new(subscriptions: Arc<PermitPool>) -> Self {
        let mut inner = LocalSessionManager::default();
        inner.session_config.channel_capacity = limits::MCP_EVENTS_BUFFERED_MAX;
        inner.session_config.keep_alive = Some(limits::MCP_SESSION_IDLE_TIMEOUT);
        inner.session_config.init_timeout = Some(limits::MCP_SESSION_START_TIMEOUT);
        inner.session_config.completed_cache_ttl = limits::MCP_REPLAY_TIME;
        let (inner, permits) = (Arc::new(inner), PermitPool::new(limits::MCP_SESSIONS_MAX));
        Self { inner, permits, records: Arc::default(), subscriptions }
    }

    /// Whether `tenant` opened the session `id`. Another tenant's session does not exist.
    pub(super) fn is_of(&self, id: &str, tenant: &TenantId) -> bool {
        self.records().get(id).is_some_and(|owned| owned.permit.tenant() == tenant)
    }

    /// Whether the session `id` supports batches.
    pub(super) fn has_batches(&self, id: &str) -> bool {
        self.records().get(id).is_some_and(|owned| owned.has_batches)
    }

    /// Registers the id of `message` in the session `id`, if it is a request.
    fn begin(&self, id: &SessionId, message: &ClientJsonRpcMessage) -> Result<(), SessionError> {
        let JsonRpcMessage::Request(request) = message else { return Ok(()) };
        let Some(in_flight) = self.records().get(id).map(|owned| Arc::clone(&owned.in_flight)) else { return Ok(()) };
        in_flight.begin(&request.id, &request.request).map_err(|why| {
            if let Some(scope) = http::this_request() {
                scope.refuse(Error::Usage(why));
            }
            SessionError::Refused
        })
    }

    fn records(&self) -> MutexGuard<'_, HashMap<SessionId, SessionRecord>> {
        lock(&self.records)
    }

    /// Starts a task that ends the session `id` when its caller ends.
    fn watch(&self, id: &SessionId, liveness: &LivenessHandle) -> Option<JoinHandle<()>> {
        if !liveness.can_end() {
            return None;
        }
        let (inner, records, id, ended) =
            (Arc::clone(&self.inner), Arc::clone(&self.records), Arc::clone(id), liveness.ended());
        Some(tokio::spawn(async move {
            ended.await;
            // Ends its streams and calls. Fails if the session has ended already.
            let _gone = inner.close_session(&id).await;
            // Must be last, because it aborts this task, too.
            lock(&records).remove(&id);
        }))
    }

    /// A session permit for the caller of the current request.
    fn session_permit(&self) -> Result<(Permit, LivenessHandle), SessionError> {
        let Some(scope) = http::this_request() else { return Err(SessionError::Refused) };
        let most = limits::MCP_SESSIONS_PER_TENANT_MAX;
        let permit = self.permits.take(&scope.caller.tenant, most);
        permit.map(|permit| (permit, scope.caller.liveness.clone())).ok_or_else(|| {
            let message = format!(
                "too many sessions: a tenant may have {most} and {} are open in total; close one with DELETE, or send \
                 requests without a session (revision 2026-07-28)",
                self.permits.taken()
            );
            scope.refuse(Error::Limited { message, retry_after: limits::MCP_SESSION_IDLE_TIMEOUT });
            SessionError::Refused
        })
    }

    /// An event stream permit for the caller of the current request.
    fn stream_permit(&self) -> Result<Permit, SessionError> {
        let Some(scope) = http::this_request() else { return Err(SessionError::Refused) };
        let permit = self.subscriptions.take(&scope.caller.tenant, limits::MCP_SUBSCRIPTIONS_PER_TENANT_MAX);
        permit.ok_or_else(|| {
            scope.refuse(http::too_many_subscriptions());
            SessionError::Refused
        })
    }
}

/// `stream` with its permit, which it holds until it is dropped.
fn with_permit(
    stream: impl Stream<Item = ServerSseMessage> + Send + Sync + 'static,
    permit: Permit,
) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static {
    stream.map(move |message| {
        let _held = &permit;
        message
    })
}

fn lock(records: &Mutex<HashMap<SessionId, SessionRecord>>) -> MutexGuard<'_, HashMap<SessionId, SessionRecord>> {
    // A panic under the lock leaves complete entries.
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SessionManager for SessionStore {
    type Error = SessionError;
    type Transport = TrackedTransport<<LocalSessionManager as SessionManager>::Transport>;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let (permit, liveness) = self.session_permit()?;
        let (id, transport) = self.inner.create_session().await?;
        let mut records = self.records();
        // Under the lock, so that a caller that ends now finds the session.
        let watching = self.watch(&id, &liveness);
        let in_flight = InFlightRequests::new();
        let transport = TrackedTransport::new(transport, Arc::clone(&in_flight));
        records.insert(Arc::clone(&id), SessionRecord { permit, watching, in_flight, has_batches: false });
        drop(records);
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
            && let Some(owned) = self.records().get_mut(id)
        {
            owned.has_batches = has_batches(&begun.protocol_version);
        }
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        Ok(self.inner.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.records().remove(id);
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
        let permit = self.stream_permit()?;
        Ok(with_permit(self.inner.create_standalone_stream(id).await?, permit))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let permit = self.stream_permit()?;
        Ok(with_permit(self.inner.resume(id, last_event_id).await?, permit))
    }
}

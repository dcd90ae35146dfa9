//! The unanswered requests of one connection, and warnings about messages of the server that were no answer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::limits::{MCP_CLIENT_UNANSWERED_MAX, MCP_CLIENT_WARNINGS_LOGGED_MAX, MCP_CLIENT_WARNINGS_PERIOD};
use rmcp::RoleClient;
use rmcp::model::{ClientNotification, ClientRequest, JsonRpcMessage, RequestId};
use rmcp::service::TxJsonRpcMessage;
use tokio::time::Instant;

use crate::client::spec::ServerSpec;

/// The kind of a request, which decides how its answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum RequestKind {
    Initialize,
    Discover,
    ListTools,
    CallTool,
    /// Its answer ends the subscription.
    Subscribe,
    Other,
}

/// The id and kind of a request. `None` for messages that need no answer.
pub(in crate::client) fn request_of(message: &TxJsonRpcMessage<RoleClient>) -> Option<(RequestId, RequestKind)> {
    let JsonRpcMessage::Request(request) = message else { return None };
    let asked = match &request.request {
        ClientRequest::InitializeRequest(_) => RequestKind::Initialize,
        ClientRequest::DiscoverRequest(_) => RequestKind::Discover,
        ClientRequest::ListToolsRequest(_) => RequestKind::ListTools,
        ClientRequest::CallToolRequest(_) => RequestKind::CallTool,
        ClientRequest::SubscriptionsListenRequest(_) => RequestKind::Subscribe,
        _ => RequestKind::Other,
    };
    Some((request.id.clone(), asked))
}

/// Warnings about messages that were no answer. The last one is added to the error if an answer never comes.
#[derive(Debug)]
pub(in crate::client) struct ServerWarnings {
    spec: Arc<ServerSpec>,
    log: Mutex<WarningLog>,
}

#[derive(Debug, Default)]
struct WarningLog {
    last: Option<(Instant, String)>,
    since: Option<Instant>,
    logged: usize,
}

impl ServerWarnings {
    pub(in crate::client) fn new(spec: &Arc<ServerSpec>) -> Arc<Self> {
        Arc::new(Self { spec: Arc::clone(spec), log: Mutex::default() })
    }

    /// Records a warning, and logs a limited number per period.
    pub(in crate::client) fn note(&self, what: &str) {
        let what = self.spec.redact(what);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if log.since.is_none_or(|since| now.duration_since(since) >= MCP_CLIENT_WARNINGS_PERIOD) {
            (log.since, log.logged) = (Some(now), 0);
        }
        log.logged += 1;
        if log.logged <= MCP_CLIENT_WARNINGS_LOGGED_MAX {
            tracing::warn!(server = %self.spec.name, "{what}");
        }
        log.last = Some((now, what));
    }

    /// The last warning, if it was recorded after `moment`.
    pub(in crate::client) fn since(&self, moment: Instant) -> Option<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.last.as_ref().filter(|(at, _)| *at >= moment).map(|(_, what)| what.clone())
    }
}

/// The unanswered requests of one connection.
#[derive(Debug)]
pub(in crate::client) struct Exchange {
    warnings: Arc<ServerWarnings>,
    state: Mutex<ExchangeState>,
    late: AtomicBool,
    status: AtomicU16,
}

#[derive(Debug, Default)]
struct ExchangeState {
    pending: HashMap<RequestId, RequestKind>,
    /// Cancelled requests. A late answer to one of them is ignored.
    abandoned: HashSet<RequestId>,
    /// The requests whose answer continues after an event, by the id of the event.
    resumable: HashMap<String, (RequestId, RequestKind)>,
    probe: Option<(Instant, RequestId)>,
    unknown_revision: Option<String>,
}

impl Exchange {
    pub(in crate::client) fn new(warnings: &Arc<ServerWarnings>) -> Arc<Self> {
        let (late, status) = (AtomicBool::new(false), AtomicU16::new(0));
        Arc::new(Self { warnings: Arc::clone(warnings), state: Mutex::default(), late, status })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ExchangeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a sent message. `probe` is the time to answer the question for the newest revision.
    pub(in crate::client) fn sent(&self, message: &TxJsonRpcMessage<RoleClient>, probe: Duration) {
        let mut state = self.state();
        if let Some((id, asked)) = request_of(message) {
            match asked {
                RequestKind::Discover => state.probe = Some((Instant::now() + probe, id.clone())),
                RequestKind::Initialize => state.abandon_probe(),
                _ => {}
            }
            // The number of calls is limited elsewhere, so this limit is not reached.
            if state.pending.len() < MCP_CLIENT_UNANSWERED_MAX {
                state.pending.insert(id, asked);
            }
        } else if let JsonRpcMessage::Notification(note) = message
            && let ClientNotification::CancelledNotification(cancelled) = &note.notification
            && let Some(id) = &cancelled.params.request_id
        {
            state.abandon(id.clone());
        }
    }

    /// Removes the request with this id, and returns its kind.
    pub(in crate::client) fn take(&self, id: &RequestId) -> Option<RequestKind> {
        self.state().pending.remove(id)
    }

    /// Whether a request with this id waits for its answer.
    pub(in crate::client) fn awaits(&self, id: &RequestId) -> bool {
        self.state().pending.contains_key(id)
    }

    /// The only waiting request, not counting subscriptions. `None` if there are several.
    pub(in crate::client) fn only(&self) -> Option<RequestId> {
        let state = self.state();
        let mut pending = state.pending.iter().filter(|(_, asked)| **asked != RequestKind::Subscribe);
        let only = pending.next().map(|(id, _)| id.clone());
        only.filter(|_| pending.next().is_none())
    }

    /// Whether a request with this id was cancelled.
    pub(in crate::client) fn was_abandoned(&self, id: &RequestId) -> bool {
        self.state().abandoned.remove(id)
    }

    /// The time at which the question for the newest revision counts as not understood.
    pub(in crate::client) fn probe_ends(&self) -> Option<Instant> {
        let state = self.state();
        let (end, id) = state.probe.as_ref()?;
        state.pending.contains_key(id).then_some(*end)
    }

    /// Stops waiting for the answer to the question for the newest revision.
    pub(in crate::client) fn end_probe(&self) -> Option<RequestId> {
        let mut state = self.state();
        let (_, id) = state.probe.clone()?;
        state.abandon_probe();
        Some(id)
    }

    /// Whether the server answered, too late, that it knows the newest revision.
    pub(in crate::client) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    pub(in crate::client) fn note_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }

    /// The HTTP status with which the server refused the handshake, or 0.
    pub(in crate::client) fn status(&self) -> u16 {
        self.status.load(Ordering::Relaxed)
    }

    pub(in crate::client) fn note_status(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// A revision that the server named and the host does not know.
    pub(in crate::client) fn unknown_revision(&self) -> Option<String> {
        self.state().unknown_revision.clone()
    }

    pub(in crate::client) fn note_unknown_revision(&self, revision: String) {
        self.state().unknown_revision = Some(revision);
    }

    /// Records that the stream with the answer to `request` can be resumed after `event`.
    pub(in crate::client) fn resumes(&self, event: String, request: (RequestId, RequestKind)) {
        let mut state = self.state();
        let ExchangeState { resumable, pending, .. } = &mut *state;
        resumable.retain(|_, (id, _)| pending.contains_key(id) && *id != request.0);
        resumable.insert(event, request);
    }

    /// The request whose answer continues after this event.
    pub(in crate::client) fn resumed(&self, event: &str) -> Option<(RequestId, RequestKind)> {
        self.state().resumable.get(event).cloned()
    }

    pub(in crate::client) fn warn(&self, what: String) {
        self.warnings.note(&what);
    }

    pub(in crate::client) fn warnings(&self) -> &Arc<ServerWarnings> {
        &self.warnings
    }
}

impl ExchangeState {
    fn abandon(&mut self, id: RequestId) {
        if self.pending.remove(&id).is_some() {
            if self.abandoned.len() >= MCP_CLIENT_UNANSWERED_MAX {
                self.abandoned.clear();
            }
            self.abandoned.insert(id);
        }
    }

    fn abandon_probe(&mut self) {
        if let Some((_, id)) = self.probe.take() {
            self.abandon(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Secret, ServerTransport, StdioServer};

    #[test]
    fn remarks_contain_no_secrets() {
        let env = vec![("TOKEN".to_owned(), Secret::new("hunter22"))];
        let server = StdioServer { command: "server".to_owned(), env, ..StdioServer::default() };
        let warnings = ServerWarnings::new(&Arc::new(ServerSpec::new("one", ServerTransport::Stdio(server))));
        let before = Instant::now();
        warnings.note("it wrote \"TOKEN=hunter22\"");
        assert_eq!(warnings.since(before).as_deref(), Some("it wrote \"TOKEN=[secret]\""));
        assert_eq!(warnings.since(Instant::now() + Duration::from_secs(1)), None);
    }
}

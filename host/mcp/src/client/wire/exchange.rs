//! What was asked of one server and is not answered yet, and what it did meanwhile that was no answer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firebox_contract::limits::{MCP_CLIENT_UNANSWERED_MAX, MCP_CLIENT_WARNINGS_LOGGED_MAX, MCP_CLIENT_WARNINGS_PERIOD};
use rmcp::RoleClient;
use rmcp::model::{ClientNotification, ClientRequest, JsonRpcMessage, RequestId};
use rmcp::service::TxJsonRpcMessage;
use tokio::time::Instant;

use super::super::spec::ServerSpec;

/// What a request asks for, as far as that decides how its answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Asked {
    Initialize,
    Discover,
    ListTools,
    CallTool,
    /// An answer to it is the end of what it subscribes to.
    Subscribe,
    Other,
}

/// The id of a request and what it asks for; nothing for what awaits no answer.
pub(in crate::client) fn request_of(message: &TxJsonRpcMessage<RoleClient>) -> Option<(RequestId, Asked)> {
    let JsonRpcMessage::Request(request) = message else { return None };
    let asked = match &request.request {
        ClientRequest::InitializeRequest(_) => Asked::Initialize,
        ClientRequest::DiscoverRequest(_) => Asked::Discover,
        ClientRequest::ListToolsRequest(_) => Asked::ListTools,
        ClientRequest::CallToolRequest(_) => Asked::CallTool,
        ClientRequest::SubscriptionsListenRequest(_) => Asked::Subscribe,
        _ => Asked::Other,
    };
    Some((request.id.clone(), asked))
}

/// What a server said that was no answer: the last of it belongs into the message about an answer that never came.
#[derive(Debug)]
pub(in crate::client) struct Remarks {
    spec: Arc<ServerSpec>,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<(Instant, String)>,
    since: Option<Instant>,
    logged: usize,
}

impl Remarks {
    pub(in crate::client) fn new(spec: &Arc<ServerSpec>) -> Arc<Self> {
        Arc::new(Self { spec: Arc::clone(spec), said: Mutex::default() })
    }

    /// Keeps what happened, and logs so many a minute of it.
    pub(in crate::client) fn note(&self, what: &str) {
        let what = self.spec.redact(what);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if said.since.is_none_or(|since| now.duration_since(since) >= MCP_CLIENT_WARNINGS_PERIOD) {
            (said.since, said.logged) = (Some(now), 0);
        }
        said.logged += 1;
        if said.logged <= MCP_CLIENT_WARNINGS_LOGGED_MAX {
            tracing::warn!(server = %self.spec.name, "{what}");
        }
        said.last = Some((now, what));
    }

    /// The last of it, where it happened after `moment`.
    pub(in crate::client) fn since(&self, moment: Instant) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.last.as_ref().filter(|(at, _)| *at >= moment).map(|(_, what)| what.clone())
    }
}

/// The requests of one connection.
#[derive(Debug)]
pub(in crate::client) struct Exchange {
    remarks: Arc<Remarks>,
    state: Mutex<State>,
    late: AtomicBool,
    status: AtomicU16,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<RequestId, Asked>,
    /// Nobody waits for them any more; an answer to them is no fault.
    abandoned: HashSet<RequestId>,
    /// Whose answer goes on after the event of this id.
    resumable: HashMap<String, (RequestId, Asked)>,
    probe: Option<(Instant, RequestId)>,
    unknown_revision: Option<String>,
}

impl Exchange {
    pub(in crate::client) fn new(remarks: &Arc<Remarks>) -> Arc<Self> {
        let (late, status) = (AtomicBool::new(false), AtomicU16::new(0));
        Arc::new(Self { remarks: Arc::clone(remarks), state: Mutex::default(), late, status })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what goes out. A server that is asked whether it knows the newest revision has `probe` to answer.
    pub(in crate::client) fn sent(&self, message: &TxJsonRpcMessage<RoleClient>, probe: Duration) {
        let mut state = self.state();
        if let Some((id, asked)) = request_of(message) {
            match asked {
                Asked::Discover => state.probe = Some((Instant::now() + probe, id.clone())),
                Asked::Initialize => state.abandon_probe(),
                _ => {}
            }
            // Callers are bounded, so this holds only where a bound was forgotten.
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

    /// Takes the request that an answer of this id is for.
    pub(in crate::client) fn take(&self, id: &RequestId) -> Option<Asked> {
        self.state().pending.remove(id)
    }

    /// Whether an answer of this id is waited for.
    pub(in crate::client) fn awaits(&self, id: &RequestId) -> bool {
        self.state().pending.contains_key(id)
    }

    /// The request that waits, where there is one and no other but subscriptions.
    pub(in crate::client) fn only(&self) -> Option<RequestId> {
        let state = self.state();
        let mut pending = state.pending.iter().filter(|(_, asked)| **asked != Asked::Subscribe);
        let only = pending.next().map(|(id, _)| id.clone());
        only.filter(|_| pending.next().is_none())
    }

    /// Whether an answer of this id comes after its caller has gone.
    pub(in crate::client) fn was_abandoned(&self, id: &RequestId) -> bool {
        self.state().abandoned.remove(id)
    }

    /// When the question for the newest revision counts as not understood.
    pub(in crate::client) fn probe_ends(&self) -> Option<Instant> {
        let state = self.state();
        let (end, id) = state.probe.as_ref()?;
        state.pending.contains_key(id).then_some(*end)
    }

    /// Ends the question for the newest revision.
    pub(in crate::client) fn end_probe(&self) -> Option<RequestId> {
        let mut state = self.state();
        let (_, id) = state.probe.clone()?;
        state.abandon_probe();
        Some(id)
    }

    /// The server knows the newest revision after all.
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

    /// A revision that the server named and nobody here knows.
    pub(in crate::client) fn unknown_revision(&self) -> Option<String> {
        self.state().unknown_revision.clone()
    }

    pub(in crate::client) fn note_unknown_revision(&self, revision: String) {
        self.state().unknown_revision = Some(revision);
    }

    /// The stream that ends after this event carries the answer to that request.
    pub(in crate::client) fn resumes(&self, event: String, request: (RequestId, Asked)) {
        let mut state = self.state();
        let State { resumable, pending, .. } = &mut *state;
        resumable.retain(|_, (id, _)| pending.contains_key(id) && *id != request.0);
        resumable.insert(event, request);
    }

    /// The request that goes on after this event.
    pub(in crate::client) fn resumed(&self, event: &str) -> Option<(RequestId, Asked)> {
        self.state().resumable.get(event).cloned()
    }

    pub(in crate::client) fn remark(&self, what: String) {
        self.remarks.note(&what);
    }

    pub(in crate::client) fn remarks(&self) -> &Arc<Remarks> {
        &self.remarks
    }
}

impl State {
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
    fn what_a_server_blurts_out_is_kept_without_its_secrets() {
        let env = vec![("TOKEN".to_owned(), Secret::new("hunter22"))];
        let server = StdioServer { command: "server".to_owned(), env, ..StdioServer::default() };
        let remarks = Remarks::new(&Arc::new(ServerSpec::new("one", ServerTransport::Stdio(server))));
        let before = Instant::now();
        remarks.note("it wrote \"TOKEN=hunter22\"");
        assert_eq!(remarks.since(before).as_deref(), Some("it wrote \"TOKEN=[secret]\""));
        assert_eq!(remarks.since(Instant::now() + Duration::from_secs(1)), None);
    }
}

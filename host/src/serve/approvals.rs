//! Approval of tool calls over the API. A call waits until a key of its tenant answers, within limits of number and time.
//!
//! A wait ends when the key of the request is revoked or expires. A remembered answer is forgotten with the key that gave
//! it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use firebox_contract::{Approval, Approver, BoxFuture, Caller, TenantId, ToolCall, ToolDefinition, limits};
use tokio::sync::oneshot;
use ulid::Ulid;

/// A call that waits for approval.
#[derive(Debug, Clone)]
pub struct PendingApproval {
    /// The id in `POST /v1/approvals/{id}`.
    pub id: String,
    /// The id of the request that made the call.
    pub request_id: String,
    /// The public part of the request's key; empty on a server without keys.
    pub asked_by: Arc<str>,
    /// The call. Its arguments are cut at `limits::APPROVAL_ARGUMENTS_BYTES_MAX`.
    pub call: ToolCall,
    /// The tool's own description.
    pub description: String,
    /// The time at which the wait began.
    pub since: SystemTime,
}

/// No call of the tenant waits with the given id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPending;

struct WaitingCall {
    tenant: TenantId,
    shown: PendingApproval,
    /// The calls that a remembered answer applies to.
    scope: ApprovalScope,
    answer: oneshot::Sender<Approval>,
}

/// The calls that a remembered answer applies to: tenant, session (or request, if it has no session), tool.
type ApprovalScope = (TenantId, String, String);

/// An approval for a whole session, and the caller that gave it.
struct RememberedApproval {
    scope: ApprovalScope,
    by: Caller,
}

struct ApprovalState {
    waiting: BTreeMap<String, WaitingCall>,
    /// The sessions of running requests, by the ids of the requests.
    sessions: HashMap<String, String>,
    remembered: VecDeque<RememberedApproval>,
    /// The longest wait of calls that register from now on.
    timeout: Duration,
}

/// All calls that wait for approval. Clones share them.
#[derive(Clone)]
pub struct Approvals {
    state: Arc<Mutex<ApprovalState>>,
}

/// A request that may have calls to approve. Dropping it forgets the answers that were remembered for this request alone.
pub struct ApprovalLease {
    approvals: Approvals,
    request_id: String,
}

impl Approvals {
    /// No calls; a call waits at most `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let (waiting, sessions, remembered) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Self { state: Arc::new(Mutex::new(ApprovalState { waiting, sessions, remembered, timeout })) }
    }

    /// Sets the longest wait of calls that register from now on.
    pub fn set_timeout(&self, timeout: Duration) {
        self.state().timeout = timeout;
    }

    fn state(&self) -> MutexGuard<'_, ApprovalState> {
        // No change under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request, which may belong to a session.
    #[must_use]
    pub fn lease(&self, request_id: &str, session: Option<&str>) -> ApprovalLease {
        if let Some(session) = session {
            self.state().sessions.insert(request_id.to_owned(), session.to_owned());
        }
        ApprovalLease { approvals: self.clone(), request_id: request_id.to_owned() }
    }

    /// The calls of this tenant that wait, the oldest first.
    #[must_use]
    pub fn pending(&self, tenant: &TenantId) -> Vec<PendingApproval> {
        let state = self.state();
        state.waiting.values().filter(|wait| wait.tenant == *tenant).map(|wait| wait.shown.clone()).collect()
    }

    /// Answers a call of the tenant of `by`, and returns the call. With `remember`, an approval applies to all later calls
    /// of the tool in the same session, while the key of `by` is valid.
    ///
    /// # Errors
    /// [`NotPending`] if no call of this tenant waits with this id.
    pub fn answer(
        &self,
        by: &Caller,
        id: &str,
        answer: Approval,
        remember: bool,
    ) -> Result<PendingApproval, NotPending> {
        let mut state = self.state();
        if state.waiting.get(id).is_none_or(|wait| wait.tenant != by.tenant) {
            return Err(NotPending);
        }
        let wait = state.waiting.remove(id).ok_or(NotPending)?;
        if remember && answer == Approval::Approve {
            if state.remembered.len() >= limits::APPROVALS_REMEMBERED_MAX {
                state.remembered.pop_front();
            }
            state.remembered.push_back(RememberedApproval { scope: wait.scope, by: by.clone() });
        }
        drop(state);
        // This fails if the request has ended. Then there is nothing to approve.
        wait.answer.send(answer).map_err(|_| NotPending)?;
        Ok(wait.shown)
    }

    /// Registers a call that waits. The error is an answer without a wait: a remembered approval, or a refusal because too
    /// many calls wait.
    fn register(
        &self,
        caller: &Caller,
        request_id: &str,
        call: &ToolCall,
        tool: &ToolDefinition,
    ) -> Result<ApprovalWait, Approval> {
        let mut state = self.state();
        let session = state.sessions.get(request_id).map_or(request_id, String::as_str).to_owned();
        let scope = (caller.tenant.clone(), session, tool.name.clone());
        state.remembered.retain(|remembered| remembered.by.liveness.check().is_ok());
        if state.remembered.iter().any(|remembered| remembered.scope == scope) {
            return Err(Approval::Approve);
        }
        let waiting = state.waiting.values().filter(|wait| wait.tenant == caller.tenant).count();
        if waiting >= limits::APPROVALS_PENDING_MAX {
            let why = format!("{waiting} calls already wait for approval, which is the maximum");
            return Err(Approval::Decline(why));
        }
        let id = format!("appr_{}", Ulid::generate());
        let (answer, wait) = oneshot::channel();
        let mut shown_call = call.clone();
        cut(&mut shown_call.arguments_json, limits::APPROVAL_ARGUMENTS_BYTES_MAX);
        let shown = PendingApproval {
            id: id.clone(),
            request_id: request_id.to_owned(),
            asked_by: Arc::clone(&caller.key),
            call: shown_call,
            description: tool.description.clone(),
            since: SystemTime::now(),
        };
        state.waiting.insert(id.clone(), WaitingCall { tenant: caller.tenant.clone(), shown, scope, answer });
        let timeout = state.timeout;
        drop(state);
        Ok(ApprovalWait { approvals: self.clone(), id, timeout, wait })
    }
}

fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
}

/// The wait of a registered call. Dropping it removes the call.
struct ApprovalWait {
    approvals: Approvals,
    id: String,
    timeout: Duration,
    wait: oneshot::Receiver<Approval>,
}

impl Drop for ApprovalWait {
    fn drop(&mut self) {
        self.approvals.state().waiting.remove(&self.id);
    }
}

impl Drop for ApprovalLease {
    fn drop(&mut self) {
        let mut state = self.approvals.state();
        state.sessions.remove(&self.request_id);
        state.remembered.retain(|remembered| remembered.scope.1 != self.request_id);
    }
}

impl Approver for Approvals {
    fn approve<'a>(
        &'a self,
        caller: &'a Caller,
        request_id: &'a str,
        call: &'a ToolCall,
        tool: &'a ToolDefinition,
    ) -> BoxFuture<'a, Approval> {
        Box::pin(async move {
            let mut pending = match self.register(caller, request_id, call, tool) {
                Ok(pending) => pending,
                Err(answer) => return answer,
            };
            let timeout = pending.timeout;
            let answered = tokio::select! {
                biased;
                error = caller.liveness.ended() => return Approval::Decline(error.to_string()),
                answered = tokio::time::timeout(timeout, &mut pending.wait) => answered,
            };
            match answered {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Approval::Decline("approvals are no longer possible".to_owned()),
                Err(_) => Approval::Decline(format!("no approval within {} s", timeout.as_secs())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use firebox_contract::ToolEffects;

    use super::*;

    fn tool() -> ToolDefinition {
        ToolDefinition {
            name: "write".to_owned(),
            description: "writes".to_owned(),
            title: None,
            input_schema_json: "{}".to_owned(),
            output_schema_json: None,
            as_sent_json: None,
            effects: ToolEffects::default(),
        }
    }

    fn call() -> ToolCall {
        ToolCall { id: "call_0".to_owned(), name: "write".to_owned(), arguments_json: "{}".to_owned() }
    }

    async fn pending(approvals: &Approvals, tenant: &TenantId) -> PendingApproval {
        for _ in 0..1_000 {
            if let Some(pending) = approvals.pending(tenant).pop() {
                return pending;
            }
            tokio::task::yield_now().await;
        }
        panic!("the call did not register");
    }

    fn asked(approvals: &Approvals, caller: &Caller, request: &'static str) -> tokio::task::JoinHandle<Approval> {
        let (approvals, caller) = (approvals.clone(), caller.clone());
        tokio::spawn(async move { approvals.approve(&caller, request, &call(), &tool()).await })
    }

    #[tokio::test]
    async fn only_its_own_tenant_sees_and_answers_a_call() {
        let approvals = Approvals::new(Duration::from_secs(60));
        let (mine, other) = (Caller::of(TenantId::new("mine")), Caller::of(TenantId::new("other")));
        let asking = asked(&approvals, &mine, "req_1");
        let id = pending(&approvals, &mine.tenant).await.id;
        assert!(approvals.pending(&other.tenant).is_empty());
        assert_eq!(approvals.answer(&other, &id, Approval::Approve, false).err(), Some(NotPending));
        assert!(approvals.answer(&mine, &id, Approval::Approve, false).is_ok());
        assert_eq!(asking.await.expect("ends"), Approval::Approve);
        assert_eq!(approvals.answer(&mine, &id, Approval::Approve, false).err(), Some(NotPending));
    }

    #[tokio::test]
    async fn an_answer_for_the_session_applies_to_that_session_only() {
        let approvals = Approvals::new(Duration::from_secs(60));
        let mine = Caller::of(TenantId::new("mine"));
        let _first = approvals.lease("req_1", Some("s1"));
        let _second = approvals.lease("req_2", Some("s1"));
        let _third = approvals.lease("req_3", Some("s2"));
        let asking = asked(&approvals, &mine, "req_1");
        let id = pending(&approvals, &mine.tenant).await.id;
        approvals.answer(&mine, &id, Approval::Approve, true).expect("waits");
        assert_eq!(asking.await.expect("ends"), Approval::Approve);
        assert_eq!(approvals.approve(&mine, "req_2", &call(), &tool()).await, Approval::Approve);
        let other_session = asked(&approvals, &mine, "req_3");
        pending(&approvals, &mine.tenant).await;
        other_session.abort();
    }

    #[tokio::test]
    async fn a_call_is_declined_after_the_timeout_and_when_too_many_wait() {
        let approvals = Approvals::new(Duration::from_millis(5));
        let mine = Caller::of(TenantId::new("mine"));
        assert!(matches!(approvals.approve(&mine, "req_1", &call(), &tool()).await, Approval::Decline(_)));
        assert!(approvals.pending(&mine.tenant).is_empty());
        let patient = Approvals::new(Duration::from_secs(60));
        let waiting: Vec<_> = (0..limits::APPROVALS_PENDING_MAX).map(|_| asked(&patient, &mine, "req_1")).collect();
        while patient.pending(&mine.tenant).len() < limits::APPROVALS_PENDING_MAX {
            tokio::task::yield_now().await;
        }
        assert!(matches!(patient.approve(&mine, "req_2", &call(), &tool()).await, Approval::Decline(_)));
        for task in waiting {
            task.abort();
            drop(task.await);
        }
        assert!(patient.pending(&mine.tenant).is_empty());
    }

    /// Alive until the channel's value is true.
    struct RevocableKey(tokio::sync::watch::Receiver<bool>);

    impl firebox_contract::Liveness for RevocableKey {
        fn check(&self) -> Result<(), firebox_contract::Error> {
            let gone = || firebox_contract::Error::Unauthorized("revoked".to_owned());
            if *self.0.borrow() { Err(gone()) } else { Ok(()) }
        }

        fn permission(&self, _tool: &str) -> firebox_contract::Permission {
            firebox_contract::Permission::Allow
        }

        fn ended(&self) -> BoxFuture<'static, firebox_contract::Error> {
            let mut revoked = self.0.clone();
            Box::pin(async move {
                revoked.wait_for(|revoked| *revoked).await.expect("the sender lives");
                firebox_contract::Error::Unauthorized("revoked".to_owned())
            })
        }
    }

    fn revocable_caller() -> (tokio::sync::watch::Sender<bool>, Caller) {
        let (revoke, revoked) = tokio::sync::watch::channel(false);
        let liveness = firebox_contract::LivenessHandle::new(Arc::new(RevocableKey(revoked)));
        (revoke, Caller { liveness, ..Caller::of(TenantId::new("mine")) })
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_key_of_the_request_is_revoked() {
        let approvals = Approvals::new(Duration::from_secs(600));
        let (revoke, mine) = revocable_caller();
        let asking = asked(&approvals, &mine, "req_1");
        pending(&approvals, &mine.tenant).await;
        revoke.send_replace(true);
        let answer = asking.await.expect("ends");
        assert!(matches!(&answer, Approval::Decline(why) if why.contains("revoked")), "{answer:?}");
        assert!(approvals.pending(&mine.tenant).is_empty());
    }

    #[tokio::test]
    async fn a_remembered_approval_is_forgotten_when_its_key_is_revoked() {
        let approvals = Approvals::new(Duration::from_secs(600));
        let mine = Caller::of(TenantId::new("mine"));
        let (revoke, approver) = revocable_caller();
        let _lease = approvals.lease("req_1", Some("s1"));
        let asking = asked(&approvals, &mine, "req_1");
        let id = pending(&approvals, &mine.tenant).await.id;
        approvals.answer(&approver, &id, Approval::Approve, true).expect("waits");
        assert_eq!(asking.await.expect("ends"), Approval::Approve);
        assert_eq!(approvals.approve(&mine, "req_1", &call(), &tool()).await, Approval::Approve, "remembered");
        revoke.send_replace(true);
        let again = asked(&approvals, &mine, "req_1");
        pending(&approvals, &mine.tenant).await;
        again.abort();
    }

    #[tokio::test]
    async fn the_timeout_can_be_changed() {
        let approvals = Approvals::new(Duration::from_secs(600));
        approvals.set_timeout(Duration::from_millis(5));
        let mine = Caller::of(TenantId::new("mine"));
        assert!(matches!(approvals.approve(&mine, "req_1", &call(), &tool()).await, Approval::Decline(_)));
    }
}

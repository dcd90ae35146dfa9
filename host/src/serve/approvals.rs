//! Approval of tool calls over the API: calls wait, bounded in number and time, until a key of their tenant answers.
//!
//! A wait ends with the caller that asked. An answer that is remembered counts for as long as the key that gave it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use firebox_contract::{Approval, Approver, BoxFuture, Caller, TenantId, ToolCall, ToolDefinition, limits};
use tokio::sync::oneshot;
use ulid::Ulid;

/// A call that waits.
#[derive(Debug, Clone)]
pub struct Pending {
    /// What `POST /v1/approvals/{id}` names.
    pub id: String,
    /// The request that waits.
    pub request_id: String,
    /// The public part of the key that asked; empty where there is none.
    pub asked_by: Arc<str>,
    /// The call, its arguments cut at `limits::APPROVAL_ARGUMENTS_BYTES_MAX`.
    pub call: ToolCall,
    /// What the tool does, in its own words.
    pub description: String,
    /// Since when it waits.
    pub since: SystemTime,
}

/// Why an answer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPending;

struct Waiting {
    tenant: TenantId,
    shown: Pending,
    /// Where the answer "for this session" is kept.
    memory: Memory,
    answer: oneshot::Sender<Approval>,
}

/// For which conversation an answer is remembered: tenant, session (or request, where there is none), tool.
type Memory = (TenantId, String, String);

/// An answer for a whole conversation, and who gave it.
struct Remembered {
    memory: Memory,
    by: Caller,
}

struct State {
    waiting: BTreeMap<String, Waiting>,
    /// Sessions of running requests.
    sessions: HashMap<String, String>,
    remembered: VecDeque<Remembered>,
    /// How long a call waits that is asked about from now on.
    timeout: Duration,
}

/// All calls that wait. Cheap to clone: clones share them.
#[derive(Clone)]
pub struct Approvals {
    state: Arc<Mutex<State>>,
}

/// A request that may have calls to approve; dropping it forgets what was remembered for it alone.
pub struct Lease {
    approvals: Approvals,
    request_id: String,
}

impl Approvals {
    /// Nothing waits yet; what will, waits at most `timeout`.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        let (waiting, sessions, remembered) = (BTreeMap::new(), HashMap::new(), VecDeque::new());
        Self { state: Arc::new(Mutex::new(State { waiting, sessions, remembered, timeout })) }
    }

    /// Lets calls that are asked about from now on wait at most `timeout`.
    pub fn set_timeout(&self, timeout: Duration) {
        self.state().timeout = timeout;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request that belongs to `session`, if to any.
    #[must_use]
    pub fn lease(&self, request_id: &str, session: Option<&str>) -> Lease {
        if let Some(session) = session {
            self.state().sessions.insert(request_id.to_owned(), session.to_owned());
        }
        Lease { approvals: self.clone(), request_id: request_id.to_owned() }
    }

    /// What waits for this tenant, the oldest first.
    #[must_use]
    pub fn pending(&self, tenant: &TenantId) -> Vec<Pending> {
        let state = self.state();
        state.waiting.values().filter(|wait| wait.tenant == *tenant).map(|wait| wait.shown.clone()).collect()
    }

    /// Answers, as `by`, a call of its tenant's; gives what was asked. `remember` says it of all later calls of the tool
    /// in the same session, for as long as `by` is alive.
    ///
    /// # Errors
    /// [`NotPending`] where no call of this tenant waits under this id.
    pub fn answer(&self, by: &Caller, id: &str, answer: Approval, remember: bool) -> Result<Pending, NotPending> {
        let mut state = self.state();
        if state.waiting.get(id).is_none_or(|wait| wait.tenant != by.tenant) {
            return Err(NotPending);
        }
        let wait = state.waiting.remove(id).ok_or(NotPending)?;
        if remember && answer == Approval::Approve {
            if state.remembered.len() >= limits::APPROVALS_REMEMBERED_MAX {
                state.remembered.pop_front();
            }
            state.remembered.push_back(Remembered { memory: wait.memory, by: by.clone() });
        }
        drop(state);
        // The request is gone when this fails, and then there is nothing to approve.
        wait.answer.send(answer).map_err(|_| NotPending)?;
        Ok(wait.shown)
    }

    /// Registers the call, or says at once what becomes of it.
    fn ask(
        &self,
        caller: &Caller,
        request_id: &str,
        call: &ToolCall,
        tool: &ToolDefinition,
    ) -> Result<Question, Approval> {
        let mut state = self.state();
        let scope = state.sessions.get(request_id).map_or(request_id, String::as_str).to_owned();
        let memory = (caller.tenant.clone(), scope, tool.name.clone());
        state.remembered.retain(|kept| kept.by.liveness.check().is_ok());
        if state.remembered.iter().any(|kept| kept.memory == memory) {
            return Err(Approval::Approve);
        }
        let waiting = state.waiting.values().filter(|wait| wait.tenant == caller.tenant).count();
        if waiting >= limits::APPROVALS_PENDING_MAX {
            let why = format!("{waiting} calls already wait for approval, which is the limit");
            return Err(Approval::Decline(why));
        }
        let id = format!("appr_{}", Ulid::generate());
        let (answer, wait) = oneshot::channel();
        let mut shown_call = call.clone();
        cut(&mut shown_call.arguments_json, limits::APPROVAL_ARGUMENTS_BYTES_MAX);
        let shown = Pending {
            id: id.clone(),
            request_id: request_id.to_owned(),
            asked_by: Arc::clone(&caller.key),
            call: shown_call,
            description: tool.description.clone(),
            since: SystemTime::now(),
        };
        state.waiting.insert(id.clone(), Waiting { tenant: caller.tenant.clone(), shown, memory, answer });
        let timeout = state.timeout;
        drop(state);
        Ok(Question { approvals: self.clone(), id, timeout, wait })
    }
}

fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
}

/// A registered question; dropping it withdraws it.
struct Question {
    approvals: Approvals,
    id: String,
    timeout: Duration,
    wait: oneshot::Receiver<Approval>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.approvals.state().waiting.remove(&self.id);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.approvals.state();
        state.sessions.remove(&self.request_id);
        state.remembered.retain(|kept| kept.memory.1 != self.request_id);
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
            let mut question = match self.ask(caller, request_id, call, tool) {
                Ok(question) => question,
                Err(answer) => return answer,
            };
            let timeout = question.timeout;
            let answered = tokio::select! {
                biased;
                error = caller.liveness.ended() => return Approval::Decline(error.to_string()),
                answered = tokio::time::timeout(timeout, &mut question.wait) => answered,
            };
            match answered {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Approval::Decline("nobody can be asked any more".to_owned()),
                Err(_) => Approval::Decline(format!("nobody answered within {} s", timeout.as_secs())),
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

    async fn pending(approvals: &Approvals, tenant: &TenantId) -> Pending {
        for _ in 0..1_000 {
            if let Some(pending) = approvals.pending(tenant).pop() {
                return pending;
            }
            tokio::task::yield_now().await;
        }
        panic!("the call never waited");
    }

    fn asked(approvals: &Approvals, caller: &Caller, request: &'static str) -> tokio::task::JoinHandle<Approval> {
        let (approvals, caller) = (approvals.clone(), caller.clone());
        tokio::spawn(async move { approvals.approve(&caller, request, &call(), &tool()).await })
    }

    #[tokio::test]
    async fn only_the_own_tenant_sees_and_answers_a_call() {
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
    async fn an_answer_for_the_session_holds_for_the_session_only() {
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
    async fn silence_and_crowds_are_declined_and_nothing_stays_behind() {
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

    /// Alive until it is told.
    struct Told(tokio::sync::watch::Receiver<bool>);

    impl firebox_contract::Liveness for Told {
        fn check(&self) -> Result<(), firebox_contract::Error> {
            let gone = || firebox_contract::Error::Unauthorized("revoked".to_owned());
            if *self.0.borrow() { Err(gone()) } else { Ok(()) }
        }

        fn permission(&self, _tool: &str) -> firebox_contract::Permission {
            firebox_contract::Permission::Allow
        }

        fn ended(&self) -> BoxFuture<'static, firebox_contract::Error> {
            let mut told = self.0.clone();
            Box::pin(async move {
                told.wait_for(|told| *told).await.expect("the sender lives");
                firebox_contract::Error::Unauthorized("revoked".to_owned())
            })
        }
    }

    fn mortal() -> (tokio::sync::watch::Sender<bool>, Caller) {
        let (tell, told) = tokio::sync::watch::channel(false);
        let liveness = firebox_contract::LivenessHandle::new(Arc::new(Told(told)));
        (tell, Caller { liveness, ..Caller::of(TenantId::new("mine")) })
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_caller_that_asked() {
        let approvals = Approvals::new(Duration::from_secs(600));
        let (tell, mine) = mortal();
        let asking = asked(&approvals, &mine, "req_1");
        pending(&approvals, &mine.tenant).await;
        tell.send_replace(true);
        let answer = asking.await.expect("ends");
        assert!(matches!(&answer, Approval::Decline(why) if why.contains("revoked")), "{answer:?}");
        assert!(approvals.pending(&mine.tenant).is_empty());
    }

    #[tokio::test]
    async fn what_a_key_approved_for_a_session_is_forgotten_with_the_key() {
        let approvals = Approvals::new(Duration::from_secs(600));
        let mine = Caller::of(TenantId::new("mine"));
        let (tell, approver) = mortal();
        let _lease = approvals.lease("req_1", Some("s1"));
        let asking = asked(&approvals, &mine, "req_1");
        let id = pending(&approvals, &mine.tenant).await.id;
        approvals.answer(&approver, &id, Approval::Approve, true).expect("waits");
        assert_eq!(asking.await.expect("ends"), Approval::Approve);
        assert_eq!(approvals.approve(&mine, "req_1", &call(), &tool()).await, Approval::Approve, "remembered");
        tell.send_replace(true);
        let again = asked(&approvals, &mine, "req_1");
        pending(&approvals, &mine.tenant).await;
        again.abort();
    }

    #[tokio::test]
    async fn the_time_to_answer_can_be_changed() {
        let approvals = Approvals::new(Duration::from_secs(600));
        approvals.set_timeout(Duration::from_millis(5));
        let mine = Caller::of(TenantId::new("mine"));
        assert!(matches!(approvals.approve(&mine, "req_1", &call(), &tool()).await, Approval::Decline(_)));
    }
}

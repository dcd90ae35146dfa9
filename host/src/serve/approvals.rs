//! Approval of tool calls over the API: calls wait, bounded in number and time, until a key of their tenant answers.

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

#[derive(Default)]
struct State {
    waiting: BTreeMap<String, Waiting>,
    /// Sessions of running requests.
    sessions: HashMap<String, String>,
    remembered: VecDeque<Memory>,
}

/// All calls that wait. Cheap to clone: clones share them.
#[derive(Clone)]
pub struct Approvals {
    state: Arc<Mutex<State>>,
    timeout: Duration,
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
        Self { state: Arc::default(), timeout }
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

    /// Answers a call of this tenant's. `remember` says it of all later calls of the tool in the same session.
    ///
    /// # Errors
    /// [`NotPending`] where no call of this tenant waits under this id.
    pub fn answer(&self, tenant: &TenantId, id: &str, answer: Approval, remember: bool) -> Result<(), NotPending> {
        let mut state = self.state();
        if state.waiting.get(id).is_none_or(|wait| wait.tenant != *tenant) {
            return Err(NotPending);
        }
        let wait = state.waiting.remove(id).ok_or(NotPending)?;
        if remember && answer == Approval::Approve {
            if state.remembered.len() >= limits::APPROVALS_REMEMBERED_MAX {
                state.remembered.pop_front();
            }
            state.remembered.push_back(wait.memory);
        }
        drop(state);
        // The request is gone when this fails, and then there is nothing to approve.
        wait.answer.send(answer).map_err(|_| NotPending)
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
        if state.remembered.contains(&memory) {
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
            call: shown_call,
            description: tool.description.clone(),
            since: SystemTime::now(),
        };
        state.waiting.insert(id.clone(), Waiting { tenant: caller.tenant.clone(), shown, memory, answer });
        drop(state);
        Ok(Question { approvals: self.clone(), id, wait })
    }
}

fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let at = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
        text.push('…');
    }
}

/// A registered question; dropping it withdraws it.
struct Question {
    approvals: Approvals,
    id: String,
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
        state.remembered.retain(|(_, scope, _)| *scope != self.request_id);
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
            match tokio::time::timeout(self.timeout, &mut question.wait).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Approval::Decline("nobody can be asked any more".to_owned()),
                Err(_) => Approval::Decline(format!("nobody answered within {} s", self.timeout.as_secs())),
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
        let (mine, other) = (Caller::of(TenantId::new("mine")), TenantId::new("other"));
        let asking = asked(&approvals, &mine, "req_1");
        let id = pending(&approvals, &mine.tenant).await.id;
        assert!(approvals.pending(&other).is_empty());
        assert_eq!(approvals.answer(&other, &id, Approval::Approve, false), Err(NotPending));
        assert_eq!(approvals.answer(&mine.tenant, &id, Approval::Approve, false), Ok(()));
        assert_eq!(asking.await.expect("ends"), Approval::Approve);
        assert_eq!(approvals.answer(&mine.tenant, &id, Approval::Approve, false), Err(NotPending));
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
        approvals.answer(&mine.tenant, &id, Approval::Approve, true).expect("waits");
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
}

//! MutableRights are asked again just before a call runs: much can have changed while somebody was asked.

use std::sync::Mutex;
use std::time::Duration;

use firebox_contract::{Approval, BoxFuture, Caller, Error, Event, Liveness, LivenessHandle};

use super::doubles::{FakeToolSource, RecordingGate, ScriptedApprover, UsageRecorder};
use super::*;

/// What its caller may do now.
struct MutableRights(Mutex<(bool, Permission)>);

impl MutableRights {
    fn set(&self, alive: bool, permission: Permission) {
        *self.0.lock().expect("lock") = (alive, permission);
    }
}

impl Liveness for MutableRights {
    fn check(&self) -> Result<(), Error> {
        let alive = self.0.lock().expect("lock").0;
        if alive { Ok(()) } else { Err(Error::Unauthorized("revoked".to_owned())) }
    }

    fn permission(&self, _tool: &str) -> Permission {
        self.0.lock().expect("lock").1
    }

    fn ended(&self) -> BoxFuture<'static, Error> {
        Box::pin(std::future::pending())
    }
}

/// Asks for a call that somebody approves once `change` was made; what came of it, and what the books say.
async fn approved_after(
    change: impl FnOnce(&MutableRights),
) -> (Result<CollectedAnswer, Error>, Vec<String>, Vec<String>) {
    let (source, recorder) = (FakeToolSource::of(&["write_file"]), Arc::new(UsageRecorder::default()));
    let (approver, gate) = (ScriptedApprover::that_answers(Approval::Approve), RecordingGate(Arc::clone(&recorder)));
    let shared = Arc::clone(&approver);
    let engine = engine_with(&source, |options| {
        options.approver = Some(shared);
        options.gate = Arc::new(gate);
    })
    .await;
    let rights = Arc::new(MutableRights(Mutex::new((true, Permission::Ask))));
    let handle = LivenessHandle::new(Arc::clone(&rights) as Arc<dyn Liveness>);
    let caller = Caller { liveness: handle, ..Caller::local() };
    let policy = rules(&[("write_*", Permission::Ask)]);
    let request = ask_with(&[&call("write_file", "{}"), "done"], ToolOptions { policy, ..ToolOptions::default() });
    let mut generation = engine.generate(&caller, request).await.expect("admitted");
    let asked = async { while !matches!(generation.next().await, Ok(Some(Event::ApprovalNeeded { .. }))) {} };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("asked in time");
    change(&rights);
    approver.go.notify_one();
    let answer = tokio::time::timeout(Duration::from_secs(10), collect(generation)).await.expect("it ends in time");
    (answer, source.log(), recorder.lines())
}

#[tokio::test]
async fn an_approved_call_runs_while_its_caller_may() {
    let (answer, log, recorder) = approved_after(|_| {}).await;
    assert_eq!((answer.expect("answered").text.as_str(), log.len()), ("done", 2));
    assert!(recorder.contains(&"called call_0 approved false".to_owned()), "{recorder:?}");
}

#[tokio::test]
async fn a_call_does_not_run_for_a_caller_that_ended_while_it_was_approved() {
    let (answer, log, recorder) = approved_after(|rights| rights.set(false, Permission::Deny)).await;
    let error = answer.err().expect("the request ends");
    assert!(matches!(&error, Error::Unauthorized(why) if why == "revoked"), "{error}");
    assert!(log.is_empty(), "{log:?}");
    assert!(recorder.contains(&"called call_0 denied true".to_owned()), "{recorder:?}");
    assert_eq!(recorder.last().expect("settled"), "settle unauthorized true true");
}

#[tokio::test]
async fn a_call_of_a_tool_that_was_forbidden_meanwhile_does_not_run() {
    let (answer, log, recorder) = approved_after(|rights| rights.set(true, Permission::Deny)).await;
    let answer = answer.expect("the model goes on");
    assert!(added(&answer.finish)[1].contains("is now denied by policy"), "{:?}", added(&answer.finish));
    assert!(log.is_empty(), "{log:?}");
    assert!(recorder.contains(&"called call_0 denied true".to_owned()), "{recorder:?}");
}

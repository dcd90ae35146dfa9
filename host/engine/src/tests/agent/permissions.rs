//! Permissions are checked again just before a call runs, because they may change while it waits for approval.

use std::sync::Mutex;
use std::time::Duration;

use firebox_contract::{Approval, BoxFuture, Caller, Error, Event, Liveness, LivenessHandle};

use super::doubles::{FakeToolSource, RecordingGate, ScriptedApprover, UsageRecorder};
use super::*;

/// A liveness that a test changes: whether the key is valid, and the permission of all tools.
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

/// Runs a request with a call that is approved after `change`. Returns its answer, the calls that ran and the records.
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
async fn an_approved_call_runs_if_permissions_are_unchanged() {
    let (answer, log, recorder) = approved_after(|_| {}).await;
    assert_eq!((answer.expect("answered").text.as_str(), log.len()), ("done", 2));
    assert!(recorder.contains(&"called call_0 approved false".to_owned()), "{recorder:?}");
}

#[tokio::test]
async fn a_call_does_not_run_if_the_key_was_revoked_during_approval() {
    let (answer, log, recorder) = approved_after(|rights| rights.set(false, Permission::Deny)).await;
    let error = answer.err().expect("the request ends");
    assert!(matches!(&error, Error::Unauthorized(why) if why == "revoked"), "{error}");
    assert!(log.is_empty(), "{log:?}");
    assert!(recorder.contains(&"called call_0 denied true".to_owned()), "{recorder:?}");
    assert_eq!(recorder.last().expect("settled"), "settle unauthorized true true");
}

#[tokio::test]
async fn a_call_does_not_run_if_its_tool_was_denied_during_approval() {
    let (answer, log, recorder) = approved_after(|rights| rights.set(true, Permission::Deny)).await;
    let answer = answer.expect("the model continues");
    assert!(added(&answer.finish)[1].contains("is now denied by policy"), "{:?}", added(&answer.finish));
    assert!(log.is_empty(), "{log:?}");
    assert!(recorder.contains(&"called call_0 denied true".to_owned()), "{recorder:?}");
}

//! Helpers: pools of fake servers, and waits with a time limit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firebox_contract::{Caller, Progress, TenantId, ToolCall, ToolOutcome, ToolSource};
use firebox_mcp::client::{ClientPool, ServerSpec};

/// Longer than any step of these tests takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn fake(name: &str, modes: &[&str]) -> ServerSpec {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake.py");
    let mut words = vec!["python3".to_owned(), script.display().to_string()];
    words.extend(modes.iter().map(|mode| (*mode).to_owned()));
    ServerSpec::stdio(name, words).expect("a command")
}

pub(crate) fn pool(specs: Vec<ServerSpec>) -> ClientPool {
    ClientPool::check(&specs).expect("sound");
    ClientPool::new(specs, Arc::new(|_, _| true))
}

pub(crate) fn tenant(name: &str) -> Caller {
    Caller::of(TenantId::new(name))
}

pub(crate) fn tool_call(name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: "1".to_owned(), name: name.to_owned(), arguments_json: arguments.to_owned() }
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::json!({ "text": text }).to_string()
}

/// Calls a tool with one argument, `text`.
pub(crate) async fn call(pool: &ClientPool, name: &str, text: &str) -> ToolOutcome {
    call_as(pool, &Caller::local(), name, text).await
}

pub(crate) async fn call_as(pool: &ClientPool, caller: &Caller, name: &str, text: &str) -> ToolOutcome {
    let call = tool_call(name, &quoted(text));
    tokio::time::timeout(PATIENCE, pool.call(caller, &call, &())).await.expect("in time").expect("a known tool")
}

pub(crate) async fn names(pool: &ClientPool) -> Vec<String> {
    pool.tools(&Caller::local()).await.into_iter().map(|tool| tool.name).collect()
}

/// As [`names`], after connecting to every server.
pub(crate) async fn names_after_connecting(pool: &ClientPool) -> Vec<String> {
    drop(pool.connect(&Caller::local()).await);
    names(pool).await
}

/// Waits until `holds` returns true, and fails with `what` if that never happens.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A path that does not exist yet, in a new folder.
pub(crate) fn fresh_path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("mark");
    (folder, path)
}

/// Records every progress report.
#[derive(Default)]
pub(crate) struct RecordedProgress(pub(crate) Mutex<Vec<(f64, Option<f64>, String)>>);

impl Progress for RecordedProgress {
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let report = (done, total, message.unwrap_or_default().to_owned());
        self.0.lock().expect("not poisoned").push(report);
    }
}

/// The number of processes in the group `group`, without zombies.
#[cfg(target_os = "linux")]
pub(crate) fn group_size(group: &str) -> usize {
    let stats = std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats
        .filter(|stat| {
            // After the name in parentheses: state, parent, group.
            let rest: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            rest.get(2) == Some(&group) && rest.first() != Some(&"Z")
        })
        .count()
}

mod file;
mod limits;
mod liveness;
mod scale;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firebox_contract::{BoxFuture, Decision, ToolCall, ToolOutcome, Usage};

use super::*;
use crate::config::{ServerConfig, TenantLimits};

/// A clock that tests advance. Both times start far from zero.
#[derive(Clone)]
struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000_000)))
    }

    fn advance(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).expect("short"), Ordering::SeqCst);
    }

    fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn config_of(tenants: Vec<TenantConfig>) -> Config {
    let none = Config::load_with(None, &[], &[]).expect("defaults are good");
    Config { tenants, server: ServerConfig::default(), ..none }
}

fn tenant(name: &str, limits: TenantLimits, keys: &[(&str, &TestKey)]) -> TenantConfig {
    let text = format!("[[tenant]]\nname = \"{name}\"\n");
    let mut tenants = crate::config::parse_tenants(&text, "test").expect("valid");
    let mut tenant = tenants.remove(0);
    tenant.limits = limits;
    let at = tenant.at.clone();
    let key = |(id, key): &(&str, &TestKey)| KeyConfig {
        id: (*id).to_owned(),
        digest: keys::digest(key.0),
        expires: key.1,
        scopes: vec![Scope::Chat],
        at: at.clone(),
    };
    tenant.keys = keys.iter().map(key).collect();
    tenant
}

/// A key and when it expires.
struct TestKey(&'static str, Option<SystemTime>);

const ALICE: TestKey = TestKey("fbx_a_secret", None);
const BOB: TestKey = TestKey("fbx_b_secret", None);

fn tenancy(config: &Config, audit: Option<Audit>) -> (Tenancy, ManualClock) {
    let clock = ManualClock::new();
    let wall = clock.clone();
    let wall = Arc::new(move || SystemTime::UNIX_EPOCH + wall.now());
    let tenancy = Tenancy::with_clocks(config, audit, Arc::new(clock.clone()), wall).expect("valid");
    (tenancy, clock)
}

/// One tenant, its key and its limits.
fn alice(limits: TenantLimits) -> (Tenancy, ManualClock, Tenant) {
    let (tenancy, clock) = tenancy(&config_of(vec![tenant("alice", limits, &[("a", &ALICE)])]), None);
    let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("her key is good");
    (tenancy, clock, alice)
}

fn limits_of(change: impl Fn(&mut TenantLimits)) -> TenantLimits {
    let mut limits = TenantLimits::default();
    change(&mut limits);
    limits
}

fn call(name: &str) -> ToolCall {
    ToolCall { id: "1".to_owned(), name: name.to_owned(), arguments_json: "{\"x\":\"private\"}".to_owned() }
}

fn outcome(fuel: u64) -> ToolOutcome {
    let elapsed = Duration::from_millis(7);
    ToolOutcome { fuel, memory_peak_bytes: 65_536, elapsed, ..ToolOutcome::ok("calculator", "ok") }
}

fn used(prompt_tokens: usize, completion_tokens: usize) -> Usage {
    Usage { prompt_tokens, completion_tokens, ..Usage::default() }
}

fn settle(reservation: &mut dyn Reservation, usage: Usage) {
    reservation.settle(&firebox_contract::RequestUsage { usage, plugins: &[], outcome: "stop" });
}

fn settle_as(reservation: &mut dyn Reservation, outcome: &str) {
    reservation.settle(&firebox_contract::RequestUsage { usage: Usage::default(), plugins: &[], outcome });
}

fn retry_after(error: &Error) -> Duration {
    match error {
        Error::Limited { retry_after, .. } => *retry_after,
        other => panic!("not a limit: {other}"),
    }
}

#[test]
fn a_key_authenticates_its_tenant_and_every_other_text_gets_the_same_error() {
    let over = TestKey("fbx_old_secret", Some(SystemTime::UNIX_EPOCH + Duration::from_secs(999_999)));
    let config = config_of(vec![
        tenant("alice", TenantLimits::default(), &[("a", &ALICE), ("old", &over)]),
        tenant("bob", TenantLimits::default(), &[("b", &BOB)]),
    ]);
    let (tenancy, _) = tenancy(&config, None);
    let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("valid");
    assert_eq!((alice.id.as_str(), alice.key_id.as_ref(), alice.caller.key.as_ref()), ("alice", "a", "a"));
    assert_eq!(tenancy.authenticate(Some("Bearer fbx_b_secret")).expect("valid").id.as_str(), "bob");
    let wrong = [
        "",
        "Bearer",
        "Bearer fbx_a_secre",
        "Bearer fbx_a_secrett",
        "Bearer fbx_old_secret",
        "Basic fbx_a_secret",
        "Bearer fbx_b_secret2",
    ];
    for header in wrong {
        assert_eq!(tenancy.authenticate(Some(header)).expect_err("wrong"), invalid_key(), "{header}");
    }
    assert!(matches!(tenancy.authenticate(None), Err(Error::Unauthorized(why)) if why.contains("Bearer")));
}

#[test]
fn a_key_expires_on_time_also_for_a_running_request() {
    let until = TestKey("fbx_a_secret", Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_010)));
    let config = config_of(vec![tenant("alice", TenantLimits::default(), &[("a", &until)])]);
    let (tenancy, clock) = tenancy(&config, None);
    let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("good until then");
    let mut reservation = tenancy.admit(&alice.caller, "ember", "r").expect("good until then");
    clock.advance(Duration::from_millis(9_999));
    reservation.reserve(1).expect("good until then");
    clock.advance(Duration::from_millis(1));
    assert_eq!(reservation.reserve(1), Err(invalid_key()));
    assert_eq!(reservation.allow_call(&call("x")), Err(invalid_key()));
    assert!(tenancy.authenticate(Some("Bearer fbx_a_secret")).is_err());
}

#[test]
fn a_missing_scope_is_denied_by_name() {
    let (_, _, alice) = alice(TenantLimits::default());
    assert_eq!(Tenancy::require(&alice, Scope::Chat), Ok(()));
    assert!(matches!(Tenancy::require(&alice, Scope::Metrics), Err(Error::Denied(why)) if why.contains("\"metrics\"")));
}

#[test]
fn a_reload_keeps_counters_and_removes_keys_at_once_or_changes_nothing() {
    let few = limits_of(|limits| limits.requests_per_minute = Some(2));
    let (tenancy, _) = tenancy(&config_of(vec![tenant("alice", few.clone(), &[("a", &ALICE)])]), None);
    let before = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("valid");
    let mut running = tenancy.admit(&before.caller, "ember", "1").expect("the first");
    let twice = config_of(vec![tenant("alice", few.clone(), &[("a", &ALICE), ("a", &BOB)])]);
    assert!(tenancy.replace(&twice).is_err());
    assert!(tenancy.authenticate(Some("Bearer fbx_a_secret")).is_ok(), "nothing has changed");
    tenancy.replace(&config_of(vec![tenant("alice", few, &[("b", &BOB)])])).expect("valid");
    assert!(tenancy.authenticate(Some("Bearer fbx_a_secret")).is_err());
    assert_eq!(
        tenancy.admit(&before.caller, "ember", "2").err(),
        Some(invalid_key()),
        "authenticated before, admitted after"
    );
    assert_eq!(running.reserve(10), Err(invalid_key()), "running before, going on after");
    let after = tenancy.authenticate(Some("Bearer fbx_b_secret")).expect("the new key");
    drop(tenancy.admit(&after.caller, "ember", "3").expect("the second"));
    assert!(tenancy.admit(&after.caller, "ember", "4").is_err(), "the first one still counts");
    tenancy.replace(&config_of(Vec::new())).expect("valid");
    assert!(matches!(tenancy.usage(&after.id), Err(Error::NotFound(_))));
    assert!(tenancy.admit(&after.caller, "ember", "5").is_err());
}

#[test]
fn tenants_have_separate_counters() {
    let few = limits_of(|limits| limits.requests_per_minute = Some(1));
    let config = config_of(vec![tenant("alice", few.clone(), &[("a", &ALICE)]), tenant("bob", few, &[("b", &BOB)])]);
    let (tenancy, _) = tenancy(&config, None);
    let [alice, bob] =
        ["a", "b"].map(|key| tenancy.authenticate(Some(&format!("Bearer fbx_{key}_secret"))).expect("valid"));
    drop(tenancy.admit(&alice.caller, "ember", "1").expect("the first"));
    assert!(tenancy.admit(&alice.caller, "ember", "2").is_err());
    drop(tenancy.admit(&bob.caller, "ember", "3").expect("bob's first"));
    let mixed = Caller { tenant: bob.id.clone(), ..alice.caller };
    assert_eq!(tenancy.admit(&mixed, "ember", "4").err(), Some(invalid_key()), "a key is good for its tenant only");
    assert_eq!(tenancy.usage(&bob.id).expect("there").total.requests, 1);
}

#[test]
fn usage_is_kept_across_a_restart_and_a_removal() {
    let config = config_of(vec![tenant("alice", TenantLimits::default(), &[("a", &ALICE)])]);
    let spend = |tenancy: &Tenancy| {
        let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("valid");
        settle(tenancy.admit(&alice.caller, "ember", "1").expect("admitted").as_mut(), used(5, 2));
        tenancy.usage(&alice.id).expect("there")
    };
    let (first, clock) = tenancy(&config, None);
    let began = spend(&first).since;
    let stored = first.changed_usage().expect("valid");
    assert_eq!(stored.len(), 1);
    assert!(first.changed_usage().expect("valid").is_empty(), "nothing new");
    let stored = stored.into_iter().map(|(id, report)| (id, UsageReport::parse(&report.text()).expect("not poisoned")));
    // The host is started again, a day later, and for a while without her.
    clock.advance(Duration::from_secs(86_400));
    let wall = clock.clone();
    let wall = Arc::new(move || SystemTime::UNIX_EPOCH + wall.now());
    let second = Tenancy::with_clocks(&config_of(Vec::new()), None, Arc::new(clock), wall).expect("valid");
    second.resume(stored).expect("valid");
    second.replace(&config).expect("valid");
    let report = spend(&second);
    assert_eq!((report.since, report.total.requests, report.total.prompt_tokens), (began, 2, 10));
    assert_eq!(report.days.iter().map(|day| day.1.completion_tokens).collect::<Vec<_>>(), [2, 2]);
    second.replace(&config_of(Vec::new())).expect("valid");
    let gone = second.changed_usage().expect("valid");
    assert_eq!(gone.first().map(|(_, report)| report), Some(&report), "what she used last is stored too");
    second.replace(&config).expect("valid");
    assert_eq!(spend(&second).total.requests, 3);
}

#[test]
fn poisoned_counters_refuse_every_request() {
    let (tenancy, _, alice) = alice(TenantLimits::default());
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    let entry = tenancy.entry(&alice.id).expect("there");
    let poisoner = std::thread::spawn(move || {
        let _held = entry.meters.lock().expect("not poisoned");
        panic!("on purpose");
    });
    assert!(poisoner.join().is_err());
    for refused in [
        reservation.reserve(1),
        reservation.allow_call(&call("x")),
        tenancy.admit(&alice.caller, "ember", "2").map(drop),
    ] {
        assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("uncertain")), "{refused:?}");
    }
    assert!(tenancy.rate(&alice.id).is_err() && tenancy.usage(&alice.id).is_err());
    settle(reservation.as_mut(), used(1, 1));
}

/// The records of the audit log at `path`, after `audit` is closed.
fn lines(audit: &Audit, path: &std::path::Path) -> Vec<serde_json::Value> {
    audit.close().expect("nothing is lost");
    let text = std::fs::read_to_string(path).expect("readable");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Runs a request with a tool call, a denied request and an unsettled one, and returns the audit log.
fn audited(prompts: bool) -> (Vec<serde_json::Value>, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("audit.jsonl");
    let audit = Audit::open(&path, prompts, "start").expect("opens");
    let mut config = config_of(vec![tenant("alice", TenantLimits::default(), &[("a", &ALICE)])]);
    config.tenants[0].models = vec!["em*".to_owned()];
    let (tenancy, clock) = tenancy(&config, Some(audit.clone()));
    let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("valid");
    let prompt = tenancy.prompt_text(&Prompt::Text("a private question".to_owned()));
    assert_eq!(prompt.is_some(), prompts);
    let mut reservation = tenancy.admit(&alice.caller, "ember", "r1").expect("allowed");
    if let Some(prompt) = prompt {
        tenancy.log_prompt(&alice.caller, "r1", &prompt);
    }
    reservation.reserve(100).expect("no limit");
    reservation.allow_call(&call("calculator")).expect("no limit");
    reservation.record_call(&call("calculator"), Decision::Allowed, &outcome(500));
    clock.advance(Duration::from_millis(42));
    settle(reservation.as_mut(), used(30, 12));
    drop(reservation);
    assert!(matches!(tenancy.admit(&alice.caller, "other", "r2"), Err(Error::Denied(_))));
    drop(tenancy.admit(&alice.caller, "ember", "r3").expect("allowed"));
    let lines = lines(&audit, &path);
    (lines, std::fs::read_to_string(path).expect("readable"))
}

#[test]
fn the_audit_log_has_tenants_decisions_and_costs_but_no_texts() {
    let (lines, text) = audited(false);
    assert!(!text.contains("private"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let [_start, tool, request, denied, dropped] = lines.as_slice() else { panic!("{text}") };
    assert_eq!(
        (&tool["event"], &tool["tool"], &tool["decision"], &tool["outcome"]),
        (&"tool".into(), &"calculator".into(), &"allowed".into(), &"ok".into())
    );
    assert_eq!(tool["arguments_sha256"], keys::hex(&keys::digest("{\"x\":\"private\"}")));
    assert_eq!((&tool["tenant"], &tool["key"], &tool["request"]), (&"alice".into(), &"a".into(), &"r1".into()));
    assert_eq!((&tool["fuel"], &tool["memory_peak_bytes"], &tool["ms"]), (&500.into(), &65_536.into(), &7.into()));
    assert_eq!(
        (&request["event"], &request["model"], &request["outcome"]),
        (&"request".into(), &"ember".into(), &"stop".into())
    );
    assert_eq!(
        (&request["prompt_tokens"], &request["completion_tokens"], &request["fuel"], &request["ms"]),
        (&30.into(), &12.into(), &500.into(), &42.into())
    );
    assert_eq!((&denied["decision"], &denied["model"]), (&"denied".into(), &"other".into()));
    assert_eq!((&dropped["request"], &dropped["outcome"]), (&"r3".into(), &"unsettled".into()));
}

#[test]
fn texts_are_in_the_audit_log_if_the_operator_asked_for_them() {
    let (lines, text) = audited(true);
    assert_eq!(lines[1]["prompt"], "a private question", "{text}");
    assert_eq!(lines[2]["arguments"], "{\"x\":\"private\"}");
}

#[test]
fn a_closed_audit_log_refuses_new_and_running_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let audit = Audit::open(&dir.path().join("audit.jsonl"), false, "start").expect("opens");
    let config = config_of(vec![tenant("alice", TenantLimits::default(), &[("a", &ALICE)])]);
    let (tenancy, _) = tenancy(&config, Some(audit.clone()));
    let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("valid");
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    audit.close().expect("nothing is lost");
    for refused in [
        reservation.allow_call(&call("x")),
        reservation.reserve(1),
        tenancy.admit(&alice.caller, "ember", "2").map(drop),
    ] {
        assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains("audit log")), "{refused:?}");
    }
}

/// A tenant at its limits repeats requests as fast as it can.
#[test]
fn a_flood_of_refusals_is_recorded_once_a_second_with_its_count() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("audit.jsonl");
    let audit = Audit::open(&path, true, "start").expect("opens");
    let limits = limits_of(|limits| limits.tool_calls_per_minute = Some(0));
    let spent = limits_of(|limits| limits.requests_per_minute = Some(0));
    let config = config_of(vec![tenant("alice", limits, &[("a", &ALICE)]), tenant("bob", spent, &[("b", &BOB)])]);
    let (tenancy, _) = tenancy(&config, Some(audit.clone()));
    let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("valid");
    let bob = tenancy.authenticate(Some("Bearer fbx_b_secret")).expect("valid");
    const FLOOD: u64 = 5_000;
    for number in 0..FLOOD {
        let id = format!("r{number}");
        let mut full = tenancy.admit(&alice.caller, "ember", &id).expect("admitted");
        settle_as(full.as_mut(), "rate_limited");
        let mut tools = tenancy.admit_tools(&alice.caller, &id).expect("admitted");
        assert!(tools.allow_call(&call("x")).is_err());
        tools.record_call(&call("x"), Decision::Rejected, &outcome(0));
        settle_as(tools.as_mut(), "rate_limited");
        assert!(tenancy.admit(&bob.caller, "ember", &id).is_err());
    }
    let lines = lines(&audit, &path);
    assert!(lines.len() < 100, "{} lines", lines.len());
    let sum = |tenant: &str, event: &str| -> u64 {
        let such = lines.iter().filter(|line| line["tenant"] == tenant && line["event"] == event);
        let such = such.inspect(|line| assert_ne!(line["decision"], "admitted", "{line}"));
        such.map(|line| line["count"].as_u64().unwrap_or(0) + u64::from(line["action"] != "repeated")).sum()
    };
    assert_eq!((sum("alice", "request"), sum("alice", "tool"), sum("bob", "request")), (2 * FLOOD, FLOOD, FLOOD));
    assert!(lines.iter().filter(|line| line["event"] == "request").all(|line| line["decision"] == "limited"));
}

/// Runs `attempts` attempts on many threads at once and returns how many succeed.
fn storm(attempts: usize, attempt: impl Fn() -> bool + Sync) -> usize {
    const THREADS: usize = 64;
    let passed = Mutex::new(0);
    let barrier = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                let mine = (0..attempts / THREADS).filter(|_| attempt()).count();
                *passed.lock().expect("not poisoned") += mine;
            });
        }
    });
    passed.into_inner().expect("not poisoned")
}

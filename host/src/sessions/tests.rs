//! The session store: tenants, limits, expiry, order, cuts. `tests/cases/sessions.rs` tests crashes and full disks.

mod fitting;
mod keeping;

use std::sync::atomic::{AtomicU64, Ordering};

use firebox_contract::{Error, Role, ToolCall};

use super::*;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name)
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn said(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

fn call(id: &str) -> ToolCall {
    ToolCall { id: id.to_owned(), name: "clock".to_owned(), arguments_json: "{\"zone\":\"UTC\"}".to_owned() }
}

fn calling(ids: &[&str]) -> Message {
    Message { tool_calls: ids.iter().map(|id| call(id)).collect(), ..said("") }
}

fn result(id: &str, text: &str) -> Message {
    Message::tool_result(&call(id), text)
}

fn named(model: &str) -> NewSession {
    NewSession { model: model.to_owned(), ..NewSession::default() }
}

fn memory(limits: SessionLimits) -> SessionStore {
    SessionStore::open(Path::new(":memory:"), limits).expect("opens")
}

fn texts(store: &SessionStore, tenant: &TenantId, id: &str) -> Vec<(u64, String)> {
    let messages = store.messages(tenant, id).expect("there");
    messages.into_iter().map(|stored| (stored.seq, stored.message.content)).collect()
}

/// A clock that only moves when a test moves it.
#[derive(Clone, Default)]
struct StoreClock(Arc<AtomicU64>);

impl StoreClock {
    fn clocks(&self) -> Clocks {
        let (wall, running) = (Arc::clone(&self.0), Arc::clone(&self.0));
        let at = |seconds: &AtomicU64| Duration::from_secs(1_000_000 + seconds.load(Ordering::SeqCst));
        Clocks { wall: Arc::new(move || SystemTime::UNIX_EPOCH + at(&wall)), running: Arc::new(move || at(&running)) }
    }

    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

#[test]
fn f12_tool_calls_and_results_are_stored_with_their_ids_and_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/sessions.db");
    let tenant = tenant("a");
    let messages = vec![
        user("what time is it, and where? \0 'quoted' \u{1f600}"),
        calling(&["call_1", "call_0"]),
        result("call_1", "12:00"),
        result("call_0", "here"),
        said("It is noon."),
    ];
    let new = NewSession { title: Some("time".to_owned()), model: "m".to_owned(), system: Some("be brief".to_owned()) };
    let id = {
        let store = SessionStore::open(&path, SessionLimits::default()).expect("opens");
        let session = store.create(&tenant, new).expect("made");
        assert_eq!(session.length, 0, "the system message is not counted");
        assert_eq!(store.append(&tenant, &session.id, Some(0), &messages), Ok(5));
        session.id
    };
    let store = SessionStore::open(&path, SessionLimits::default()).expect("opens again");
    store.check().expect("sound");
    let kept = store.messages(&tenant, &id).expect("there");
    assert_eq!((kept[0].seq, kept[0].message.role, kept[0].pinned), (SYSTEM_SEQ, Role::System, true));
    assert_eq!(kept[1..].iter().map(|stored| stored.message.clone()).collect::<Vec<_>>(), messages);
    assert_eq!(kept.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(store.get(&tenant, &id).expect("there").title.as_deref(), Some("time"));
}

#[test]
fn f12_expired_sessions_are_not_found_and_do_not_count() {
    let clock = StoreClock::default();
    let limits = SessionLimits { sessions_max: 2, idle: Some(Duration::from_secs(60)), ..SessionLimits::default() };
    let store = SessionStore::open_with_clocks(Path::new(":memory:"), limits, clock.clocks()).expect("opens");
    let (a, b) = (tenant("a"), tenant("b"));
    let first = store.create(&a, named("m")).expect("room for one");
    clock.advance(30);
    let second = store.create(&a, named("m")).expect("room for two");
    let full = store.create(&a, named("m")).expect_err("no room for three");
    assert_eq!(full, SessionError::TooMany { limit: 2, retry_after: Duration::from_secs(30) });
    store.create(&b, named("m")).expect("another tenant has its own limit");
    clock.advance(31);
    assert!(matches!(store.get(&a, &first.id), Err(SessionError::NotFound(_))), "expired");
    assert!(matches!(store.append(&a, &first.id, None, &[user("x")]), Err(SessionError::NotFound(_))));
    assert_eq!(store.count(&a), Ok(1));
    store.create(&a, named("m")).expect("the expired one makes room by itself");
    store.append(&a, &second.id, None, &[user("still here")]).expect("in time");
    clock.advance(59);
    store.get(&a, &second.id).expect("use keeps it");
    clock.advance(2);
    assert_eq!(store.sweep(), Ok(3), "one of b and two of a; the first was deleted when its slot was needed");
    assert_eq!(store.sweep(), Ok(0));
}

#[test]
fn a_sweep_deletes_any_number_of_sessions() {
    let clock = StoreClock::default();
    let limits = SessionLimits { idle: Some(Duration::from_secs(1)), ..SessionLimits::default() };
    let store = SessionStore::open_with_clocks(Path::new(":memory:"), limits, clock.clocks()).expect("opens");
    for number in 0..limits::SESSIONS_SWEEP_ROWS + 3 {
        store.create(&tenant(&format!("t{number}")), named("m")).expect("made");
    }
    clock.advance(5);
    assert_eq!(store.sweep(), Ok(limits::SESSIONS_SWEEP_ROWS + 3));
}

#[test]
fn no_tenant_can_use_the_sessions_of_another() {
    let store = memory(SessionLimits::default());
    let (mine, other) = (tenant("mine"), tenant("other"));
    let session = store.create(&mine, named("m")).expect("made");
    store.append(&mine, &session.id, None, &[user("secret")]).expect("stored");
    let id = session.id.as_str();
    let refusals = [
        store.get(&other, id).map(drop),
        store.messages(&other, id).map(drop),
        store.append(&other, id, None, &[user("x")]).map(drop),
        store.set_system(&other, id, Some("x")),
        store.set_title(&other, id, Some("x")),
        store.fork(&other, id, None).map(drop),
        store.truncate(&other, id, 0),
        store.pin(&other, id, 1, true),
        store.delete(&other, id),
        store.export(&other, id, &mut Vec::new()),
    ];
    for (index, refusal) in refusals.into_iter().enumerate() {
        assert!(matches!(refusal, Err(SessionError::NotFound(_))), "number {index}: {refusal:?}");
    }
    assert!(store.list(&other, &PageRequest::default()).expect("read").sessions.is_empty());
    assert_eq!(store.latest(&other), Ok(None));
    assert_eq!(store.count(&other), Ok(0));
    assert_eq!(texts(&store, &mine, id), [(1, "secret".to_owned())], "and nothing was changed");
}

#[test]
fn an_append_with_an_outdated_length_is_a_conflict() {
    let store = memory(SessionLimits::default());
    let tenant = tenant("a");
    let id = store.create(&tenant, named("m")).expect("made").id;
    store.append(&tenant, &id, Some(0), &[user("one"), said("two")]).expect("first");
    let late = store.append(&tenant, &id, Some(0), &[user("late")]);
    assert_eq!(late, Err(SessionError::Conflict { expected: 0, found: 2 }));
    assert_eq!(store.append(&tenant, &id, None, &[user("three")]), Ok(3), "without a number it goes to the end");
    assert_eq!(store.get(&tenant, &id).expect("there").length, 3);
}

#[test]
fn a_change_that_does_not_fit_stores_nothing() {
    let limits = SessionLimits { messages_max: 3, bytes_max: 100, ..SessionLimits::default() };
    let store = memory(limits);
    let tenant = tenant("a");
    let id = store.create(&tenant, named("m")).expect("made").id;
    let four = [user("1"), said("2"), user("3"), said("4")];
    assert!(matches!(store.append(&tenant, &id, None, &four), Err(SessionError::TooLarge(_))));
    assert!(texts(&store, &tenant, &id).is_empty(), "all or none");
    let long = "x".repeat(101);
    assert!(matches!(store.append(&tenant, &id, None, &[user(&long)]), Err(SessionError::TooLarge(_))));
    assert!(matches!(store.set_system(&tenant, &id, Some(&long)), Err(SessionError::TooLarge(_))));
    let big = NewSession { system: Some(long), ..named("m") };
    assert!(matches!(store.create(&tenant, big), Err(SessionError::TooLarge(_))));
    assert_eq!(store.count(&tenant), Ok(1), "the session that did not fit is not there");
    store.append(&tenant, &id, None, &[user(&"x".repeat(100))]).expect("just fits");
}

#[test]
fn a_list_comes_in_pages_newest_first() {
    let clock = StoreClock::default();
    let store = SessionStore::open_with_clocks(Path::new(":memory:"), SessionLimits::default(), clock.clocks());
    let store = store.expect("opens");
    let tenant = tenant("a");
    let mut made: Vec<String> = Vec::new();
    for _ in 0..5 {
        clock.advance(1);
        made.push(store.create(&tenant, named("m")).expect("made").id);
    }
    clock.advance(1);
    store.append(&tenant, &made[1], None, &[user("used last")]).expect("stored");
    assert_eq!(store.latest(&tenant).expect("read").expect("there").id, made[1]);
    let mut seen = Vec::new();
    let mut page = PageRequest { limit: 2, after: None };
    let sizes: Vec<usize> = std::iter::from_fn(|| {
        let found = store.list(&tenant, &page).expect("read");
        let size = found.sessions.len();
        seen.extend(found.sessions.into_iter().map(|session| session.id));
        page.after = found.next;
        (size > 0).then_some(size)
    })
    .take(3)
    .collect();
    made.reverse();
    assert_eq!((sizes, seen), (vec![2, 2, 1], made));
    assert_eq!(page.after, None, "the last page says so");
}

#[test]
fn a_fork_is_independent_and_never_separates_a_call_from_its_result() {
    let store = memory(SessionLimits { sessions_max: 3, ..SessionLimits::default() });
    let tenant = tenant("a");
    let new = NewSession { system: Some("be brief".to_owned()), ..named("m") };
    let id = store.create(&tenant, new).expect("made").id;
    let messages = [user("q"), calling(&["c"]), result("c", "r"), said("a"), user("q2"), said("a2")];
    store.append(&tenant, &id, None, &messages).expect("stored");
    store.pin(&tenant, &id, 1, true).expect("pinned");
    let fork = store.fork(&tenant, &id, Some(4)).expect("forked");
    assert_eq!((fork.length, fork.parent.as_deref()), (4, Some(id.as_str())));
    store.append(&tenant, &fork.id, Some(4), &[user("another way")]).expect("stored");
    let kept = store.messages(&tenant, &fork.id).expect("there");
    assert_eq!(kept.len(), 6, "the system message came along");
    assert!(kept[1].pinned, "and so did the pin");
    assert_eq!(store.messages(&tenant, &id).expect("there").len(), 7, "the original is as it was");
    for (at, expected) in [(2, "between"), (7, "no message")] {
        let refused = store.fork(&tenant, &id, Some(at)).expect_err("refused").to_string();
        assert!(refused.contains(expected), "{refused}");
        assert!(store.truncate(&tenant, &id, at).is_err());
    }
    store.truncate(&tenant, &id, 4).expect("an undo");
    let after = store.get(&tenant, &id).expect("there");
    assert_eq!((after.length, after.bytes), (4, store.fork(&tenant, &id, None).expect("forked").bytes));
    assert!(matches!(store.fork(&tenant, &id, None), Err(SessionError::TooMany { .. })), "a fork is a session too");
}

#[test]
fn the_system_message_can_be_replaced_and_removed() {
    let store = memory(SessionLimits::default());
    let tenant = tenant("a");
    let id = store.create(&tenant, named("m")).expect("made").id;
    store.append(&tenant, &id, None, &[user("hello")]).expect("stored");
    store.set_system(&tenant, &id, Some("one")).expect("set");
    store.set_system(&tenant, &id, Some("other")).expect("set again");
    assert_eq!(texts(&store, &tenant, &id), [(0, "other".to_owned()), (1, "hello".to_owned())]);
    assert_eq!(store.get(&tenant, &id).expect("there").bytes, 10);
    store.set_system(&tenant, &id, None).expect("removed");
    assert_eq!(texts(&store, &tenant, &id), [(1, "hello".to_owned())]);
    assert!(matches!(store.pin(&tenant, &id, 9, true), Err(SessionError::NotFound(_))));
}

#[test]
fn an_exported_session_can_be_imported() {
    let store = memory(SessionLimits::default());
    let (from, to) = (tenant("from"), tenant("to"));
    let new = NewSession { title: Some("t".to_owned()), model: "m".to_owned(), system: Some("s".to_owned()) };
    let id = store.create(&from, new).expect("made").id;
    let messages = [user("a\nb"), calling(&["c"]), result("c", "r"), said("done")];
    store.append(&from, &id, None, &messages).expect("stored");
    store.pin(&from, &id, 1, true).expect("pinned");
    let mut lines = Vec::new();
    store.export(&from, &id, &mut lines).expect("written");
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 6, "a head, the system message, four more");
    let copy = store.import(&to, &mut lines.as_slice()).expect("read");
    assert_eq!((copy.title.as_deref(), copy.length), (Some("t"), 4));
    assert_eq!(store.messages(&to, &copy.id).expect("there"), store.messages(&from, &id).expect("there"));
    let bad: [(&str, &str); 5] = [
        ("", "line 1"),
        ("{\"firebox_session\":9,\"model\":\"m\"}", "version \"9\""),
        ("{\"model\":\"m\"}", "line 1"),
        ("{\"firebox_session\":1,\"model\":\"m\"}\n\nnonsense", "line 2"),
        ("{\"firebox_session\":1,\"model\":\"m\"}\n{\"role\":\"robot\",\"content\":\"\",\"created\":0}", "\"robot\""),
    ];
    for (text, expected) in bad {
        let refused = store.import(&to, &mut text.as_bytes()).expect_err(expected).to_string();
        assert!(refused.contains(expected), "{refused} should contain {expected}");
    }
    assert_eq!(store.count(&to), Ok(1), "nothing half read is kept");
}

#[test]
fn session_errors_become_the_shared_error_kinds() {
    let kinds = [
        (SessionError::NotFound(String::new()), "not_found"),
        (SessionError::Conflict { expected: 1, found: 2 }, "invalid_request"),
        (SessionError::TooMany { limit: 1, retry_after: Duration::ZERO }, "rate_limited"),
        (SessionError::TooLarge(String::new()), "too_large"),
        (SessionError::Full { path: PathBuf::from("/secret") }, "unavailable"),
    ];
    for (error, code) in kinds {
        let error = Error::from(error);
        assert_eq!(error.kind().code(), code);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn every_writer_syncs_what_it_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SessionStore::open(&folder.path().join("s.db"), SessionLimits::default()).expect("opens");
    let asked = |name: &str| -> String {
        let value = store.writer().pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        match value.expect("a value") {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        }
    };
    assert_eq!([asked("journal_mode"), asked("synchronous"), asked("foreign_keys")], ["wal", "2", "1"]);
}

#[test]
fn usage_reports_are_stored_and_replaced() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("sessions.db");
    let text = |text: &str| text.to_owned();
    let store = SessionStore::open(&path, SessionLimits::default()).expect("opens");
    assert!(store.stored_usage().expect("read").is_empty());
    store.store_usage(&[(tenant("a"), text("1")), (tenant("b"), text("2"))]).expect("kept");
    store.store_usage(&[(tenant("b"), text("3"))]).expect("kept");
    drop(store);
    let store = SessionStore::open(&path, SessionLimits::default()).expect("opens");
    assert_eq!(store.stored_usage().expect("read"), [(tenant("a"), text("1")), (tenant("b"), text("3"))]);
}

#[test]
fn deleted_text_is_overwritten() {
    const SECRET: &str = "the launch code is 0000-1111-2222";
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("sessions.db");
    let store = SessionStore::open(&path, SessionLimits::default()).expect("opens");
    let session = store.create(&tenant("a"), named("m")).expect("made");
    store.append(&tenant("a"), &session.id, None, &[user(SECRET)]).expect("kept");
    store.flush().expect("flushed");
    let holds = || {
        let bytes = std::fs::read(&path).expect("readable");
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    };
    assert!(holds(), "the test looks in the right place");
    store.delete(&tenant("a"), &session.id).expect("deleted");
    store.flush().expect("flushed");
    assert!(!holds());
}

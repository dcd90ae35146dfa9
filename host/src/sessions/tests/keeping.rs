//! The safety of the file and its sessions: clock changes, shares, locks, damaged and replaced files.

use super::*;

/// Two clocks that tests move independently.
#[derive(Clone, Default)]
struct TwoClocks {
    wall: Arc<AtomicU64>,
    running: Arc<AtomicU64>,
}

impl TwoClocks {
    fn clocks(&self) -> Clocks {
        let (wall, running) = (Arc::clone(&self.wall), Arc::clone(&self.running));
        Clocks {
            wall: Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(wall.load(Ordering::SeqCst))),
            running: Arc::new(move || Duration::from_secs(running.load(Ordering::SeqCst))),
        }
    }

    /// Moves both clocks.
    fn advance(&self, seconds: u64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
        self.running.fetch_add(seconds, Ordering::SeqCst);
    }
}

const DAY: u64 = 86_400;

fn idle_of(seconds: u64) -> SessionLimits {
    SessionLimits { idle: Some(Duration::from_secs(seconds)), ..SessionLimits::default() }
}

#[test]
fn a_change_of_the_systems_clock_expires_nothing() {
    let clocks = TwoClocks::default();
    clocks.wall.store(20_000 * DAY, Ordering::SeqCst);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let open = || SessionStore::open_with_clocks(&path, idle_of(DAY), clocks.clocks()).expect("opens");
    let tenant = tenant("a");
    let id = {
        let store = open();
        let id = store.create(&tenant, named("m")).expect("made").id;
        for jump in [20_040 * DAY, 0, 30_000 * DAY] {
            clocks.wall.store(jump, Ordering::SeqCst);
            assert_eq!(store.sweep(), Ok(0), "a jump to {jump}");
            store.get(&tenant, &id).expect("still there");
        }
        clocks.advance(DAY - 10);
        assert_eq!(store.sweep(), Ok(0));
        store.flush().expect("noted");
        id
    };
    // Time in which no server runs is not idle time.
    clocks.wall.fetch_add(40 * DAY, Ordering::SeqCst);
    clocks.running.store(5, Ordering::SeqCst);
    let store = open();
    assert_eq!(store.sweep(), Ok(0));
    store.get(&tenant, &id).expect("it has the rest of its time");
    clocks.advance(11);
    assert!(matches!(store.get(&tenant, &id), Err(SessionError::NotFound(_))), "and no more than that");
    assert_eq!(store.sweep(), Ok(1));
}

#[test]
fn after_a_crash_the_running_time_continues_from_the_last_use() {
    let clocks = TwoClocks::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let open = || SessionStore::open_with_clocks(&path, idle_of(100), clocks.clocks()).expect("opens");
    let tenant = tenant("a");
    let store = open();
    let old = store.create(&tenant, named("m")).expect("made").id;
    clocks.advance(60);
    let new = store.create(&tenant, named("m")).expect("made").id;
    // No flush and no sweep: only the running time at the start is stored.
    drop(store);
    let store = open();
    clocks.advance(41);
    assert!(store.get(&tenant, &old).is_err() && store.get(&tenant, &new).is_ok());
}

#[test]
fn a_tenant_cannot_exceed_its_share_of_the_file() {
    let store = memory(SessionLimits { tenant_bytes_max: 10_000, ..SessionLimits::default() });
    let (greedy, other, small) = (tenant("greedy"), tenant("other"), tenant("small"));
    store.share([(small.clone(), 700)].into());
    let text = "x".repeat(1_000);
    let fill = |tenant: &TenantId| -> (usize, SessionError) {
        let id = store.create(tenant, named("m")).expect("room for one").id;
        let tried = (0..1_000).map(|_| store.append(tenant, &id, None, &[user(&text)]));
        let mut stored = 0;
        for outcome in tried {
            match outcome {
                Ok(_) => stored += 1,
                Err(error) => return (stored, error),
            }
        }
        panic!("never full");
    };
    let (stored, error) = fill(&greedy);
    assert!((7..=9).contains(&stored), "{stored}");
    assert!(matches!(error, SessionError::ShareFull { limit: 10_000, .. }), "{error}");
    assert_eq!(Error::from(error).kind().code(), "rate_limited");
    assert_eq!(fill(&other).0, stored, "another tenant has its own share");
    assert_eq!(fill(&small).0, 0, "a share of its own");
    // Messages without text count too.
    let id = store.list(&greedy, &PageRequest::default()).expect("read").sessions[0].id.clone();
    let empty: Vec<Message> = (0..100).map(|_| user("")).collect();
    assert!(matches!(store.append(&greedy, &id, None, &empty), Err(SessionError::ShareFull { .. })));
    assert!(matches!(store.fork(&greedy, &id, None), Err(SessionError::ShareFull { .. })));
    store.truncate(&greedy, &id, 1).expect("shorter");
    store.fork(&greedy, &id, None).expect("a fork fits again");
    store.delete(&greedy, &id).expect("deleted");
    for session in store.list(&greedy, &PageRequest::default()).expect("read").sessions {
        store.delete(&greedy, &session.id).expect("deleted");
    }
    assert_eq!(store.bytes(&greedy), Ok(0), "all of it is given back");
}

#[test]
fn a_server_locks_its_file_and_chats_share_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let server = SessionStore::open_alone(&path, SessionLimits::default()).expect("opens");
    let expected = format!("process {}", std::process::id());
    for second in [SessionStore::open_alone, SessionStore::open] {
        let error = second(&path, SessionLimits::default()).err().expect("refused").to_string();
        assert!(error.contains(&expected) && error.contains("in use"), "{error}");
    }
    drop(server);
    let _chats = [0, 1].map(|_| SessionStore::open(&path, SessionLimits::default()).expect("shared"));
    let error = SessionStore::open_alone(&path, SessionLimits::default()).err().expect("refused");
    assert!(matches!(error, SessionError::InUse { .. }), "{error}");
}

/// A server's store with a session and a write-ahead log, and its folder.
fn served() -> (tempfile::TempDir, SessionStore, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SessionStore::open_alone(&folder.path().join("s.db"), SessionLimits::default()).expect("opens");
    let id = store.create(&tenant("a"), named("m")).expect("made").id;
    store.append(&tenant("a"), &id, None, &[user("hello")]).expect("stored");
    (folder, store, id)
}

#[cfg(unix)]
#[test]
fn a_deleted_or_replaced_file_is_an_error_at_once_and_is_not_overwritten() {
    for replaced in [false, true] {
        let (folder, store, id) = served();
        let (path, wal) = (folder.path().join("s.db"), folder.path().join("s.db-wal"));
        assert!(store.trouble().is_none() && store.probe().is_ok());
        std::fs::remove_file(&path).expect("removed");
        std::fs::remove_file(&wal).expect("removed");
        if replaced {
            std::fs::write(&path, "somebody's").expect("written");
            std::fs::write(&wal, "somebody's log").expect("written");
        }
        let a = tenant("a");
        let outcomes = [
            store.get(&a, &id).map(drop),
            store.append(&a, &id, None, &[user("x")]).map(drop),
            store.delete(&a, &id),
            store.flush(),
            store.store_usage(&[]),
            store.probe(),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(SessionError::Gone { .. })), "{outcome:?}");
        }
        assert!(matches!(store.trouble(), Some(SessionError::Gone { .. })));
        drop(store);
        let there = |path: &Path| std::fs::read_to_string(path).ok();
        let expected = |text: &str| replaced.then(|| text.to_owned());
        assert_eq!((there(&path), there(&wal)), (expected("somebody's"), expected("somebody's log")));
    }
}

#[test]
fn a_file_that_is_damaged_while_in_use_is_not_changed() {
    for damage in [Vec::new(), vec![0xa5_u8; 64 << 10]] {
        let (folder, store, id) = served();
        let path = folder.path().join("s.db");
        std::fs::write(&path, &damage).expect("written over");
        for _ in 0..2 {
            let outcome = store.get(&tenant("a"), &id);
            assert!(matches!(outcome, Err(SessionError::Damaged { .. })), "{outcome:?}");
        }
        assert!(store.flush().is_err() && store.append(&tenant("a"), &id, None, &[user("x")]).is_err());
        drop(store);
        assert_eq!(std::fs::read(&path).expect("there"), damage, "closing wrote nothing either");
    }
}

#[test]
fn space_is_reserved_for_deleting_and_deleted_text_is_overwritten() {
    let (folder, store, id) = served();
    let reserve = folder.path().join("s.db.reserve");
    assert!(std::fs::metadata(&reserve).expect("kept").len() > 0);
    store.append(&tenant("a"), &id, None, &[user(&"a word that is gone ".repeat(10_000))]).expect("stored");
    store.without_overwriting(|| store.delete(&tenant("a"), &id)).expect("deleted without overwriting");
    let secure: i64 = store.writer().pragma_query_value(None, "secure_delete", |row| row.get(0)).expect("a value");
    assert_eq!(secure, 1, "and what is deleted later is overwritten again");
    store.check().expect("sound");
    std::fs::remove_file(&reserve).expect("used");
    store.probe().expect("good");
    assert!(reserve.exists(), "taken again where there is room");
}

#[test]
fn a_session_is_read_in_pages_of_messages_and_bytes() {
    let store = memory(SessionLimits { bytes_max: 1 << 30, ..SessionLimits::default() });
    let a = tenant("a");
    let new = NewSession { system: Some("be brief".to_owned()), ..named("m") };
    let id = store.create(&a, new).expect("made").id;
    let large = "x".repeat(3 << 20);
    store.append(&a, &id, None, &[user("1"), said(&large), user(&large), said("4"), user("5")]).expect("stored");
    let page = |after: Option<u64>, limit: usize| {
        let (_, messages, more) = store.page(&a, &id, after, limit).expect("read");
        (messages.iter().map(|stored| stored.seq).collect::<Vec<_>>(), more)
    };
    assert_eq!(page(None, 100), (vec![0, 1, 2], true), "two large ones are not read together");
    assert_eq!(page(Some(2), 100), (vec![3, 4, 5], false));
    assert_eq!(page(Some(3), 1), (vec![4], true));
    assert_eq!(page(Some(4), 0), (vec![5], false));
    assert_eq!(page(Some(5), 9), (Vec::new(), false));
    assert!(matches!(store.page(&tenant("b"), &id, None, 9), Err(SessionError::NotFound(_))));
}

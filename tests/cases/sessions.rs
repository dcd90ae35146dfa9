//! The session store against crashes, full disks and damaged files.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use firebox::contract::{Message, Role, TenantId};
use firebox::sessions::{NewSession, SessionError, SessionLimits, SessionStore, set_aside};

use crate::harness::scratch;

/// Times the writer is killed.
const KILLS: u64 = 50;
/// Tells a copy of this test binary that it is the writer, and where to write.
const WRITER: &str = "FIREBOX_TEST_SESSION_WRITER";

fn tenant() -> TenantId {
    TenantId::new("a")
}

fn fresh(name: &str) -> PathBuf {
    let folder = scratch("sessions").join(name);
    // What an earlier run left there is not this run's business.
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("writable");
    folder.join("sessions.db")
}

fn open(path: &Path) -> Result<SessionStore, SessionError> {
    let limits = SessionLimits { messages_max: 1 << 20, bytes_max: 1 << 32, idle: None, ..SessionLimits::default() };
    SessionStore::open(path, limits)
}

fn text(number: u64) -> String {
    format!("message {number} {}", "x".repeat(usize::try_from(number % 7).expect("small") * 500))
}

/// Not a test of its own: the tests below run it as a process that they can kill. It appends to its session and
/// tells each number once the store has acknowledged it.
#[test]
#[ignore = "a part of the tests below, which run it themselves"]
fn writer() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let mut out = std::io::stdout();
    let store = open(Path::new(&path)).expect("opens");
    let session = match store.latest(&tenant()).expect("read") {
        Some(session) => session,
        None => store.create(&tenant(), NewSession::default()).expect("made"),
    };
    let mut length = session.length;
    loop {
        let message = Message::text(Role::User, text(length + 1));
        match store.append(&tenant(), &session.id, Some(length), &[message]) {
            Ok(now) => length = now,
            Err(error) => {
                writeln!(out, "\nfailed {error}").expect("told");
                return;
            }
        }
        writeln!(out, "\nacknowledged {length}").expect("told");
        out.flush().expect("told");
    }
}

/// The writer as a command; `before` is run by the shell that becomes it.
fn writer_command(path: &Path, before: &str) -> Command {
    let program = std::env::current_exe().expect("known");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{before} exec \"$0\" --ignored --exact cases::sessions::writer"));
    command.arg(program).env(WRITER, path).stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
    command
}

/// The last number the writer told before its output ended, and what it failed with, if it did. `first` hears of the
/// first number at once.
fn told(child: &mut Child, first: SyncSender<()>) -> std::thread::JoinHandle<(u64, Option<String>)> {
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    std::thread::spawn(move || {
        let (mut last, mut failed) = (0, None);
        for line in stdout.lines() {
            let line = line.expect("text");
            if let Some(number) = line.strip_prefix("acknowledged ") {
                last = number.parse().expect("a whole line, or none");
                // Nobody has to wait for it, and nobody waits twice.
                let _unheard = first.try_send(());
            } else if let Some(error) = line.strip_prefix("failed ") {
                failed = Some(error.to_owned());
            }
        }
        (last, failed)
    })
}

/// Every message up to `acknowledged` is there and whole, and the file is sound. Returns how many there are.
fn verify(path: &Path, acknowledged: u64) -> u64 {
    let store = open(path).expect("opens after the kill");
    store.check().expect("sound");
    let Some(session) = store.latest(&tenant()).expect("read") else {
        assert_eq!(acknowledged, 0, "the session is gone");
        return 0;
    };
    let messages = store.messages(&tenant(), &session.id).expect("read");
    assert_eq!(messages.len() as u64, session.length, "the count is what there is");
    assert!(session.length >= acknowledged, "{acknowledged} were acknowledged, {} are there", session.length);
    for stored in messages {
        assert_eq!(stored.message.content, text(stored.seq));
    }
    session.length
}

#[cfg(unix)]
#[test]
fn f12_no_acknowledged_message_is_lost_when_the_host_is_killed() {
    let path = fresh("killed");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut before, mut rounds_that_wrote) = (0, 0);
    for kill in 0..KILLS {
        let mut child = writer_command(&path, "").spawn().expect("starts");
        let (first, wrote) = sync_channel(1);
        let listener = told(&mut child, first);
        if kill % 2 == 1 {
            wrote.recv_timeout(Duration::from_secs(60)).expect("the writer writes");
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // From before it has opened the file to in the middle of any step of a commit.
        std::thread::sleep(Duration::from_micros((state >> 33) % 30_000));
        child.kill().expect("SIGKILL");
        child.wait().expect("gone");
        let (acknowledged, failed) = listener.join().expect("read");
        assert_eq!(failed, None, "kill {kill}");
        rounds_that_wrote += u64::from(acknowledged > 0);
        before = verify(&path, acknowledged.max(before));
    }
    assert!(rounds_that_wrote >= KILLS / 2, "only {rounds_that_wrote} of {KILLS} wrote before they were killed");
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_takes_nothing_back() {
    let path = fresh("full");
    // Writes beyond 400 KiB of any file fail as on a full disk, and the signal that would come with it is ignored.
    let mut child = writer_command(&path, "trap '' XFSZ; ulimit -f 800;").spawn().expect("starts");
    let (first, _) = sync_channel(1);
    let listener = told(&mut child, first);
    let ended = Instant::now();
    while child.try_wait().expect("waitable").is_none() {
        assert!(ended.elapsed() < Duration::from_secs(120), "the writer meets its limit soon");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (acknowledged, failed) = listener.join().expect("read");
    let failed = failed.expect("it failed");
    assert!(failed.contains("session file") && failed.contains("sessions.db"), "{failed}");
    assert!(acknowledged > 10, "{acknowledged} fitted");
    assert_eq!(verify(&path, acknowledged), acknowledged, "what failed is not there");
}

#[test]
fn a_full_file_says_so_and_goes_on_once_there_is_room() {
    let path = fresh("limit");
    let limits = SessionLimits { file_bytes_max: 256 << 10, ..SessionLimits::default() };
    let store = SessionStore::open(&path, limits).expect("opens");
    let tenant = tenant();
    let small = store.create(&tenant, NewSession::default()).expect("made").id;
    let big = store.create(&tenant, NewSession::default()).expect("made").id;
    let message = [Message::text(Role::User, "x".repeat(10_000))];
    let full = (0..100).find_map(|_| store.append(&tenant, &big, None, &message).err()).expect("full in the end");
    assert!(matches!(&full, SessionError::Full { .. }), "{full}");
    assert!(full.to_string().contains("delete sessions"), "{full}");
    assert!(store.messages(&tenant, &big).expect("read").len() > 5, "what was stored stays");
    store.delete(&tenant, &big).expect("deleting works when it is full");
    store.append(&tenant, &small, None, &message).expect("and makes room");
    store.check().expect("sound");
}

#[test]
fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let path = fresh("damaged");
    for bytes in [vec![7u8; 8_192], b"SQLite format 3\0 and then not".repeat(300)] {
        std::fs::write(&path, &bytes).expect("written");
        let error = open(&path).err().expect("refused");
        assert!(matches!(&error, SessionError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("was not changed"), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), bytes, "not a byte was changed");
    }
    let aside = set_aside(&path, std::time::SystemTime::now()).expect("renamed");
    assert_eq!(std::fs::metadata(&aside).expect("kept").len(), 300 * 29);
    open(&path).expect("a new one begins").create(&tenant(), NewSession::default()).expect("and works");
}

#[test]
fn damage_in_the_middle_is_told_when_it_is_met() {
    let path = fresh("hole");
    let id = {
        let store = open(&path).expect("opens");
        let id = store.create(&tenant(), NewSession::default()).expect("made").id;
        for number in 1..=100 {
            store.append(&tenant(), &id, None, &[Message::text(Role::User, text(number))]).expect("stored");
        }
        store.flush().expect("all of it is in the file");
        id
    };
    let mut bytes = std::fs::read(&path).expect("read");
    let length = bytes.len();
    assert!(length > 64 << 10, "{length}");
    bytes[length / 4..].fill(0xa5);
    std::fs::write(&path, &bytes).expect("written");
    let error = open(&path).and_then(|store| store.messages(&tenant(), &id).map(drop)).expect_err("damaged");
    assert!(matches!(&error, SessionError::Damaged { .. }), "{error}");
}

#[test]
fn another_programs_database_is_left_alone() {
    let path = fresh("foreign");
    let other = "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);";
    let made = Command::new("python3")
        .args(["-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.close()"])
        .arg(&path)
        .arg(other)
        .status()
        .expect("python3 is needed");
    assert!(made.success());
    let bytes = std::fs::read(&path).expect("read");
    let error = open(&path).err().expect("refused");
    assert!(matches!(&error, SessionError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let path = fresh("private").with_file_name("folder").join("sessions.db");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let store = open(&path).expect("opens");
    store.create(&tenant(), NewSession::default()).expect("made");
    assert_eq!(mode(path.parent().expect("a folder")), 0o700);
    for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("widened");
    drop(open(&path).expect("opens"));
    assert_eq!(mode(&path), 0o600, "narrowed again");
}

#[test]
fn many_threads_and_two_stores_write_one_file() {
    let path = fresh("shared");
    let stores = [open(&path).expect("opens"), open(&path).expect("opens twice")];
    let id = stores[0].create(&tenant(), NewSession::default()).expect("made").id;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, id) = (&stores[thread % 2], &id);
            scope.spawn(move || {
                for _ in 0..20 {
                    let pair = [Message::text(Role::User, "q"), Message::text(Role::Assistant, "a")];
                    store.append(&tenant(), id, None, &pair).expect("stored");
                    store.messages(&tenant(), id).expect("read beside the writers");
                }
            });
        }
    });
    let messages = stores[1].messages(&tenant(), &id).expect("read");
    assert_eq!(messages.len(), 320);
    let paired = messages.chunks(2).all(|pair| pair[0].message.role == Role::User && pair[1].message.content == "a");
    assert!(paired, "no append was torn apart");
}

use std::sync::atomic::AtomicUsize;

use super::*;

/// A sink that fails on demand.
#[derive(Clone, Default)]
struct FakeDisk {
    written: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    writes: Arc<AtomicUsize>,
    synced: Arc<AtomicBool>,
    unsyncable: Arc<AtomicBool>,
}

impl LogSink for FakeDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.lock().expect("whole").extend_from_slice(bytes);
        self.synced.store(false, Ordering::SeqCst);
        Ok(bytes.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.unsyncable.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Other.into());
        }
        self.synced.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn probe(&mut self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl FakeDisk {
    fn lines(&self) -> Vec<serde_json::Value> {
        let written = self.written.lock().expect("whole").clone();
        let text = String::from_utf8(written).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }
}

fn tool(name: &str) -> Record<'_> {
    Record::Tool(ToolRecord { tool: name, ..ToolRecord::default() })
}

/// Waits until `truth` returns true, for at most 20 s.
fn until(what: &str, truth: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !truth() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lines_are_in_order_each_in_one_write_and_synced_on_close() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    for number in 0..1_000 {
        audit.record(&tool(&number.to_string()));
    }
    audit.close().expect("nothing is lost");
    let lines = disk.lines();
    assert_eq!(lines.len(), 1_000);
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(number, line)| line["tool"].as_str().and_then(|tool| tool.parse().ok()) == Some(number))
    );
    assert_eq!(disk.writes.load(Ordering::SeqCst), 1_000);
    assert!(disk.synced.load(Ordering::SeqCst));
    assert!(lines[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert!(lines[0].get("prompt").is_none(), "what does not apply is left out");
}

#[test]
fn a_full_disk_refuses_new_work_keeps_running_lines_and_recovers() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    disk.full.store(true, Ordering::SeqCst);
    audit.record(&tool("running"));
    until("the refusal", || audit.ready().is_err());
    let error = audit.ready().expect_err("refused");
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("audit log")), "{error}");
    let begun = Instant::now();
    for _ in 0..1_000 {
        audit.record(&tool("running"));
    }
    assert!(begun.elapsed() < limits::AUDIT_RETRY_PERIOD, "no request waits for the disk");
    disk.full.store(false, Ordering::SeqCst);
    until("the recovery", || audit.ready().is_ok());
    audit.close().expect("nothing is lost");
    assert_eq!(disk.lines().len(), 1_001);
}

#[test]
fn a_failing_sync_refuses_new_work_until_it_succeeds() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    disk.unsyncable.store(true, Ordering::SeqCst);
    audit.record(&tool("x"));
    until("the refusal", || audit.ready().is_err());
    disk.unsyncable.store(false, Ordering::SeqCst);
    until("the recovery without another line", || audit.ready().is_ok());
    assert!(disk.synced.load(Ordering::SeqCst));
    audit.reopen();
    audit.record(&tool("y"));
    audit.close().expect("the open file stays in use");
    assert_eq!(disk.lines().len(), 2);
}

#[test]
fn dropped_lines_are_counted_and_marked_by_a_gap_line() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    disk.full.store(true, Ordering::SeqCst);
    let places = limits::AUDIT_LINES_WAITING_MAX + limits::AUDIT_LINES_RESERVED;
    for _ in 0..places + 100 {
        audit.record(&tool("x"));
    }
    let lost = audit.lost();
    assert!((99..=100).contains(&lost), "{lost}: one line may be in the writer's hand");
    disk.full.store(false, Ordering::SeqCst);
    let error = audit.close().expect_err("some are lost");
    assert!(error.to_string().contains(&lost.to_string()), "{error}");
    let lines = disk.lines();
    let gap: Vec<_> = lines.iter().filter(|line| line["event"] == "gap").collect();
    assert_eq!(gap.len(), 1);
    assert_eq!(gap[0]["lost"], lost);
    assert_eq!(lines.len() as u64, places as u64 + 101 - lost);
}

#[test]
fn closing_a_log_on_a_full_disk_ends_and_reports_lost_lines() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..50 {
        audit.record(&tool("x"));
    }
    let begun = Instant::now();
    assert!(audit.close().expect_err("all are lost").to_string().contains("50"));
    assert!(begun.elapsed() < limits::AUDIT_CLOSE_TIMEOUT);
    assert!(audit.ready().is_err(), "a closed log admits nothing");
}

#[test]
fn files_are_appended_to_and_an_incomplete_line_is_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("audit.jsonl");
    std::fs::write(&path, "{\"event\":\"old\"}\n{\"event\":\"to").expect("written");
    let audit = Audit::open(&path, false, "start").expect("opens");
    audit.record(&tool("x"));
    let moved = dir.path().join("audit.1");
    until("the line", || std::fs::read_to_string(&path).expect("readable").contains("\"x\""));
    std::fs::rename(&path, &moved).expect("moved");
    audit.reopen();
    until("the new file", || path.is_file());
    audit.record(&tool("y"));
    drop(audit);
    let (old, new) =
        (std::fs::read_to_string(moved).expect("readable"), std::fs::read_to_string(path).expect("readable"));
    let old: Vec<&str> = old.lines().collect();
    assert_eq!(old.len(), 4, "{old:?}");
    assert_eq!(old[..2], ["{\"event\":\"old\"}", "{\"event\":\"to"]);
    assert!(old[2].contains("\"admin\"") && old[3].contains("\"x\"") && new.contains("\"y\""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_at_the_start_is_an_error() {
    let error = Audit::open(Path::new("/dev/full"), false, "start").err().expect("it is full");
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("/dev/full")), "{error}");
}

#[cfg(unix)]
#[test]
fn the_log_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("audit.jsonl");
    drop(Audit::open(&path, false, "start").expect("opens"));
    assert_eq!(std::fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_probe_finds_a_full_disk_and_its_end() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    disk.full.store(true, Ordering::SeqCst);
    audit.probe();
    until("the refusal", || audit.ready().is_err());
    disk.full.store(false, Ordering::SeqCst);
    audit.probe();
    until("the recovery", || audit.ready().is_ok());
    assert!(disk.lines().is_empty(), "nothing was written for it");
}

#[test]
fn refusals_are_written_with_their_count_without_other_lines() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    let refusal = Record::Refusal(RefusalRecord { outcome: "unauthorized", ..RefusalRecord::default() });
    for _ in 0..1_000 {
        audit.refused(&refusal);
    }
    until("the count", || disk.lines().len() >= 2);
    let lines = disk.lines();
    let sum: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!((lines.len(), sum), (2, 999), "{lines:?}");
    assert_eq!((&lines[1]["action"], &lines[1]["outcome"]), (&"repeated".into(), &"unauthorized".into()));
    audit.close().expect("nothing is lost");
    assert_eq!(disk.lines().len(), 2);
}

#[test]
fn a_backlog_of_one_tenant_refuses_only_that_tenant() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    // The log can be written, and its thread has many lines to write.
    for _ in 0..limits::AUDIT_LINES_WAITING_MAX / 3 {
        audit.0.state.waiting().enter("greedy", 100).expect("few bytes");
    }
    assert!(audit.ready_for("greedy").is_err());
    audit.ready_for("other").expect("has room");
    audit.ready().expect("and the host is ready");
}

#[test]
fn lines_of_several_processes_are_one_chain_over_a_rotation() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, moved) = (dir.path().join("audit.jsonl"), dir.path().join("audit.1"));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let server = Audit::open_alone(&path, false, "serve").expect("opens");
    let error = Audit::open_alone(&path, false, "serve").err().expect("one at a time").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    for number in 0..20 {
        server.record(&tool(&format!("server {number}")));
        drop(Audit::open(&path, false, &format!("other {number}")).expect("opens"));
    }
    until("the lines", || text(&path).contains("server 19"));
    std::fs::rename(&path, &moved).expect("moved");
    drop(Audit::open(&path, false, "after the rotation").expect("begins a file"));
    server.record(&tool("follows it"));
    until("the line", || text(&path).contains("follows it"));
    drop(server);
    let whole = verify::verify(&[moved, path]).expect("whole");
    assert_eq!((whole.lines, whole.last), (43, 43));
}

#[cfg(unix)]
#[test]
fn a_deleted_log_is_started_again_and_its_lines_are_known_to_be_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("audit.jsonl");
    let audit = Audit::open_alone(&path, false, "serve").expect("opens");
    std::fs::remove_file(&path).expect("removed");
    audit.probe();
    until("the new file", || path.is_file());
    audit.record(&tool("x"));
    audit.close().expect("nothing is lost");
    let whole = verify::verify(&[path]).expect("whole from there on");
    assert_eq!((whole.first, whole.lines), (2, 1), "the first line was in the other file");
}

#[test]
fn records_have_the_origin_of_their_request_while_it_runs() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    let origin = RequestOrigin { address: Some([192, 0, 2, 7].into()), client_request: Some(Arc::from("trace-1")) };
    let guard = audit.enter("req_1", origin);
    let line = |request: &'static str| {
        let subject = Subject { request: Some(request), ..Subject::default() };
        Record::Tool(ToolRecord { subject, tool: "x", ..ToolRecord::default() })
    };
    audit.record(&line("req_1"));
    audit.record(&line("req_2"));
    drop(guard);
    audit.record(&line("req_1"));
    audit.close().expect("nothing is lost");
    let lines = disk.lines();
    assert_eq!((&lines[0]["address"], &lines[0]["client_request"]), (&"192.0.2.7".into(), &"trace-1".into()));
    assert!(lines[1..].iter().all(|line| line.get("address").is_none()), "{lines:?}");
}

#[test]
fn refusals_of_unknown_clients_are_counted_by_address() {
    let disk = FakeDisk::default();
    let audit = Audit::start(Box::new(disk.clone()), false).expect("starts");
    for number in 0..100_u8 {
        let request = format!("req_{number}");
        let address = Some([192, 0, 2, number % 2].into());
        let _guard = audit.enter(&request, RequestOrigin { address, client_request: None });
        let subject = Subject { request: Some(&request), ..Subject::default() };
        audit.refused(&Record::Refusal(RefusalRecord { subject, ..RefusalRecord::default() }));
    }
    audit.close().expect("nothing is lost");
    for address in ["192.0.2.0", "192.0.2.1"] {
        let lines = disk.lines();
        let own: Vec<_> = lines.iter().filter(|line| line["address"] == address).collect();
        let repeated: u64 = own.iter().filter_map(|line| line["count"].as_u64()).sum();
        let firsts = own.iter().filter(|line| line["action"] != "repeated").count() as u64;
        assert_eq!(repeated + firsts, 50, "{lines:?}");
    }
}

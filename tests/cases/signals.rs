//! What a signal leaves behind: nothing. MCP servers end with the command that started them, whoever ends it and however.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::harness::{Firebox, root, scratch};

/// Longer than ending in order takes on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Where the deaf server writes its ids.
fn ids_file(name: &str) -> PathBuf {
    let file = scratch("signals").join(name);
    drop(std::fs::remove_file(&file));
    file
}

/// The ids of the deaf server and of its child, once it runs.
fn ids(file: &Path) -> Vec<u32> {
    let started = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            return text.split_whitespace().map(|id| id.parse().expect("an id")).collect();
        }
        assert!(started.elapsed() < SOON, "the server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs; one that waits to be reaped does not.
fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn goes(id: u32) -> bool {
    let started = Instant::now();
    while runs(id) {
        if started.elapsed() > SOON {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill exists");
    assert!(sent.success());
}

/// Starts `verb` with the deaf server.
#[cfg(target_os = "linux")]
fn start(verb: &[&str], file: &Path) -> Child {
    let script = root().join("tests/mcp/deaf_server.py");
    let server = format!("deaf=python3 {} {}", script.display(), file.display());
    let args = verb.iter().map(|arg| (*arg).to_owned()).chain(["--mcp".to_owned(), server]);
    Firebox::new(args).env("FIREBOX_DEVICE", "cpu").with_default_sighup().spawn()
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_the_mcp_servers_and_what_they_started() {
    let verbs: [(&[&str], &str); 4] = [
        (&["run", "hello"], "-TERM"),
        (&["run", "-"], "-HUP"),
        (&["chat", "--no-save"], "-TERM"),
        (&["mcp", "tools"], "-HUP"),
    ];
    for (verb, name) in verbs {
        let file = ids_file(&format!("{}{name}", verb[0]));
        let mut child = start(verb, &file);
        if verb.contains(&"-") {
            use std::io::Write as _;
            child.stdin.as_mut().expect("piped").write_all(b"hello").expect("it reads");
        }
        if verb[0] == "run" {
            drop(child.stdin.take());
        }
        let ids = ids(&file);
        signal(&child, name);
        let code = child.wait().expect("waitable").code();
        assert_eq!(code, Some(130), "{verb:?} {name}");
        assert!(ids.iter().all(|id| goes(*id)), "{verb:?} {name} leaves a process: {ids:?}");
    }
}

/// The server itself; what it started learns of it as the server would have it.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_command_takes_its_mcp_server_with_it() {
    let file = ids_file("killed");
    let mut child = start(&["mcp", "tools"], &file);
    let ids = ids(&file);
    child.kill().expect("killable");
    child.wait().expect("waitable");
    let gone = goes(ids[0]);
    drop(Command::new("kill").args(["-KILL", &ids[1].to_string()]).status());
    assert!(gone, "the server runs on");
}

#[cfg(target_os = "linux")]
#[test]
fn who_was_told_to_outlive_its_terminal_does() {
    let file = ids_file("nohup");
    let script = root().join("tests/mcp/deaf_server.py");
    let server = format!("deaf=python3 {} {}", script.display(), file.display());
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' HUP; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_firebox"),
        "mcp",
        "tools",
        "--mcp",
        &server,
    ]);
    let mut child = command.env("FIREBOX_CACHE", scratch("cache")).spawn().expect("sh is there");
    let ids = ids(&file);
    signal(&child, "-HUP");
    std::thread::sleep(Duration::from_millis(500));
    let lives = child.try_wait().expect("waitable").is_none();
    signal(&child, "-TERM");
    child.wait().expect("waitable");
    assert!(lives, "it ended although SIGHUP was ignored");
    assert!(ids.iter().all(|id| goes(*id)), "{ids:?}");
}

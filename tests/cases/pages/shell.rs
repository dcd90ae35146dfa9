use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::blocks::{Expected, Session};
use super::{copy_of_the_plugins, shape};
use crate::harness::scratch;

/// Longer than any session takes on a slow machine, also the first one that builds a plugin.
const SESSION_TIME_MAX: Duration = Duration::from_secs(600);
/// Separates the outputs of the steps.
const SEPARATOR: char = '\u{1}';
/// Ports that pages use. A run uses free ones instead, so that pages can run side by side.
const PORTS: &[&str] = &["8080", "9090"];

/// Runs the steps of a session in a new folder and compares what they print.
///
/// # Errors
/// Which block failed, and how.
pub(super) fn run(page: &str, session: &Session) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let work = match session.in_clone {
        true => copy_of_the_plugins(page),
        false => folder.path().join("work"),
    };
    std::fs::create_dir_all(&work).expect("writable");
    let ports = PORTS.iter().map(|port| ((*port).to_owned(), free_port())).collect::<Vec<_>>();
    let (output, errors) = (folder.path().join("output"), folder.path().join("errors"));
    let code = execute(&script(session, &ports), &work, folder.path(), &ports, [&output, &errors]);
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let mut printed = read(&output);
    for (port, own) in &ports {
        printed = printed.replace(own, port);
    }
    let outputs: Vec<&str> =
        printed.split(SEPARATOR).skip(1).map(|part| part.split_once('\n').map_or("", |part| part.1)).collect();
    let last = session.steps[outputs.len().saturating_sub(1).min(session.steps.len() - 1)].line;
    if code != Some(0) {
        let log = read(&work.join("serve.log"));
        let from = format!("{page}:{last}: the block ended with exit code {code:?}");
        return Err(format!("{from}\n{}\n{}\n{log}", outputs.last().unwrap_or(&""), read(&errors)));
    }
    for (step, found) in session.steps.iter().zip(outputs) {
        if let Some(why) = step.expected.as_ref().and_then(|expected| differs(expected, found)) {
            return Err(format!("{page}:{}: {why}\n{}", step.line, read(&errors)));
        }
    }
    Ok(())
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port().to_string()
}

fn script(session: &Session, ports: &[(String, String)]) -> String {
    let mut script = "trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT\n".to_owned();
    for step in &session.steps {
        writeln!(script, "printf '\\001{}\\n'", step.line).expect("a string");
        script.push_str(&step.script.replace("cargo run -- ", "firebox "));
    }
    for (port, own) in ports {
        script = script.replace(&format!(":{port}"), &format!(":{own}"));
    }
    script
}

/// The exit code of the script; `None` if it took too long or a signal ended it.
fn execute(
    script: &str,
    work: &Path,
    folder: &Path,
    ports: &[(String, String)],
    [output, errors]: [&Path; 2],
) -> Option<i32> {
    let mut command = Command::new("bash");
    command.args(["-e", "-c", script]).current_dir(work).env("PATH", path_with_the_binary());
    command
        .env("FIREBOX_DEVICE", "cpu")
        .env("FIREBOX_CACHE", scratch("cache"))
        .env("FIREBOX_DATA", folder.join("data"));
    for (name, value) in crate::cases::plugin_authors::toolchains() {
        command.env(name, value);
    }
    // The default port is not on the page, so that it cannot be replaced there.
    if !script.contains("listen") {
        command.env("FIREBOX_SERVER__LISTEN", format!("127.0.0.1:{}", ports[0].1));
    }
    for name in ["FIREBOX_CONFIG", "CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
        .stdin(Stdio::null())
        .stdout(File::create(output).expect("writable"))
        .stderr(File::create(errors).expect("writable"));
    // A group of its own, so that what the script leaves behind ends too.
    let mut child = command.process_group(0).spawn().expect("bash runs");
    let started = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("waitable") {
            break status.code();
        }
        if started.elapsed() > SESSION_TIME_MAX {
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let group = format!("-{}", child.id());
    let _ended = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    let _reaped = child.wait();
    code
}

fn path_with_the_binary() -> OsString {
    let binary = Path::new(env!("CARGO_BIN_EXE_firebox")).parent().expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(binary.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(paths).expect("a path")
}

/// How the output of a step differs from the page, if it does.
fn differs(expected: &Expected, found: &str) -> Option<String> {
    match expected {
        Expected::Text(text) if text.trim() == found.trim() => None,
        Expected::Pattern(text) if pattern(text) == pattern(found) => None,
        Expected::Text(text) | Expected::Pattern(text) => {
            Some(format!("the page shows\n{}\nand the block prints\n{}", text.trim(), found.trim()))
        }
        Expected::Json(text) => {
            let Ok(shown) = serde_json::from_str::<Value>(text) else {
                return Some("the page's JSON does not parse".to_owned());
            };
            match serde_json::from_str::<Value>(found.trim()) {
                Ok(found) => shape::difference(&shown, &found, "").map(|why| format!("{why}\n{found}")),
                Err(error) => Some(format!("the block prints no JSON ({error}):\n{found}")),
            }
        }
    }
}

/// `text` with `#` for every word that has a digit, and single spaces.
fn pattern(text: &str) -> String {
    let word = |word: &str| match word.contains(|c: char| c.is_ascii_digit()) {
        true => "#".to_owned(),
        false => word.to_owned(),
    };
    let is_separator = |c: char| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-');
    let mut pattern = String::new();
    for line in text.trim().lines() {
        let words: Vec<String> = line.split(is_separator).filter(|part| !part.is_empty()).map(word).collect();
        pattern.push_str(&words.join(" "));
        pattern.push('\n');
    }
    pattern
}

#[test]
fn numbers_and_ids_do_not_count_in_a_pattern() {
    assert_eq!(pattern("units: ok, 34 ms, id \"appr_01M8\""), pattern("units: ok,  7.5 ms, id \"appr_9Z\"\n"));
    assert_ne!(pattern("units: ok"), pattern("units: gone"));
}

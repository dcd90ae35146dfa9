//! Runs a device's self test in a child process: a driver that crashes ends the child only.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firebox_contract::limits;

use super::selftest::TestReport;

/// The command that tests one device. It is started with its own arguments and `--device NAME`, prints a [`TestReport`]
/// as one line of JSON and exits with 0.
#[derive(Debug, Clone)]
pub struct TestChild {
    /// The program.
    pub program: PathBuf,
    /// The arguments before `--device NAME`.
    pub arguments: Vec<OsString>,
    /// Its time limit. Default: [`limits::DEVICE_TEST_TIMEOUT`].
    pub timeout: Duration,
}

impl TestChild {
    /// This very program under its hidden verb.
    ///
    /// # Errors
    /// The operating system's error if it does not know the path of this program.
    pub fn current_program() -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self { program, arguments: vec!["device-test".into()], timeout: limits::DEVICE_TEST_TIMEOUT })
    }
}

/// The reason why there is no report.
#[derive(Debug)]
pub(super) enum ChildFault {
    /// The test could not run. It is no verdict on the device.
    NotStarted(String),
    /// The device failed: a crash, an error, or no end.
    Ended(String),
}

pub(super) fn run(test: &TestChild, device: &str) -> Result<TestReport, ChildFault> {
    let mut child = Command::new(&test.program)
        .args(&test.arguments)
        .args(["--device", device])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| ChildFault::NotStarted(format!("\"{}\": {error}", test.program.display())))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, test.timeout);
    let seconds = test.timeout.as_secs_f64();
    let status = status.ok_or_else(|| ChildFault::Ended(format!("did not end its self test within {seconds} s")))?;
    let (stdout, stderr) = (text(stdout), text(stderr));
    if !status.success() {
        return Err(ChildFault::Ended(describe(status, &stderr)));
    }
    let report = stdout.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    report.ok_or_else(|| ChildFault::Ended("ended its self test without a report".to_owned()))
}

/// The exit status of the child, or `None` if it was killed.
fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    const POLL: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(POLL);
    }
    // Killing fails only if the process has just ended. It has to be reaped in both cases.
    let _ended_meanwhile = child.kill();
    let _reaped = child.wait();
    None
}

/// Reads a pipe to its end, so that the child never blocks on it, and keeps the beginning.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let limit = limits::DEVICE_TEST_OUTPUT_BYTES_MAX;
            let _what_came_counts = pipe.by_ref().take(limit).read_to_end(&mut kept);
            let _rest_is_dropped = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        kept
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

fn describe(status: ExitStatus, stderr: &str) -> String {
    let ending = match signal(status) {
        Some(signal) => format!("crashed its self test (signal {signal})"),
        None => format!("failed its self test ({status})"),
    };
    match stderr.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("{ending}: {}", line.chars().take(200).collect::<String>()),
        None => ending,
    }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: ExitStatus) -> Option<i32> {
    None
}

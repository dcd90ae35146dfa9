//! Runs the real binary with a time limit.

#[allow(dead_code, reason = "the tests of host/hub use the rest")]
pub(crate) mod hub;
pub(crate) mod server;
pub(crate) mod toolchains;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A run that takes longer, even on a slow machine, is killed and fails its test.
const RUN_TIME_MAX: Duration = Duration::from_secs(240);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

/// A command line under test. All tests share one cache folder, so that a device is tested once.
pub(crate) struct Firebox {
    command: Command,
    input: Option<Vec<u8>>,
}

impl Firebox {
    pub(crate) fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firebox"));
        command.args(args).env("FIREBOX_CACHE", scratch("cache")).env_remove("FIREBOX_DEVICE");
        Self { command, input: None }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Limits the address space to `kib` KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn within(self, kib: u64) -> Self {
        Self { command: within(&self.command, kib), input: self.input }
    }

    /// Restores the default handling of SIGHUP, which `nohup` changes for the tests.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_default_sighup(self) -> Self {
        let mut first = Command::new("env");
        first.arg("--default-signal=HUP");
        Self { command: wrapped_by(first, &self.command), input: self.input }
    }

    /// Sets the content of standard input, which is empty otherwise.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    pub(crate) fn spawn(&mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().expect("the binary starts")
    }

    pub(crate) fn run(mut self) -> Run {
        let input = self.input.take().unwrap_or_default();
        run(&mut self.command, input)
    }
}

/// The same command with an address space of `kib` KiB.
#[cfg(target_os = "linux")]
fn within(command: &Command, kib: u64) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &kib.to_string()]);
    wrapped_by(limited, command)
}

/// `first` with `command` as its arguments: a wrapper that replaces itself with `command`.
#[cfg(target_os = "linux")]
fn wrapped_by(mut first: Command, command: &Command) -> Command {
    first.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => first.env(name, value),
            None => first.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        first.current_dir(folder);
    }
    first
}

/// Runs a command with `input` on its standard input. Kills it after `RUN_TIME_MAX`.
pub(crate) fn run(command: &mut Command, input: Vec<u8>) -> Run {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    // A run may end without reading its input, so a failed write is no error.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let code = wait(&mut child, started);
    writer.join().expect("the writer ends");
    Run {
        code,
        stdout: stdout.join().expect("the reader ends"),
        stderr: stderr.join().expect("the reader ends"),
        elapsed: started.elapsed(),
    }
}

fn wait(child: &mut Child, started: Instant) -> Option<i32> {
    loop {
        if let Some(status) = child.try_wait().expect("waitable") {
            return status.code();
        }
        if started.elapsed() > RUN_TIME_MAX {
            child.kill().expect("killable");
            child.wait().expect("waitable");
            panic!("the run did not end within {RUN_TIME_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("readable");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs `firebox` with these arguments on the CPU.
pub(crate) fn firebox(args: &[&str]) -> Run {
    Firebox::new(args).env("FIREBOX_DEVICE", "cpu").run()
}

impl Run {
    /// Asserts the exit code, and that nothing panicked.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// The folder `name` for temporary files of the tests, below the build folder.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).expect("writable");
    path
}

/// A new copy of the folder of the built-in model, for a test that changes it. Tests run in parallel, so each test has a name of
/// its own.
pub(crate) fn model_copy(name: &str) -> PathBuf {
    static TAKEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let fresh = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string());
    assert!(fresh, "another test has the model copy \"{name}\"; give this one a name of its own");
    let dir = scratch("models").join(name);
    // An earlier run may have left the folder.
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("writable");
    for entry in std::fs::read_dir(root().join("host/ember/model")).expect("readable") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), dir.join(entry.file_name())).expect("copied");
    }
    dir
}

/// A copy of the built-in model whose answers never end: its end token is one that it never generates.
pub(crate) fn endless_model(name: &str) -> PathBuf {
    let dir = model_copy(name);
    let rows = [
        ("config.json", "\"eos_token_id\": 258", "\"eos_token_id\": 256"),
        ("generation_config.json", "\"eos_token_id\": 258", "\"eos_token_id\": 256"),
        ("tokenizer_config.json", "\"eos_token\": \"<|im_end|>\"", "\"eos_token\": \"<|endoftext|>\""),
    ];
    for (file, from, to) in rows {
        let text = std::fs::read_to_string(dir.join(file)).expect("readable");
        assert!(text.contains(from), "{file}");
        std::fs::write(dir.join(file), text.replace(from, to)).expect("writable");
    }
    dir
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the tests use the software Vulkan device. `tests/run` sets the variable.
pub(crate) fn has_vulkan() -> bool {
    std::env::var_os("FIREBOX_TEST_VULKAN").is_some_and(|value| value == "1")
}

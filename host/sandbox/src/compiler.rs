//! Compiles a component in a process of its own, under limits of processor time, memory and time: a compiler has no meter, and
//! what makes it slow or large is in the hands of whoever built the component.

mod child;
mod limits;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firebox_contract::limits as max;

pub use self::child::compile_component;
use self::limits::CompileLimits;
use crate::error::SandboxError;

/// The command that compiles one component. It is started without an environment and has to call [`compile_component`] on its
/// standard input and output, and do nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Threads a compiler may start: its memory is limited, and each has a stack.
const THREADS: &str = "4";

/// Set when nobody waits for a component any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets it when it is dropped: whoever waits goes away by dropping a future.
pub(crate) struct Waiting(pub(crate) Abandoned);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// What is to be compiled, for which engine.
pub(crate) struct Job<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) bytes: &'a [u8],
    /// Bytes of all function bodies.
    pub(crate) code_bytes: u64,
    /// Names the engine's version and settings.
    pub(crate) compatibility: u64,
    pub(crate) abandoned: &'a Abandoned,
}

/// The compiled component in its serialized form.
///
/// # Errors
/// `SandboxError::Compiling` for a limit that was reached, `SandboxError::Invalid` for a component that does not compile,
/// `SandboxError::Host` if there is no process.
pub(crate) fn compile(command: &CompilerCommand, job: &Job<'_>) -> Result<Vec<u8>, SandboxError> {
    let allowed = CompileLimits::of(job.code_bytes, job.bytes.len() as u64);
    let mut child = start(command)?;
    let writer = feed(&mut child, allowed.header(job.compatibility), job.bytes.to_vec());
    let output = collect(child.stdout.take(), allowed.output_bytes);
    let words = collect(child.stderr.take(), max::PLUGIN_COMPILE_OUTPUT_BYTES_MAX);
    let ended = wait(&mut child, allowed.wall, job.abandoned);
    let (output, words) = (joined(output), joined(words));
    // It ends with the process that reads.
    let _written = writer.join();
    if output.len() as u64 >= allowed.output_bytes {
        return Err(over(job.plugin, allowed.output()));
    }
    match ended {
        Ended::Exited(status) if status.success() => answer(job.plugin, output, &allowed),
        Ended::Exited(status) => Err(broke(job.plugin, status, &String::from_utf8_lossy(&words), &allowed)),
        Ended::Late => Err(over(job.plugin, format!("{} s", allowed.wall.as_secs()))),
        Ended::Abandoned => Err(SandboxError::Host("compiling was abandoned".to_owned())),
        Ended::Lost(error) => Err(SandboxError::Host(format!("the compiler's process was lost: {error}"))),
    }
}

fn start(command: &CompilerCommand) -> Result<Child, SandboxError> {
    let program = command.program.display();
    Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .env("RAYON_NUM_THREADS", THREADS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| SandboxError::Host(format!("the compiler \"{program}\" cannot be started: {error}")))
}

fn feed(child: &mut Child, header: Vec<u8>, bytes: Vec<u8>) -> JoinHandle<()> {
    let pipe = child.stdin.take();
    thread::spawn(move || {
        if let Some(mut pipe) = pipe {
            // A compiler that does not read to the end says why in another way.
            let _unread = pipe.write_all(&header).and_then(|()| pipe.write_all(&bytes));
        }
    })
}

/// Reads a pipe up to `limit` bytes, and no further: who writes more meets a closed pipe.
fn collect(pipe: Option<impl Read + Send + 'static>, limit: u64) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _what_came_counts = pipe.take(limit).read_to_end(&mut bytes);
        }
        bytes
    })
}

fn joined(reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

/// How the process ended.
enum Ended {
    Exited(ExitStatus),
    Late,
    Abandoned,
    Lost(std::io::Error),
}

fn wait(child: &mut Child, wall: Duration, abandoned: &Abandoned) -> Ended {
    let deadline = Instant::now() + wall;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ended::Exited(status),
            Ok(None) if abandoned.is_set() => return killed(child, Ended::Abandoned),
            Ok(None) if Instant::now() >= deadline => return killed(child, Ended::Late),
            Ok(None) => thread::sleep(max::PLUGIN_COMPILE_POLL_PERIOD),
            Err(error) => return killed(child, Ended::Lost(error)),
        }
    }
}

fn killed(child: &mut Child, ended: Ended) -> Ended {
    // Killing fails only for a process that has just ended; either way it has to be reaped.
    let _ended_meanwhile = child.kill();
    let _reaped = child.wait();
    ended
}

/// What a compiler that ended well says: the component, or what is wrong with it.
fn answer(plugin: &str, mut output: Vec<u8>, allowed: &CompileLimits) -> Result<Vec<u8>, SandboxError> {
    let broken = || SandboxError::Host("the compiler's answer cannot be read".to_owned());
    let header: [u8; child::ANSWER_HEADER_BYTES] =
        output.get(..child::ANSWER_HEADER_BYTES).and_then(|header| header.try_into().ok()).ok_or_else(broken)?;
    let (is_component, length) = child::read_header(header);
    if length.saturating_add(header.len() as u64) > allowed.output_bytes {
        return Err(over(plugin, allowed.output()));
    }
    output.drain(..header.len());
    if output.len() as u64 != length {
        return Err(broken());
    }
    if is_component {
        return Ok(output);
    }
    let reason = String::from_utf8_lossy(&output).into_owned();
    if reason.contains("Cannot allocate memory") {
        return Err(over(plugin, allowed.memory()));
    }
    Err(SandboxError::Invalid { plugin: plugin.to_owned(), reason })
}

/// What it means that a compiler ended badly.
fn broke(plugin: &str, status: ExitStatus, words: &str, allowed: &CompileLimits) -> SandboxError {
    const CPU_TIME_IS_UP: i32 = 24;
    const KILLED: i32 = 9;
    match signal(status) {
        Some(CPU_TIME_IS_UP) => return over(plugin, allowed.cpu()),
        // The system does so when its own memory is used up, or the time beyond the limit.
        Some(KILLED) => return over(plugin, format!("{} or {}", allowed.cpu(), allowed.memory())),
        _ => {}
    }
    if words.contains("memory allocation") || words.contains("Cannot allocate memory") {
        return over(plugin, allowed.memory());
    }
    let line = words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    let reason = format!("the compiler broke on it ({status}): {}", crate::log::cut(line, 200));
    SandboxError::Invalid { plugin: plugin.to_owned(), reason }
}

fn over(plugin: &str, limit: String) -> SandboxError {
    SandboxError::Compiling { plugin: plugin.to_owned(), limit }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: ExitStatus) -> Option<i32> {
    None
}

#[cfg(test)]
mod tests;

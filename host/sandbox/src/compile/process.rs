//! Compiles a component in a child process with limits on CPU time, memory and wall-clock time. A compiler has no fuel, and
//! the author of a component decides how much work it is to compile.

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

/// The command that compiles one component. It is started without an environment. It must call [`compile_component`] on its
/// standard input and output, and must do nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Maximum threads of the compiler. Each thread has a stack, which counts towards the memory limit.
const THREADS: &str = "4";

/// Set when the caller no longer waits for the component.
#[derive(Debug, Clone, Default)]
pub(crate) struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the flag when it is dropped, which happens when the caller drops the future that loads the component.
pub(crate) struct CancelOnDrop(pub(crate) CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A component to compile, and the engine it is compiled for.
pub(super) struct CompileJob<'a> {
    pub(super) plugin: &'a str,
    pub(super) bytes: &'a [u8],
    /// Bytes of all function bodies.
    pub(super) code_bytes: u64,
    /// Identifies the engine's version and settings.
    pub(super) compatibility: u64,
    pub(super) cancelled: &'a CancelFlag,
}

/// Compiles a component in a child process, and returns it in its serialized form.
///
/// # Errors
/// `SandboxError::Compiling` if a limit was reached, `SandboxError::Invalid` if the component does not compile,
/// `SandboxError::Host` if the process cannot be started or is lost, or the caller no longer waits.
pub(super) fn compile(command: &CompilerCommand, job: &CompileJob<'_>) -> Result<Vec<u8>, SandboxError> {
    let allowed = CompileLimits::of(job.code_bytes, job.bytes.len() as u64);
    let mut child = start(command)?;
    let writer = feed(&mut child, allowed.header(job.compatibility), job.bytes.to_vec());
    let output = collect(child.stdout.take(), allowed.output_bytes);
    let messages = collect(child.stderr.take(), max::PLUGIN_COMPILE_OUTPUT_BYTES_MAX);
    let ended = wait(&mut child, allowed.wall, job.cancelled);
    let (output, messages) = (joined(output), joined(messages));
    // The writer ends when the child process ends.
    let _written = writer.join();
    if output.len() as u64 >= allowed.output_bytes {
        return Err(limit_reached(job.plugin, allowed.output()));
    }
    match ended {
        ChildEnd::Exited(status) if status.success() => answer(job.plugin, output, &allowed),
        ChildEnd::Exited(status) => Err(failure(job.plugin, status, &String::from_utf8_lossy(&messages), &allowed)),
        ChildEnd::TimedOut => Err(limit_reached(job.plugin, format!("{} s", allowed.wall.as_secs()))),
        ChildEnd::Cancelled => Err(SandboxError::Host("compiling was cancelled".to_owned())),
        ChildEnd::Lost(error) => Err(SandboxError::Host(format!("the compiler's process was lost: {error}"))),
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
            // If the compiler stops reading, its exit status or its answer gives the reason.
            let _unread = pipe.write_all(&header).and_then(|()| pipe.write_all(&bytes));
        }
    })
}

/// Reads a pipe up to `limit` bytes. Then the pipe is closed, so writing more fails.
fn collect(pipe: Option<impl Read + Send + 'static>, limit: u64) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _partial = pipe.take(limit).read_to_end(&mut bytes);
        }
        bytes
    })
}

fn joined(reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().unwrap_or_default()
}

/// How the child process ended.
enum ChildEnd {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
    Lost(std::io::Error),
}

fn wait(child: &mut Child, wall: Duration, cancelled: &CancelFlag) -> ChildEnd {
    let deadline = Instant::now() + wall;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return ChildEnd::Exited(status),
            Ok(None) if cancelled.is_set() => return killed(child, ChildEnd::Cancelled),
            Ok(None) if Instant::now() >= deadline => return killed(child, ChildEnd::TimedOut),
            Ok(None) => thread::sleep(max::PLUGIN_COMPILE_POLL_PERIOD),
            Err(error) => return killed(child, ChildEnd::Lost(error)),
        }
    }
}

fn killed(child: &mut Child, ended: ChildEnd) -> ChildEnd {
    // Killing fails only if the process has just ended. It must be reaped in both cases.
    let _already_ended = child.kill();
    let _reaped = child.wait();
    ended
}

/// The answer of a compiler that exited with success: the component, or the reason why it does not compile.
fn answer(plugin: &str, mut output: Vec<u8>, allowed: &CompileLimits) -> Result<Vec<u8>, SandboxError> {
    let broken = || SandboxError::Host("the compiler's answer is malformed".to_owned());
    let header: [u8; child::ANSWER_HEADER_BYTES] =
        output.get(..child::ANSWER_HEADER_BYTES).and_then(|header| header.try_into().ok()).ok_or_else(broken)?;
    let (is_component, length) = child::read_header(header);
    if length.saturating_add(header.len() as u64) > allowed.output_bytes {
        return Err(limit_reached(plugin, allowed.output()));
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
        return Err(limit_reached(plugin, allowed.memory()));
    }
    Err(SandboxError::Invalid { plugin: plugin.to_owned(), reason })
}

/// The error for a compiler that did not exit with success, and printed `messages`.
fn failure(plugin: &str, status: ExitStatus, messages: &str, allowed: &CompileLimits) -> SandboxError {
    const SIGXCPU: i32 = 24;
    const SIGKILL: i32 = 9;
    match signal(status) {
        Some(SIGXCPU) => return limit_reached(plugin, allowed.cpu()),
        // The system kills a process if the machine is out of memory, or if the hard limit of CPU time is reached.
        Some(SIGKILL) => return limit_reached(plugin, format!("{} or {}", allowed.cpu(), allowed.memory())),
        _ => {}
    }
    if messages.contains("memory allocation") || messages.contains("Cannot allocate memory") {
        return limit_reached(plugin, allowed.memory());
    }
    let line = messages.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it printed nothing");
    let reason = format!("the compiler failed ({status}): {}", crate::instance::log::cut(line, 200));
    SandboxError::Invalid { plugin: plugin.to_owned(), reason }
}

fn limit_reached(plugin: &str, limit: String) -> SandboxError {
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

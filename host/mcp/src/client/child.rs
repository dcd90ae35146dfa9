//! A server that is a child process: in a process group of its own, its standard error drained, its end certain.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use firebox_contract::limits::{
    MCP_CLIENT_CLOSE_GRACE, MCP_CLIENT_LINE_BYTES_MAX, MCP_CLIENT_STDERR_BYTES_BURST,
    MCP_CLIENT_STDERR_BYTES_PER_SECOND_MAX, MCP_CLIENT_STDERR_LINE_BYTES_MAX, MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX,
    MCP_CLIENT_STDERR_TAIL_LINES,
};
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, ReadBuf};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::inbound::InboundRate;
use super::orphan;
use super::spec::{ServerSpec, StdioServer};
use super::transport::Fate;
use crate::McpError;

/// The signal that asks a process to end; the same number on every Unix.
#[cfg(unix)]
const SIGTERM: i32 = 15;

/// The last lines a server wrote to its standard error, and the task that reads them.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    tail: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stderr {
    /// What it said last, once it has said all: a server that just died may still have lines in its pipe.
    pub(super) async fn last_words(&mut self) -> Option<String> {
        if let Some(reader) = &mut self.reader {
            // Whether it ended or not, what is there by then is what is told.
            drop(timeout(Duration::from_millis(300), reader).await);
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        (!tail.is_empty()).then(|| tail.iter().map(String::as_str).collect::<Vec<_>>().join(" | "))
    }
}

/// The transport to a child process. Dropping it kills the whole process group.
pub(super) struct ChildTransport {
    io: AsyncRwTransport<RoleClient, LineLimit<ChildStdout>, ChildStdin>,
    group: Group,
}

/// Starts the server. `alive` counts the children there are.
pub(super) fn spawn(
    spec: &Arc<ServerSpec>,
    server: &StdioServer,
    fate: &Arc<Fate>,
    alive: &Arc<AtomicUsize>,
) -> Result<(ChildTransport, Stderr), McpError> {
    let failed = |reason: String| McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) };
    let mut command = CommandWrap::with_new(&server.command, |command| {
        command.args(&server.args).env_clear().envs(server.environment());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        if let Some(cwd) = &server.cwd {
            command.current_dir(cwd);
        }
        orphan::end_with_this_process(command);
    });
    #[cfg(unix)]
    command.wrap(process_wrap::tokio::ProcessGroup::leader());
    let mut child = command.spawn().map_err(|error| failed(cannot_start(server, &error)))?;
    let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let group = Group::new(child, alive);
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(failed("its pipes are missing".to_owned()));
    };
    let tail = Arc::default();
    let reader = Some(tokio::spawn(drain(stderr, Arc::clone(spec), Arc::clone(&tail))));
    let stdout = LineLimit { inner: stdout, line: 0, inbound: InboundRate::default(), fate: Arc::clone(fate) };
    Ok((ChildTransport { io: AsyncRwTransport::new(stdout, stdin), group }, Stderr { tail, reader }))
}

fn cannot_start(server: &StdioServer, error: &io::Error) -> String {
    let command = &server.command;
    let cwd = server.cwd.as_deref().filter(|cwd| !cwd.is_dir());
    match (error.kind(), cwd) {
        (_, Some(cwd)) => format!("its folder \"{}\" does not exist", cwd.display()),
        (io::ErrorKind::NotFound, None) => format!("there is no program \"{command}\"; install it or correct its path"),
        _ => format!("cannot start \"{command}\": {error}"),
    }
}

impl Transport<RoleClient> for ChildTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.io.send(item)
    }

    fn receive(&mut self) -> impl Future<Output = Option<RxJsonRpcMessage<RoleClient>>> + Send {
        self.io.receive()
    }

    /// End of input, then a request to end, then the end: each with its time.
    async fn close(&mut self) -> Result<(), Self::Error> {
        // A server that does not read blocks a writer that holds the lock this needs; then the kill frees both.
        drop(timeout(MCP_CLIENT_CLOSE_GRACE, self.io.close()).await);
        self.group.end().await;
        Ok(())
    }
}

/// A child and all that it started, as far as they stayed in its group.
struct Group {
    child: Box<dyn ChildWrapper>,
    alive: Arc<AtomicUsize>,
    ended: bool,
}

impl Group {
    fn new(child: Box<dyn ChildWrapper>, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self { child, alive: Arc::clone(alive), ended: false }
    }

    async fn end(&mut self) {
        if timeout(MCP_CLIENT_CLOSE_GRACE, self.child.wait()).await.is_err() {
            #[cfg(unix)]
            if let Err(error) = self.child.signal(SIGTERM) {
                tracing::debug!(%error, "an mcp server could not be asked to end");
            }
            // Whether it obeyed shows below.
            drop(timeout(MCP_CLIENT_CLOSE_GRACE, self.child.wait()).await);
        }
        // Also where the leader has ended: what it started may not have. An empty group is an error, and what is wanted.
        drop(self.child.start_kill());
        if timeout(MCP_CLIENT_CLOSE_GRACE, self.child.wait()).await.is_err() {
            tracing::warn!("an mcp server does not end although it was killed");
        }
        self.gone();
    }

    fn gone(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            // The runtime reaps it; a group that is gone already cannot be killed, and need not be.
            drop(self.child.start_kill());
            self.gone();
        }
    }
}

/// Standard output that ends with an error where a line has no end, since what is never complete must not be kept, and where
/// there is too much of it.
struct LineLimit<R> {
    inner: R,
    line: usize,
    inbound: InboundRate,
    fate: Arc<Fate>,
}

impl<R> LineLimit<R> {
    /// Counts fresh bytes; true when a line is longer than allowed.
    fn exceeds(&mut self, fresh: &[u8]) -> bool {
        for part in fresh.split_inclusive(|byte| *byte == b'\n') {
            self.line += part.len();
            if self.line > MCP_CLIENT_LINE_BYTES_MAX {
                return true;
            }
            if part.ends_with(b"\n") {
                self.line = 0;
            }
        }
        false
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for LineLimit<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if self.exceeds(&buffer.filled()[before..]) {
            self.fate.explain(format!("it sent a message of more than {MCP_CLIENT_LINE_BYTES_MAX} bytes"));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "line too long")));
        }
        let fresh = &buffer.filled()[before..];
        let lines = fresh.iter().filter(|byte| **byte == b'\n').count();
        let (count, settled) = (fresh.len(), self.fate.is_settled());
        if let Err(why) = self.inbound.note(Instant::now(), lines, count, settled) {
            self.fate.flood(why);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many lines")));
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads standard error to its end, so that the server never blocks on it; says so much of it and no more.
async fn drain(stderr: ChildStderr, spec: Arc<ServerSpec>, tail: Arc<Mutex<VecDeque<String>>>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut rate = Rate::default();
    let (mut budget, mut filled) = (MCP_CLIENT_STDERR_BYTES_BURST, Instant::now());
    loop {
        // A server that never stops would cost a core; this way it waits for its own words to be read.
        while budget == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let earned = filled.elapsed().as_secs_f64() * MCP_CLIENT_STDERR_BYTES_PER_SECOND_MAX as f64;
            (budget, filled) = ((earned as usize).min(MCP_CLIENT_STDERR_BYTES_PER_SECOND_MAX), Instant::now());
        }
        let (taken, complete) = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let part = &bytes[..end.unwrap_or(bytes.len())];
                let room = MCP_CLIENT_STDERR_LINE_BYTES_MAX - line.len();
                line.extend_from_slice(&part[..part.len().min(room)]);
                (end.map_or(bytes.len(), |end| end + 1), end.is_some())
            }
        };
        reader.consume(taken);
        budget = budget.saturating_sub(taken);
        if complete {
            say(&line, &spec, &tail, &mut rate);
            line.clear();
        }
    }
    say(&line, &spec, &tail, &mut rate);
}

fn say(line: &[u8], spec: &ServerSpec, tail: &Mutex<VecDeque<String>>, rate: &mut Rate) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    let text = spec.redact(text);
    if rate.allows() {
        tracing::info!(server = %spec.name, dropped = rate.take_dropped(), "{text}");
    }
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.len() == MCP_CLIENT_STDERR_TAIL_LINES {
        tail.pop_front();
    }
    tail.push_back(text);
}

/// So many lines a second; the rest is counted.
#[derive(Default)]
struct Rate {
    second: Option<Instant>,
    lines: usize,
    dropped: u64,
}

impl Rate {
    fn allows(&mut self) -> bool {
        let now = Instant::now();
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.lines) = (Some(now), 0);
        }
        self.lines += 1;
        let allowed = self.lines <= MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX;
        self.dropped += u64::from(!allowed);
        allowed
    }

    fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_across_reads() {
        let mut limit = LineLimit { inner: (), line: 0, inbound: InboundRate::default(), fate: Arc::default() };
        let half = vec![b'x'; MCP_CLIENT_LINE_BYTES_MAX / 2];
        assert!(!limit.exceeds(&half));
        assert!(!limit.exceeds(b"\n"));
        assert!(!limit.exceeds(&half));
        assert!(!limit.exceeds(&half), "exactly the limit");
        assert!(limit.exceeds(b"\n"), "one byte more");
    }

    #[test]
    fn a_flood_of_lines_is_counted_and_not_said() {
        let mut rate = Rate::default();
        let said = (0..MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX * 3).filter(|_| rate.allows()).count();
        assert!(
            (MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX..MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX * 3).contains(&said),
            "{said}"
        );
        assert!(rate.take_dropped() > 0);
    }
}

//! A server that is a child process: in a process group of its own, its standard error drained, its end certain.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use firebox_contract::limits::{
    MCP_CLIENT_CLOSE_GRACE, MCP_CLIENT_EXIT_WAIT, MCP_CLIENT_LINE_BYTES_MAX, MCP_CLIENT_ORPHAN_SILENCE,
    MCP_CLIENT_STDERR_BYTES_BURST, MCP_CLIENT_STDERR_BYTES_PER_SECOND_MAX, MCP_CLIENT_STDERR_LINE_BYTES_MAX,
    MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX, MCP_CLIENT_STDERR_TAIL_LINES,
};
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, ReadBuf};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::inbound::InboundRate;
use super::orphan;
use super::spec::{ServerSpec, StdioServer};
use super::transport::Fate;
use super::wire::{Exchange, Reader, SAID, fault};
use crate::McpError;

/// Bytes read from a server at a time.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

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
    output: BufReader<LineLimit<ChildStdout>>,
    /// The line that is being read.
    line: Vec<u8>,
    /// What was read and not yet taken.
    messages: VecDeque<RxJsonRpcMessage<RoleClient>>,
    input: Arc<AsyncMutex<Option<ChildStdin>>>,
    /// Since when the server's own process is over although something still holds its output.
    orphaned: Option<Instant>,
    /// Since when its output is closed.
    closed: Option<Instant>,
    over: bool,
    fate: Arc<Fate>,
    exchange: Arc<Exchange>,
    group: Group,
}

/// Starts the server. `alive` counts the children there are.
pub(super) fn spawn(
    spec: &Arc<ServerSpec>,
    server: &StdioServer,
    fate: &Arc<Fate>,
    exchange: &Arc<Exchange>,
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
    let transport = ChildTransport {
        output: BufReader::with_capacity(OUTPUT_BUFFER_BYTES, stdout),
        line: Vec::new(),
        messages: VecDeque::new(),
        input: Arc::new(AsyncMutex::new(Some(stdin))),
        orphaned: None,
        closed: None,
        over: false,
        fate: Arc::clone(fate),
        exchange: Arc::clone(exchange),
        group,
    };
    Ok((transport, Stderr { tail, reader }))
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

impl ChildTransport {
    /// Reads the rest of a line; true when there is one, false at the end. May be dropped and begun again.
    async fn read_line(output: &mut BufReader<LineLimit<ChildStdout>>, line: &mut Vec<u8>) -> bool {
        loop {
            let Ok(bytes) = output.fill_buf().await else {
                // An error of a pipe is its end; why, `LineLimit` has said. What it cut off is no line.
                line.clear();
                return false;
            };
            if bytes.is_empty() {
                return false;
            }
            // The first search is the quicker one; most reads of a long line have no end.
            let end = bytes.contains(&b'\n').then(|| bytes.iter().position(|byte| *byte == b'\n')).flatten();
            let taken = end.map_or(bytes.len(), |end| end + 1);
            line.extend_from_slice(&bytes[..taken]);
            output.consume(taken);
            if end.is_some() {
                return true;
            }
        }
    }

    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.messages.extend(Reader { exchange: &self.exchange, own: None }.typed(&line));
    }

    /// The output has ended: says how the server did, once that is known.
    fn conclude(&mut self, since: Instant) {
        let status = self.group.exit();
        if status.is_some() || since.elapsed() >= MCP_CLIENT_EXIT_WAIT {
            let how = status.map_or_else(|| "is still running".to_owned(), |status| how_it_ended(&status));
            self.fate.explain(format!("it closed the connection and {how}"));
            self.over = true;
        }
    }

    /// Whether the server's own process is over and what holds its output has been silent since.
    fn is_orphaned(&mut self) -> bool {
        let Some(status) = self.group.exit() else { return false };
        let since = *self.orphaned.get_or_insert_with(Instant::now);
        if since.elapsed() < MCP_CLIENT_ORPHAN_SILENCE {
            return false;
        }
        let how = how_it_ended(&status);
        self.fate.explain(format!("it {how}; a process that it started still holds its output and says nothing"));
        true
    }

    fn end_probe(&mut self) {
        if let Some(id) = self.exchange.end_probe() {
            let words = "it did not answer \"server/discover\"";
            self.messages.extend(serde_json::from_value(fault(&id, SAID, words)).ok());
        }
    }
}

/// `ended with exit code 3`, `was ended by signal 9`.
fn how_it_ended(status: &ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(status) {
        return format!("was ended by signal {signal}");
    }
    status.code().map_or_else(|| "ended".to_owned(), |code| format!("ended with exit code {code}"))
}

impl Transport<RoleClient> for ChildTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let input = Arc::clone(&self.input);
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let Some(input) = input.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
            input.write_all(&line).await?;
            input.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Some(message);
            }
            if self.over {
                return None;
            }
            if let Some(since) = self.closed {
                self.conclude(since);
                if !self.over {
                    tokio::time::sleep(MCP_CLIENT_EXIT_WAIT / 20).await;
                }
                continue;
            }
            let probe = self.exchange.probe_ends();
            tokio::select! {
                biased;
                complete = Self::read_line(&mut self.output, &mut self.line) => {
                    self.orphaned = None;
                    // A last line without its end counts too.
                    self.take_line();
                    self.closed = (!complete).then(Instant::now);
                }
                () = until(probe) => self.end_probe(),
                () = tokio::time::sleep(MCP_CLIENT_EXIT_WAIT) => self.over = self.is_orphaned(),
            }
        }
    }

    /// End of input, then a request to end, then the end: each with its time.
    async fn close(&mut self) -> Result<(), Self::Error> {
        // A server that does not read blocks a writer that holds the lock this needs; then the kill frees both.
        drop(timeout(MCP_CLIENT_CLOSE_GRACE, async { drop(self.input.lock().await.take()) }).await);
        self.group.end().await;
        Ok(())
    }
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// A child and all that it started, as far as they stayed in its group.
struct Group {
    child: Box<dyn ChildWrapper>,
    alive: Arc<AtomicUsize>,
    status: Option<ExitStatus>,
    ended: bool,
}

impl Group {
    fn new(child: Box<dyn ChildWrapper>, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self { child, alive: Arc::clone(alive), status: None, ended: false }
    }

    /// How the server's own process ended, where it has.
    fn exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // A child that cannot be asked counts as running.
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
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
        if !fresh.contains(&b'\n') {
            self.line += fresh.len();
            return self.line > MCP_CLIENT_LINE_BYTES_MAX;
        }
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
        let lines = if fresh.contains(&b'\n') { fresh.iter().filter(|byte| **byte == b'\n').count() } else { 0 };
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

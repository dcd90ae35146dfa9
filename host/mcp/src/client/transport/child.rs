//! The transport to a server that is a child process. The child has a process group of its own, its standard error is read, and
//! it is always ended.

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

use crate::McpError;
use crate::client::spec::{ServerSpec, StdioServer};
use crate::client::transport::CloseReason;
use crate::client::transport::orphan;
use crate::client::transport::rate::InboundRate;
use crate::client::wire::{Exchange, MessageReader, UNREADABLE, error_answer};

/// Bytes that are read from a server at once.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

/// The signal that asks a process to end. It has the same number on every Unix.
#[cfg(unix)]
const SIGTERM: i32 = 15;

/// The last lines a server wrote to its standard error, and the task that reads them.
#[derive(Debug, Default)]
pub(in crate::client) struct StderrTail {
    tail: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl StderrTail {
    /// The last lines. Waits a moment for the reader, because a server that just ended may still have lines in its pipe.
    pub(in crate::client) async fn last_lines(&mut self) -> Option<String> {
        if let Some(reader) = &mut self.reader {
            // After this time the lines that were read so far are returned.
            drop(timeout(Duration::from_millis(300), reader).await);
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        (!tail.is_empty()).then(|| tail.iter().map(String::as_str).collect::<Vec<_>>().join(" | "))
    }
}

/// The transport to a child process. Dropping it kills the whole process group.
pub(in crate::client) struct ChildTransport {
    output: BufReader<LineLimit<ChildStdout>>,
    /// The part of the current line that was read.
    line: Vec<u8>,
    /// Messages that were read and not returned yet.
    messages: VecDeque<RxJsonRpcMessage<RoleClient>>,
    input: Arc<AsyncMutex<Option<ChildStdin>>>,
    /// The time since which the server's own process has ended while another process still holds its output.
    orphaned: Option<Instant>,
    /// The time since which its output is closed.
    closed: Option<Instant>,
    over: bool,
    close_reason: Arc<CloseReason>,
    exchange: Arc<Exchange>,
    group: ProcessGroup,
}

/// Starts the server. `alive` counts the child processes.
///
/// # Errors
/// `McpError::Connect` if the program cannot be started.
pub(in crate::client) fn spawn(
    spec: &Arc<ServerSpec>,
    server: &StdioServer,
    close_reason: &Arc<CloseReason>,
    exchange: &Arc<Exchange>,
    alive: &Arc<AtomicUsize>,
) -> Result<(ChildTransport, StderrTail), McpError> {
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
    let group = ProcessGroup::new(child, alive);
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(failed("its pipes are missing".to_owned()));
    };
    let tail = Arc::default();
    let reader = Some(tokio::spawn(drain(stderr, Arc::clone(spec), Arc::clone(&tail))));
    let stdout =
        LineLimit { inner: stdout, line: 0, inbound: InboundRate::default(), close_reason: Arc::clone(close_reason) };
    let transport = ChildTransport {
        output: BufReader::with_capacity(OUTPUT_BUFFER_BYTES, stdout),
        line: Vec::new(),
        messages: VecDeque::new(),
        input: Arc::new(AsyncMutex::new(Some(stdin))),
        orphaned: None,
        closed: None,
        over: false,
        close_reason: Arc::clone(close_reason),
        exchange: Arc::clone(exchange),
        group,
    };
    Ok((transport, StderrTail { tail, reader }))
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
    /// Reads the rest of a line. Returns false at the end of the output. The future may be dropped and called again.
    async fn read_line(output: &mut BufReader<LineLimit<ChildStdout>>, line: &mut Vec<u8>) -> bool {
        loop {
            let Ok(bytes) = output.fill_buf().await else {
                // An error of the pipe is its end. `LineLimit` has recorded the reason. An incomplete line is dropped.
                line.clear();
                return false;
            };
            if bytes.is_empty() {
                return false;
            }
            // `contains` is faster than `position`, and most reads of a long line have no end of line.
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
        self.messages.extend(MessageReader { exchange: &self.exchange, own: None }.typed(&line));
    }

    /// Records how the server ended, after its output has ended.
    fn conclude(&mut self, since: Instant) {
        let status = self.group.exit();
        if status.is_some() || since.elapsed() >= MCP_CLIENT_EXIT_WAIT {
            let how = status.map_or_else(|| "is still running".to_owned(), |status| how_it_ended(&status));
            self.close_reason.set_reason(format!("it closed the connection and {how}"));
            self.over = true;
        }
    }

    /// Whether the server's own process has ended, and the process that still holds its output has been silent since.
    fn is_orphaned(&mut self) -> bool {
        let Some(status) = self.group.exit() else { return false };
        let since = *self.orphaned.get_or_insert_with(Instant::now);
        if since.elapsed() < MCP_CLIENT_ORPHAN_SILENCE {
            return false;
        }
        let how = how_it_ended(&status);
        self.close_reason
            .set_reason(format!("it {how}; a process that it started still holds its output and sends nothing"));
        true
    }

    fn end_probe(&mut self) {
        if let Some(id) = self.exchange.end_probe() {
            let message = "it did not answer \"server/discover\"";
            self.messages.extend(serde_json::from_value(error_answer(&id, UNREADABLE, message)).ok());
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
                    // A last line without an end of line is a message, too.
                    self.take_line();
                    self.closed = (!complete).then(Instant::now);
                }
                () = until(probe) => self.end_probe(),
                () = tokio::time::sleep(MCP_CLIENT_EXIT_WAIT) => self.over = self.is_orphaned(),
            }
        }
    }

    /// Closes the input, then sends SIGTERM, then SIGKILL, each after a grace period.
    async fn close(&mut self) -> Result<(), Self::Error> {
        // If the server does not read, a blocked writer holds the lock. Killing the process frees it.
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

/// A child process and all processes of its process group.
struct ProcessGroup {
    child: Box<dyn ChildWrapper>,
    alive: Arc<AtomicUsize>,
    status: Option<ExitStatus>,
    ended: bool,
}

impl ProcessGroup {
    fn new(child: Box<dyn ChildWrapper>, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self { child, alive: Arc::clone(alive), status: None, ended: false }
    }

    /// The exit status of the server's own process, if it has ended.
    fn exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // If the status cannot be read, the child counts as running.
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    async fn end(&mut self) {
        if timeout(MCP_CLIENT_CLOSE_GRACE, self.child.wait()).await.is_err() {
            #[cfg(unix)]
            if let Err(error) = self.child.signal(SIGTERM) {
                tracing::debug!(%error, "SIGTERM could not be sent to an mcp server");
            }
            // The result is checked below.
            drop(timeout(MCP_CLIENT_CLOSE_GRACE, self.child.wait()).await);
        }
        // Also if the leader has ended, because its own children may still run. Killing an empty group is an error, which is
        // ignored.
        drop(self.child.start_kill());
        if timeout(MCP_CLIENT_CLOSE_GRACE, self.child.wait()).await.is_err() {
            tracing::warn!("an mcp server still runs after SIGKILL");
        }
        self.gone();
    }

    fn gone(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.ended {
            // The runtime reaps the process. If the group has ended already, killing it fails, which is ignored.
            drop(self.child.start_kill());
            self.gone();
        }
    }
}

/// Standard output with limits: reading fails if a line is too long, or if the server exceeds the rate limits.
struct LineLimit<R> {
    inner: R,
    line: usize,
    inbound: InboundRate,
    close_reason: Arc<CloseReason>,
}

impl<R> LineLimit<R> {
    /// Counts new bytes. Returns whether a line is too long.
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
            self.close_reason.set_reason(format!("it sent a message of more than {MCP_CLIENT_LINE_BYTES_MAX} bytes"));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "line too long")));
        }
        let fresh = &buffer.filled()[before..];
        let lines = if fresh.contains(&b'\n') { fresh.iter().filter(|byte| **byte == b'\n').count() } else { 0 };
        let (count, handshake_done) = (fresh.len(), self.close_reason.is_handshake_done());
        if let Err(why) = self.inbound.note(Instant::now(), lines, count, handshake_done) {
            self.close_reason.flood(why);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too many lines")));
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads standard error to its end, so that the server never blocks on it, and logs a limited number of its lines.
async fn drain(stderr: ChildStderr, spec: Arc<ServerSpec>, tail: Arc<Mutex<VecDeque<String>>>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut rate = LineRate::default();
    let (mut budget, mut filled) = (MCP_CLIENT_STDERR_BYTES_BURST, Instant::now());
    loop {
        // Limits the rate of reading, so that a server that writes endlessly does not keep a core busy.
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
            log_line(&line, &spec, &tail, &mut rate);
            line.clear();
        }
    }
    log_line(&line, &spec, &tail, &mut rate);
}

fn log_line(line: &[u8], spec: &ServerSpec, tail: &Mutex<VecDeque<String>>, rate: &mut LineRate) {
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

/// A limit of lines per second. Further lines are counted.
#[derive(Default)]
struct LineRate {
    second: Option<Instant>,
    lines: usize,
    dropped: u64,
}

impl LineRate {
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
        let mut limit = LineLimit { inner: (), line: 0, inbound: InboundRate::default(), close_reason: Arc::default() };
        let half = vec![b'x'; MCP_CLIENT_LINE_BYTES_MAX / 2];
        assert!(!limit.exceeds(&half));
        assert!(!limit.exceeds(b"\n"));
        assert!(!limit.exceeds(&half));
        assert!(!limit.exceeds(&half), "exactly the limit");
        assert!(limit.exceeds(b"\n"), "one byte more");
    }

    #[test]
    fn lines_beyond_the_rate_are_counted_and_not_logged() {
        let mut rate = LineRate::default();
        let logged = (0..MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX * 3).filter(|_| rate.allows()).count();
        assert!(
            (MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX..MCP_CLIENT_STDERR_LINES_PER_SECOND_MAX * 3).contains(&logged),
            "{logged}"
        );
        assert!(rate.take_dropped() > 0);
    }
}

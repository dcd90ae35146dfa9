//! The thread that writes the audit log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use firebox_contract::limits;

use super::chain::ChainHead;
use super::refusals::RefusalKind;
use super::{AuditState, Record, RequestOrigin};

/// A message to the writer thread.
pub(super) enum WriterMessage {
    Line(QueuedLine),
    Reopen,
    /// Test whether the log can be written.
    Probe,
    Close,
}

/// A queued line and its tenant.
pub(super) struct QueuedLine {
    pub(super) bytes: Vec<u8>,
    pub(super) tenant: Arc<str>,
}

/// The destination of the lines.
pub(super) trait LogSink: Send {
    /// One write system call. Returns the number of bytes written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Syncs the written lines to disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Opens the same path again.
    fn reopen(&mut self) -> io::Result<()>;

    /// Locks the log until [`LogSink::unlock`]. Updates `head` with the lines of other processes.
    fn lock(&mut self, _head: &mut ChainHead) -> io::Result<()> {
        Ok(())
    }

    /// Unlocks the log; `head` is the new head of the chain.
    fn unlock(&mut self, _head: &ChainHead) -> io::Result<()> {
        Ok(())
    }

    /// Tests whether a line could be written, without writing one.
    fn probe(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the lines in order. A failed line is retried until it is written or the log is closed, so every gap is marked before
/// later lines.
pub(super) struct LogWriter {
    sink: Box<dyn LogSink>,
    messages: Receiver<WriterMessage>,
    state: Arc<AuditState>,
    head: ChainHead,
    dirty_since: Option<Instant>,
    reported: u64,
}

impl LogWriter {
    pub(super) fn new(
        sink: Box<dyn LogSink>,
        head: ChainHead,
        messages: Receiver<WriterMessage>,
        state: Arc<AuditState>,
    ) -> Self {
        Self { sink, messages, state, head, dirty_since: None, reported: 0 }
    }

    /// Writes the first line, without retries.
    pub(super) fn first(&mut self, line: &[u8]) -> io::Result<()> {
        self.sink.lock(&mut self.head)?;
        let linked = self.head.link(line);
        let mut rest = linked.as_slice();
        let mut written = Ok(());
        while !rest.is_empty() && written.is_ok() {
            match self.sink.write(rest) {
                Ok(0) => written = Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => written = Err(error),
            }
        }
        if written.is_ok() {
            self.head = self.head.after(&linked);
        }
        written.and(self.sink.unlock(&self.head))
    }

    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Ok(WriterMessage::Line(line)) => self.line(&line),
                Ok(WriterMessage::Reopen) => self.reopen(),
                Ok(WriterMessage::Probe) => self.probe(),
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Ok(WriterMessage::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
            let due = self.state.refusals().due(Instant::now());
            self.write_counts(&due);
            if self.dirty_since.is_some_and(|since| since.elapsed() >= limits::AUDIT_SYNC_PERIOD) {
                self.sync();
            }
        }
        let rest = self.state.refusals().unwritten();
        self.write_counts(&rest);
        self.mark_gap();
        self.sync();
        self.state.ended.store(true, Ordering::Release);
    }

    /// Writes the counts of these kinds of refusals.
    fn write_counts(&mut self, kinds: &[(RefusalKind, u64)]) {
        for (kind, count) in kinds {
            let line = kind.record(*count).line(&RequestOrigin::default(), None);
            if !self.write(&line) {
                self.state.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn probe(&mut self) {
        match self.sink.probe() {
            // While a line waits for its sync, its own retry decides whether the log works.
            Ok(()) if self.dirty_since.is_none() => self.state.failing.store(false, Ordering::Release),
            Ok(()) => {}
            Err(error) => self.failed(error),
        }
    }

    /// Reopens the file. If that fails, the open file stays in use.
    fn reopen(&mut self) {
        if let Err(error) = self.sink.reopen() {
            tracing::error!(%error, "the audit log cannot be reopened; it continues in the open file");
        }
    }

    /// The next message. Returns early if a sync or a count of refusals is due.
    fn next(&self) -> Result<WriterMessage, RecvTimeoutError> {
        let counting = self.state.refusals().kinds() > 0;
        match self.dirty_since {
            Some(since) => self.messages.recv_timeout(limits::AUDIT_SYNC_PERIOD.saturating_sub(since.elapsed())),
            None if counting => self.messages.recv_timeout(limits::REFUSALS_PERIOD),
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn line(&mut self, line: &QueuedLine) {
        self.mark_gap();
        let written = self.write(&line.bytes);
        self.state.waiting().leave(&line.tenant, line.bytes.len());
        if !written {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes a `gap` line with the number of lost lines, before later lines.
    fn mark_gap(&mut self) {
        let lost = self.state.lost.load(Ordering::Relaxed);
        if lost > self.reported {
            let gap = Record::Gap { lost: lost - self.reported }.line(&RequestOrigin::default(), None);
            if self.write(&gap) {
                self.reported = lost;
            }
        }
    }

    /// Writes `line`. Returns false only if the log is being closed.
    fn write(&mut self, line: &[u8]) -> bool {
        while let Err(error) = self.sink.lock(&mut self.head) {
            if !self.wait_for_retry(error) {
                return false;
            }
        }
        let linked = self.head.link(line);
        let written = self.write_all(&linked);
        if written {
            self.head = self.head.after(&linked);
        }
        match self.sink.unlock(&self.head) {
            Ok(()) if written => self.state.failing.store(false, Ordering::Release),
            Ok(()) => {}
            Err(error) => self.failed(error),
        }
        written
    }

    fn write_all(&mut self, line: &[u8]) -> bool {
        let mut rest = line;
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => {
                    if !self.wait_for_retry(io::ErrorKind::WriteZero.into()) {
                        return false;
                    }
                }
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.dirty_since.get_or_insert_with(Instant::now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !self.wait_for_retry(error) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Waits before a retry. Returns false if the log is being closed.
    fn wait_for_retry(&self, error: io::Error) -> bool {
        let last_try = self.state.closing.load(Ordering::Acquire);
        self.failed(error);
        if last_try {
            return false;
        }
        std::thread::park_timeout(limits::AUDIT_RETRY_PERIOD);
        true
    }

    fn failed(&self, error: io::Error) {
        if !self.state.failing.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the audit log cannot be written; new work is refused until it can be");
        }
    }

    fn sync(&mut self) {
        if self.dirty_since.is_none() {
            return;
        }
        match self.sink.sync() {
            Ok(()) => {
                self.dirty_since = None;
                self.state.failing.store(false, Ordering::Release);
            }
            Err(error) => {
                self.failed(error);
                // Retried after another period.
                self.dirty_since = Some(Instant::now());
            }
        }
    }
}

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

/// What the thread is asked for.
pub(super) enum WriterMessage {
    Line(QueuedLine),
    Reopen,
    /// Try whether the log can be written.
    Probe,
    Close,
}

/// A line that waits, and whose it is.
pub(super) struct QueuedLine {
    pub(super) bytes: Vec<u8>,
    pub(super) tenant: Arc<str>,
}

/// Where lines go.
pub(super) trait LogSink: Send {
    /// One write to the system; how many bytes it took.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes what was written last.
    fn sync(&mut self) -> io::Result<()>;
    /// Begins anew under the same name.
    fn reopen(&mut self) -> io::Result<()>;

    /// Keeps other processes from writing until [`LogSink::release`]; `head` is where the chain ends, with what they wrote.
    fn hold(&mut self, _head: &mut ChainHead) -> io::Result<()> {
        Ok(())
    }

    /// Lets others write; the chain ends at `head` now.
    fn release(&mut self, _head: &ChainHead) -> io::Result<()> {
        Ok(())
    }

    /// Whether a line could be written, as far as that can be known without one.
    fn probe(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes line after line. One that fails is tried again until it is written or the log is closed: order is kept, and
/// nothing is written after a hole that is not marked.
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

    /// Writes the first line, or says at once why it cannot.
    pub(super) fn first(&mut self, line: &[u8]) -> io::Result<()> {
        self.sink.hold(&mut self.head)?;
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
        written.and(self.sink.release(&self.head))
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
            self.tell(&due);
            if self.dirty_since.is_some_and(|since| since.elapsed() >= limits::AUDIT_SYNC_PERIOD) {
                self.sync();
            }
        }
        let rest = self.state.refusals().rest();
        self.tell(&rest);
        self.mark_gap();
        self.sync();
        self.state.ended.store(true, Ordering::Release);
    }

    /// Writes how often each of these kinds of refusals happened since it was written last.
    fn tell(&mut self, kinds: &[(RefusalKind, u64)]) {
        for (kind, count) in kinds {
            let line = kind.record(*count).line(&RequestOrigin::default(), None);
            if !self.write(&line) {
                self.state.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn probe(&mut self) {
        match self.sink.probe() {
            // A line that could not be written or made to last is what counts, and it is tried again by itself.
            Ok(()) if self.dirty_since.is_none() => self.state.failing.store(false, Ordering::Release),
            Ok(()) => {}
            Err(error) => self.failed(error),
        }
    }

    /// A file that cannot be opened anew is no reason to stop writing to the one that is open.
    fn reopen(&mut self) {
        if let Err(error) = self.sink.reopen() {
            tracing::error!(%error, "the audit log cannot be opened anew; it goes on in the file it had");
        }
    }

    /// The next message; while something is not synchronised, no later than when it has to be.
    /// While refusals are counted, no later than when they are to be written.
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

    /// Says in the log how many lines are missing, before anything that follows them.
    fn mark_gap(&mut self) {
        let lost = self.state.lost.load(Ordering::Relaxed);
        if lost > self.reported {
            let gap = Record::Gap { lost: lost - self.reported }.line(&RequestOrigin::default(), None);
            if self.write(&gap) {
                self.reported = lost;
            }
        }
    }

    /// Whether all of `line` was written; only a log that is being closed gives up.
    fn write(&mut self, line: &[u8]) -> bool {
        while let Err(error) = self.sink.hold(&mut self.head) {
            if !self.again(error) {
                return false;
            }
        }
        let linked = self.head.link(line);
        let written = self.write_all(&linked);
        if written {
            self.head = self.head.after(&linked);
        }
        match self.sink.release(&self.head) {
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
                    if !self.again(io::ErrorKind::WriteZero.into()) {
                        return false;
                    }
                }
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.dirty_since.get_or_insert_with(Instant::now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !self.again(error) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether what failed is tried again, after a while.
    fn again(&self, error: io::Error) -> bool {
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
            tracing::error!(%error, "the audit log cannot be written; new work is refused until it can");
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
                // Tried again after another period.
                self.dirty_since = Some(Instant::now());
            }
        }
    }
}

//! The audit log: an append-only file with one JSON object a line.
//!
//! A thread writes the lines, so that no request waits for a disk. A configured log is required: while it cannot be written,
//! or its queue is full, [`Audit::ready`] fails and new work is refused. The queue has reserved room for the lines of running
//! work. If that room is full too, lines are dropped and counted, and a line of the event `gap` has their number.
//!
//! Each line has a number and the hash of the line before it, across rotations, restarts and processes. [`verify`] finds
//! lines that were changed, moved or removed.

mod chain;
mod file;
mod origins;
mod queue;
mod record;
mod refusals;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use firebox_contract::{Error, limits};

use chain::ChainHead;
use file::LogFile;
use origins::RequestOrigins;
pub use origins::{OriginGuard, RequestOrigin};
use queue::QueueUsage;
pub(crate) use record::cut;
pub use record::{CallCost, Record, RefusalRecord, RepeatedRecord, RequestCost, RequestRecord, Subject, ToolRecord};
use refusals::Refusals;
use writer::{LogSink, LogWriter, QueuedLine, WriterMessage};

/// The state that the callers and the writer thread share.
#[derive(Default)]
struct AuditState {
    waiting: Mutex<QueueUsage>,
    refusals: Mutex<Refusals>,
    lost: AtomicU64,
    failing: AtomicBool,
    closing: AtomicBool,
    ended: AtomicBool,
}

impl AuditState {
    /// A panic cannot leave these values half changed, so a poisoned lock is usable; the same holds for the next one.
    fn waiting(&self) -> MutexGuard<'_, QueueUsage> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to the log. Cheap to clone; dropping the last one closes the log.
#[derive(Clone)]
pub struct Audit(Arc<AuditWriter>);

struct AuditWriter {
    lines: SyncSender<WriterMessage>,
    state: Arc<AuditState>,
    thread: Mutex<Option<JoinHandle<()>>>,
    origins: RequestOrigins,
    prompts: bool,
}

impl Audit {
    /// Opens the log at `path`, readable by its owner only, and records `action`. With `prompts`, the text of prompts and
    /// arguments is logged too. Several processes may have the log open.
    ///
    /// # Errors
    /// `Error::Unavailable` if it cannot be opened or written.
    pub fn open(path: &Path, prompts: bool, action: &str) -> Result<Self, Error> {
        Self::open_as(path, prompts, action, false)
    }

    /// As [`Audit::open`], for a server: no other server can open the log at the same time.
    ///
    /// # Errors
    /// As [`Audit::open`]. If another server has the log, the error names its process.
    pub fn open_alone(path: &Path, prompts: bool, action: &str) -> Result<Self, Error> {
        Self::open_as(path, prompts, action, true)
    }

    fn open_as(path: &Path, prompts: bool, action: &str, alone: bool) -> Result<Self, Error> {
        let cannot = |error: io::Error| {
            let path = path.display();
            let remedy = match error.kind() {
                io::ErrorKind::ResourceBusy => "stop that server, or give each server its own audit.path",
                _ => "free disk space, or change audit.path",
            };
            Error::Unavailable(format!("cannot write the audit log \"{path}\": {error}; {remedy}"))
        };
        let (file, head) = LogFile::open(path, alone).map_err(cannot)?;
        let (sender, mut writer, state) = Self::writer(Box::new(file), head);
        let first = Record::Admin { action, outcome: None }.line(&RequestOrigin::default(), None);
        writer.first(&first).map_err(cannot)?;
        Self::spawn(sender, writer, state, prompts)
    }

    #[cfg(test)]
    fn start(sink: Box<dyn LogSink>, prompts: bool) -> Result<Self, Error> {
        let (sender, writer, state) = Self::writer(sink, ChainHead::default());
        Self::spawn(sender, writer, state, prompts)
    }

    fn writer(sink: Box<dyn LogSink>, head: ChainHead) -> (SyncSender<WriterMessage>, LogWriter, Arc<AuditState>) {
        let state = Arc::new(AuditState::default());
        let capacity = limits::AUDIT_LINES_WAITING_MAX + limits::AUDIT_LINES_RESERVED;
        let (sender, receiver) = sync_channel(capacity);
        let writer = LogWriter::new(sink, head, receiver, Arc::clone(&state));
        (sender, writer, state)
    }

    fn spawn(
        lines: SyncSender<WriterMessage>,
        writer: LogWriter,
        state: Arc<AuditState>,
        prompts: bool,
    ) -> Result<Self, Error> {
        let thread = std::thread::Builder::new()
            .name("firebox-audit".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| Error::Internal(format!("cannot start the thread of the audit log: {error}")))?;
        let (thread, origins) = (Mutex::new(Some(thread)), RequestOrigins::default());
        Ok(Self(Arc::new(AuditWriter { lines, state, thread, origins, prompts })))
    }

    /// Checks that new work may start.
    ///
    /// # Errors
    /// `Error::Unavailable` while the log cannot be written, or its queue is full.
    pub fn ready(&self) -> Result<(), Error> {
        let state = &self.0.state;
        let why = if state.closing.load(Ordering::Acquire) {
            "is closed"
        } else if state.failing.load(Ordering::Acquire) {
            "cannot be written"
        } else if !state.waiting().has_room() {
            "is too far behind"
        } else {
            return Ok(());
        };
        Err(Error::Unavailable(format!(
            "new work is refused while the audit log {why}; ask the operator to check the disk"
        )))
    }

    /// Checks that new work of `tenant` may start: it has no more than its share of the queued lines.
    ///
    /// # Errors
    /// As [`Audit::ready`].
    pub fn ready_for(&self, tenant: &str) -> Result<(), Error> {
        self.ready()?;
        if self.0.state.waiting().has_room_for(tenant) {
            return Ok(());
        }
        let message =
            "new work of this tenant is refused while the audit log is behind with its lines; retry in a moment";
        Err(Error::Unavailable(message.to_owned()))
    }

    /// Whether the text of prompts and arguments is logged.
    #[must_use]
    pub fn prompts(&self) -> bool {
        self.0.prompts
    }

    /// Queues a line; never waits. The line names where its request came from, if that is known.
    pub fn record(&self, record: &Record<'_>) {
        self.queue(record, &self.origin_of(record), None);
    }

    /// As [`Audit::record`], for a refusal. Refusals of one kind (tenant, key, event, decision and outcome; the address if
    /// no tenant is known) are written once in [`limits::REFUSALS_PERIOD`], with their count.
    pub fn refused(&self, record: &Record<'_>) {
        let origin = self.origin_of(record);
        let unwritten = self.0.state.refusals().happened(record, &origin, Instant::now());
        if let Some(unwritten) = unwritten {
            self.queue(record, &origin, Some(unwritten).filter(|unwritten| *unwritten > 0));
        }
    }

    fn queue(&self, record: &Record<'_>, origin: &RequestOrigin, count: Option<u64>) {
        let state = &self.0.state;
        let bytes = record.line(origin, count);
        let length = bytes.len();
        let tenant = record.subject().tenant.unwrap_or_default();
        let Some(tenant) = state.waiting().enter(tenant, length) else {
            state.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let line = QueuedLine { bytes, tenant: Arc::clone(&tenant) };
        let sent = !state.closing.load(Ordering::Acquire) && self.0.lines.try_send(WriterMessage::Line(line)).is_ok();
        if !sent {
            state.waiting().leave(&tenant, length);
            state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where the request of a record came from. Empty if that is not known.
    fn origin_of(&self, record: &Record<'_>) -> RequestOrigin {
        record.subject().request.and_then(|request| self.0.origins.of(request)).unwrap_or_default()
    }

    /// Keeps the origin of a request for its records, until the guard is dropped.
    #[must_use]
    pub fn enter(&self, request: &str, origin: RequestOrigin) -> OriginGuard {
        self.0.origins.enter(request, origin)
    }

    /// Asks the writer to test the log, so that [`Audit::ready`] reports a full disk early.
    pub fn probe(&self) {
        // With a full queue the writer is testing the log anyway.
        let _busy = self.0.lines.try_send(WriterMessage::Probe);
    }

    /// The number of lines lost since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.state.lost.load(Ordering::Relaxed)
    }

    /// Reopens the file under its name, after a rotation.
    pub fn reopen(&self) {
        // With a full queue the log is failing. The next rotation or reload asks again.
        let _asked_again_later = self.0.lines.try_send(WriterMessage::Reopen);
    }

    /// Writes and syncs the queued lines, and stops, within [`limits::AUDIT_CLOSE_TIMEOUT`]. Later lines are lost.
    ///
    /// # Errors
    /// `Error::Internal` with the number of lines lost since the start.
    pub fn close(&self) -> Result<(), Error> {
        self.0.close();
        match self.lost() {
            0 => Ok(()),
            lost => Err(Error::Internal(format!("{lost} lines of the audit log could not be written"))),
        }
    }
}

impl AuditWriter {
    fn close(&self) {
        const POLL: Duration = Duration::from_millis(2);
        self.state.closing.store(true, Ordering::Release);
        let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take()) else { return };
        thread.thread().unpark();
        let deadline = Instant::now() + limits::AUDIT_CLOSE_TIMEOUT;
        let mut asked = false;
        while !self.state.ended.load(Ordering::Acquire) && Instant::now() < deadline {
            asked = asked || !matches!(self.lines.try_send(WriterMessage::Close), Err(TrySendError::Full(_)));
            std::thread::sleep(POLL);
        }
        if self.state.ended.load(Ordering::Acquire) {
            // The thread has ended; its lost lines are counted.
            let _counted = thread.join();
        } else {
            let stuck = self.state.waiting().lines as u64;
            self.state.lost.fetch_add(stuck, Ordering::Relaxed);
        }
    }
}

impl Drop for AuditWriter {
    fn drop(&mut self) {
        self.close();
    }
}

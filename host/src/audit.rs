//! The audit log: one JSON object a line, only ever appended.
//!
//! Lines are handed to a thread that writes them, so that no request waits for a disk. Where a log is configured it is
//! required: while it cannot be written, or more waits than its thread keeps up with, [`Audit::ready`] fails and no new
//! work begins. Lines of work that already runs have room reserved; should even that be full they are counted, and a
//! line of event `gap` says how many are missing as soon as the log can be written again.
//!
//! Each line has a number and the hash of the line before it, across rotations, starts and processes; [`verify`] finds
//! what was changed, moved or taken out.

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

/// What the threads share.
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
    /// Every change under this lock is complete before anything could panic; so with the next.
    fn waiting(&self) -> MutexGuard<'_, QueueUsage> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to the log; cheap to clone. The last one that is dropped closes it.
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
    /// Opens the log at `path`, readable by its owner alone, and writes its first line: that `action` was done.
    /// With `prompts` the text of prompts and arguments is logged too. Several processes may have it open.
    ///
    /// # Errors
    /// `Error::Unavailable` when it cannot be opened or written.
    pub fn open(path: &Path, prompts: bool, action: &str) -> Result<Self, Error> {
        Self::open_as(path, prompts, action, false)
    }

    /// As [`Audit::open`], for a server: no other server can open it meanwhile.
    ///
    /// # Errors
    /// As [`Audit::open`]; the error names the other server's process.
    pub fn open_alone(path: &Path, prompts: bool, action: &str) -> Result<Self, Error> {
        Self::open_as(path, prompts, action, true)
    }

    fn open_as(path: &Path, prompts: bool, action: &str, alone: bool) -> Result<Self, Error> {
        let cannot = |error: io::Error| {
            let path = path.display();
            let remedy = match error.kind() {
                io::ErrorKind::ResourceBusy => "end it, or give each a log of its own",
                _ => "make room, or change audit.path",
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
        let places = limits::AUDIT_LINES_WAITING_MAX + limits::AUDIT_LINES_RESERVED;
        let (sender, receiver) = sync_channel(places);
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

    /// Whether new work of anybody may begin.
    ///
    /// # Errors
    /// `Error::Unavailable` while the log cannot be written, or does not keep up.
    pub fn ready(&self) -> Result<(), Error> {
        let state = &self.0.state;
        let why = if state.closing.load(Ordering::Acquire) {
            "is closed"
        } else if state.failing.load(Ordering::Acquire) {
            "cannot be written"
        } else if !state.waiting().has_room() {
            "does not keep up"
        } else {
            return Ok(());
        };
        Err(Error::Unavailable(format!(
            "no new work begins while the audit log {why}; the operator can make room for it"
        )))
    }

    /// Whether new work of `tenant` may begin: of what waits to be written it has no more than its share.
    ///
    /// # Errors
    /// As [`Audit::ready`].
    pub fn ready_for(&self, tenant: &str) -> Result<(), Error> {
        self.ready()?;
        if self.0.state.waiting().has_room_for(tenant) {
            return Ok(());
        }
        let message = "no new work of this tenant begins while the audit log is behind with its lines; try again soon";
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

    /// Remembers where a request comes from, for the lines about it, until the guard is dropped.
    #[must_use]
    pub fn enter(&self, request: &str, origin: RequestOrigin) -> OriginGuard {
        self.0.origins.enter(request, origin)
    }

    /// Has the log tried, so that [`Audit::ready`] knows of a full disk before somebody needs it.
    pub fn probe(&self) {
        // A full queue means that the log is being tried already.
        let _busy = self.0.lines.try_send(WriterMessage::Probe);
    }

    /// Lines that could not be kept, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.state.lost.load(Ordering::Relaxed)
    }

    /// Opens the file again under its name, after a rotation moved it.
    pub fn reopen(&self) {
        // A full queue means that the log is failing; the next rotation or reload asks again.
        let _asked_again_later = self.0.lines.try_send(WriterMessage::Reopen);
    }

    /// Writes what waits, makes it last and ends, within `limits::AUDIT_CLOSE_TIMEOUT`. Later lines are lost.
    ///
    /// # Errors
    /// `Error::Internal` says how many lines were lost since the start.
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
        let mut told = false;
        while !self.state.ended.load(Ordering::Acquire) && Instant::now() < deadline {
            told = told || !matches!(self.lines.try_send(WriterMessage::Close), Err(TrySendError::Full(_)));
            std::thread::sleep(POLL);
        }
        if self.state.ended.load(Ordering::Acquire) {
            // The thread has nothing left to panic about; what it lost is counted.
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

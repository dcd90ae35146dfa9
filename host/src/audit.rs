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
mod refusals;
#[cfg(test)]
mod tests;
pub mod verify;
mod writer;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use firebox_contract::{Error, limits};
use serde::Serialize;

use crate::time::rfc3339;
use chain::Head;
use file::LogFile;
use origins::Origins;
pub use origins::{Origin, OriginGuard};
use queue::Waiting;
use refusals::Refusals;
use writer::{Line, Message, Sink, Writer};

/// One line. What does not apply is left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Record<'a> {
    /// RFC 3339, UTC; set when it is recorded.
    pub time: String,
    /// `request`, `tool`, `prompt`, `refusal`, `session`, `approval`, `admin` or `gap`.
    pub event: &'a str,
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<&'a str>,
    /// The public part of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// The request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<&'a str>,
    /// The client's own id of the request; a word of the client's, and no key to anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request: Option<&'a str>,
    /// Where the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The method of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'a str>,
    /// The model asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// The tool called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<&'a str>,
    /// The plugin or server that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'a str>,
    /// SHA-256 of the call's arguments as the model wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_sha256: Option<String>,
    /// The arguments; only where texts are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'a str>,
    /// The prompt; only where texts are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<&'a str>,
    /// What an operator or this host did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    /// What was decided about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'a str>,
    /// How it ended: a finish reason, a code of an error, `ok` or `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
    /// Tokens of the prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Tokens made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    /// Fuel of plugins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// The most memory one instance had, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Milliseconds it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// How many like this there were since the line before of its kind, this one not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Lines that are missing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

impl<'a> Record<'a> {
    /// The same, with where its request comes from.
    fn from<'b>(&self, origin: &'b Origin) -> Record<'b>
    where
        'a: 'b,
    {
        let client_request = self.client_request.or(origin.client_request.as_deref());
        Record { address: self.address.or(origin.address), client_request, ..self.clone() }
    }

    /// As a line, at this moment.
    fn line(&self) -> Vec<u8> {
        let timed = Record { time: rfc3339(SystemTime::now()), ..self.clone() };
        // Texts and numbers always serialise; should that ever change, the line still says that something was here.
        let mut line = serde_json::to_vec(&timed).unwrap_or_else(|_| b"{\"event\":\"unwritable\"}".to_vec());
        line.push(b'\n');
        line
    }
}

/// `text`, cut at `limits::AUDIT_TEXT_BYTES_MAX`.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX)]
}

/// What the threads share.
#[derive(Default)]
struct State {
    waiting: Mutex<Waiting>,
    refusals: Mutex<Refusals>,
    lost: AtomicU64,
    failing: AtomicBool,
    closing: AtomicBool,
    ended: AtomicBool,
}

impl State {
    /// Every change under this lock is complete before anything could panic; so with the next.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle to the log; cheap to clone. The last one that is dropped closes it.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    lines: SyncSender<Message>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
    origins: Origins,
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
        let first = Record { event: "admin", action: Some(action), ..Record::default() }.line();
        writer.first(&first).map_err(cannot)?;
        Self::spawn(sender, writer, state, prompts)
    }

    #[cfg(test)]
    fn start(sink: Box<dyn Sink>, prompts: bool) -> Result<Self, Error> {
        let (sender, writer, state) = Self::writer(sink, Head::default());
        Self::spawn(sender, writer, state, prompts)
    }

    fn writer(sink: Box<dyn Sink>, head: Head) -> (SyncSender<Message>, Writer, Arc<State>) {
        let state = Arc::new(State::default());
        let places = limits::AUDIT_LINES_WAITING_MAX + limits::AUDIT_LINES_RESERVED;
        let (sender, receiver) = sync_channel(places);
        let writer = Writer::new(sink, head, receiver, Arc::clone(&state));
        (sender, writer, state)
    }

    fn spawn(lines: SyncSender<Message>, writer: Writer, state: Arc<State>, prompts: bool) -> Result<Self, Error> {
        let thread = std::thread::Builder::new()
            .name("firebox-audit".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| Error::Internal(format!("cannot start the thread of the audit log: {error}")))?;
        let (thread, origins) = (Mutex::new(Some(thread)), Origins::default());
        Ok(Self(Arc::new(Inner { lines, state, thread, origins, prompts })))
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

    /// Hands a line over; never waits. What is known of its request's origin is added.
    pub fn record(&self, record: &Record<'_>) {
        let origin = self.origin_of(record);
        let record = record.from(&origin);
        let state = &self.0.state;
        let bytes = record.line();
        let length = bytes.len();
        let Some(tenant) = state.waiting().enter(record.tenant.unwrap_or_default(), length) else {
            state.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let line = Line { bytes, tenant: Arc::clone(&tenant) };
        let sent = !state.closing.load(Ordering::Acquire) && self.0.lines.try_send(Message::Line(line)).is_ok();
        if !sent {
            state.waiting().leave(&tenant, length);
            state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Audit::record`], for a refusal: those of one kind (tenant, key, event, decision and outcome; the address
    /// where no tenant is known) are written once in `limits::REFUSALS_PERIOD`, with their count.
    pub fn refused(&self, record: &Record<'_>) {
        // The address is a part of the kind, where no tenant is known.
        let origin = self.origin_of(record);
        let record = record.from(&origin);
        let told = self.0.state.refusals().happened(&record, Instant::now());
        if let Some(more) = told {
            self.record(&Record { count: Some(more).filter(|more| *more > 0), ..record });
        }
    }

    /// Where the request of a line comes from, as far as it is known.
    fn origin_of(&self, record: &Record<'_>) -> Origin {
        record.request.and_then(|request| self.0.origins.of(request)).unwrap_or_default()
    }

    /// Remembers where a request comes from, for the lines about it, until the guard is dropped.
    #[must_use]
    pub fn enter(&self, request: &str, origin: Origin) -> OriginGuard {
        self.0.origins.enter(request, origin)
    }

    /// Has the log tried, so that [`Audit::ready`] knows of a full disk before somebody needs it.
    pub fn probe(&self) {
        // A full queue means that the log is being tried already.
        let _busy = self.0.lines.try_send(Message::Probe);
    }

    /// Lines that could not be kept, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.state.lost.load(Ordering::Relaxed)
    }

    /// Opens the file again under its name, after a rotation moved it.
    pub fn reopen(&self) {
        // A full queue means that the log is failing; the next rotation or reload asks again.
        let _asked_again_later = self.0.lines.try_send(Message::Reopen);
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

impl Inner {
    fn close(&self) {
        const POLL: Duration = Duration::from_millis(2);
        self.state.closing.store(true, Ordering::Release);
        let Some(thread) = self.thread.lock().ok().and_then(|mut thread| thread.take()) else { return };
        thread.thread().unpark();
        let deadline = Instant::now() + limits::AUDIT_CLOSE_TIMEOUT;
        let mut told = false;
        while !self.state.ended.load(Ordering::Acquire) && Instant::now() < deadline {
            told = told || !matches!(self.lines.try_send(Message::Close), Err(TrySendError::Full(_)));
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

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

//! The audit log: one JSON object a line, only ever appended.
//!
//! Lines are handed to a thread that writes them, so that no request waits for a disk. Where a log is configured it is
//! required: while it cannot be written, or more waits than its thread keeps up with, [`Audit::ready`] fails and no new
//! work begins. Lines of work that already runs have room reserved; should even that be full they are counted, and a
//! line of event `gap` says how many are missing as soon as the log can be written again.

#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use std::sync::Mutex;

use firebox_contract::{Error, limits};
use serde::Serialize;

use crate::time::rfc3339;
use writer::{LogFile, Message, Sink, Writer};

/// One line. What does not apply is left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Record<'a> {
    /// RFC 3339, UTC; set when it is recorded.
    pub time: String,
    /// `request`, `tool`, `approval`, `prompt`, `admin` or `gap`.
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
    /// Lines that are missing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

impl Record<'_> {
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
    waiting_lines: AtomicUsize,
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
    failing: AtomicBool,
    closing: AtomicBool,
    ended: AtomicBool,
}

/// A handle to the log; cheap to clone. The last one that is dropped closes it.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    lines: SyncSender<Message>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
    prompts: bool,
}

impl Audit {
    /// Opens the log at `path`, readable by its owner alone, and writes its first line: that `action` was done.
    /// With `prompts` the text of prompts and arguments is logged too.
    ///
    /// # Errors
    /// `Error::Unavailable` when it cannot be opened or written.
    pub fn open(path: &Path, prompts: bool, action: &str) -> Result<Self, Error> {
        let cannot = |error: io::Error| {
            let path = path.display();
            Error::Unavailable(format!(
                "cannot write the audit log \"{path}\": {error}; make room, or change audit.path"
            ))
        };
        let mut file = LogFile::open(path).map_err(cannot)?;
        let first = Record { event: "admin", action: Some(action), ..Record::default() }.line();
        file.write_line(&first).map_err(cannot)?;
        Self::start(Box::new(file), prompts)
    }

    fn start(sink: Box<dyn Sink>, prompts: bool) -> Result<Self, Error> {
        let state = Arc::new(State::default());
        let places = limits::AUDIT_LINES_WAITING_MAX + limits::AUDIT_LINES_RESERVED;
        let (sender, receiver) = sync_channel(places);
        let writer = Writer::new(sink, receiver, Arc::clone(&state));
        let thread = std::thread::Builder::new()
            .name("firebox-audit".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| Error::Internal(format!("cannot start the thread of the audit log: {error}")))?;
        Ok(Self(Arc::new(Inner { lines: sender, state, thread: Mutex::new(Some(thread)), prompts })))
    }

    /// Whether new work may begin.
    ///
    /// # Errors
    /// `Error::Unavailable` while the log cannot be written, or does not keep up.
    pub fn ready(&self) -> Result<(), Error> {
        let state = &self.0.state;
        let waiting = state.waiting_lines.load(Ordering::Relaxed) >= limits::AUDIT_LINES_WAITING_MAX
            || state.waiting_bytes.load(Ordering::Relaxed) >= limits::AUDIT_BYTES_WAITING_MAX / 2;
        let why = if state.closing.load(Ordering::Acquire) {
            "is closed"
        } else if state.failing.load(Ordering::Acquire) {
            "cannot be written"
        } else if waiting {
            "does not keep up"
        } else {
            return Ok(());
        };
        Err(Error::Unavailable(format!(
            "no new work begins while the audit log {why}; the operator can make room for it"
        )))
    }

    /// Whether the text of prompts and arguments is logged.
    #[must_use]
    pub fn prompts(&self) -> bool {
        self.0.prompts
    }

    /// Hands a line over; never waits.
    pub fn record(&self, record: &Record<'_>) {
        let state = &self.0.state;
        let line = record.line();
        let bytes = line.len();
        let fits = state.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= limits::AUDIT_BYTES_WAITING_MAX;
        state.waiting_lines.fetch_add(1, Ordering::Relaxed);
        let sent = fits && !state.closing.load(Ordering::Acquire) && self.0.lines.try_send(Message::Line(line)).is_ok();
        if !sent {
            state.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            state.waiting_lines.fetch_sub(1, Ordering::Relaxed);
            state.lost.fetch_add(1, Ordering::Relaxed);
        }
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
            let stuck = self.state.waiting_lines.load(Ordering::Relaxed) as u64;
            self.state.lost.fetch_add(stuck, Ordering::Relaxed);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

//! The thread that writes the audit log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use firebox_contract::limits;

use super::{Record, State};

/// What the thread is asked for.
pub(super) enum Message {
    Line(Vec<u8>),
    Reopen,
    Close,
}

/// Where lines go.
pub(super) trait Sink: Send {
    /// One write to the system; how many bytes it took.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes what was written last.
    fn sync(&mut self) -> io::Result<()>;
    /// Begins anew under the same name.
    fn reopen(&mut self) -> io::Result<()>;
}

/// A file that is only appended to.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: append(path)? })
    }

    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    // A line that a crash or a full disk tore must not swallow the next one.
    if ends_inside_a_line(path).unwrap_or(false) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn ends_inside_a_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() || file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

impl Sink for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.file = append(&self.path)?;
        Ok(())
    }
}

/// Writes line after line. One that fails is tried again until it is written or the log is closed: order is kept, and
/// nothing is written after a hole that is not marked.
pub(super) struct Writer {
    sink: Box<dyn Sink>,
    messages: Receiver<Message>,
    state: Arc<State>,
    dirty_since: Option<Instant>,
    reported: u64,
}

impl Writer {
    pub(super) fn new(sink: Box<dyn Sink>, messages: Receiver<Message>, state: Arc<State>) -> Self {
        Self { sink, messages, state, dirty_since: None, reported: 0 }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Ok(Message::Line(line)) => self.line(&line),
                Ok(Message::Reopen) => self.reopen(),
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.dirty_since.is_some_and(|since| since.elapsed() >= limits::AUDIT_SYNC_PERIOD) {
                self.sync();
            }
        }
        self.mark_gap();
        self.sync();
        self.state.ended.store(true, Ordering::Release);
    }

    /// A file that cannot be opened anew is no reason to stop writing to the one that is open.
    fn reopen(&mut self) {
        if let Err(error) = self.sink.reopen() {
            tracing::error!(%error, "the audit log cannot be opened anew; it goes on in the file it had");
        }
    }

    /// The next message; while something is not synchronised, no later than when it has to be.
    fn next(&self) -> Result<Message, RecvTimeoutError> {
        match self.dirty_since {
            Some(since) => self.messages.recv_timeout(limits::AUDIT_SYNC_PERIOD.saturating_sub(since.elapsed())),
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn line(&mut self, line: &[u8]) {
        self.mark_gap();
        let written = self.write(line);
        self.state.waiting_lines.fetch_sub(1, Ordering::Relaxed);
        self.state.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        if !written {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says in the log how many lines are missing, before anything that follows them.
    fn mark_gap(&mut self) {
        let lost = self.state.lost.load(Ordering::Relaxed);
        if lost > self.reported {
            let gap = Record { event: "gap", lost: Some(lost - self.reported), ..Record::default() }.line();
            if self.write(&gap) {
                self.reported = lost;
            }
        }
    }

    /// Whether all of `line` was written; only a log that is being closed gives up.
    fn write(&mut self, line: &[u8]) -> bool {
        let mut rest = line;
        while !rest.is_empty() {
            let last_try = self.state.closing.load(Ordering::Acquire);
            match self.sink.write(rest) {
                Ok(0) => self.failed(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.dirty_since.get_or_insert_with(Instant::now);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed(error),
            }
            if last_try {
                return false;
            }
            std::thread::park_timeout(limits::AUDIT_RETRY);
        }
        self.state.failing.store(false, Ordering::Release);
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

//! The file of the audit log, and the files beside it: a lock, and the end of the chain.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firebox_contract::limits;

use super::chain::ChainHead;
use super::writer::LogSink;
use crate::system::file_lock::{CompanionLock, LockError, companion};

/// The end of the name of the file that holds the end of the chain.
pub(super) const HEAD_END: &str = ".head";

/// A file that is only appended to. A path that is no file (a pipe, a device) has no lock and no noted head.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    noted: Option<HeadFile>,
    /// Held by a server as long as it lives.
    lock: Option<CompanionLock>,
}

/// The file with the end of the chain. Whoever writes a line holds its lock, so that lines of several processes make
/// one chain.
struct HeadFile {
    file: File,
    text: String,
}

impl LogFile {
    /// Opens the log at `path`, `alone` for a server; and says where its chain goes on.
    pub(super) fn open(path: &Path, alone: bool) -> io::Result<(Self, ChainHead)> {
        let mut file = append(path)?;
        if !file.metadata()?.is_file() {
            return Ok((Self { path: path.to_owned(), file, noted: None, lock: None }, ChainHead::default()));
        }
        let lock = if alone { Some(CompanionLock::alone(path).map_err(in_use)?) } else { None };
        let mut noted = HeadFile::open(path)?;
        noted.lock()?;
        let begun = Self::begin(&mut file, &mut noted);
        noted.unlock();
        let head = begun?;
        Ok((Self { path: path.to_owned(), file, noted: Some(noted), lock }, head))
    }

    fn begin(file: &mut File, noted: &mut HeadFile) -> io::Result<ChainHead> {
        end_line(file)?;
        let before = noted.read()?;
        let head = ChainHead::of(file, before)?;
        noted.write(&head)?;
        Ok(head)
    }

    /// Whether the file of that name is not the one that is open.
    fn was_moved(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let (named, open) = (std::fs::metadata(&self.path), self.file.metadata());
            matches!((named, open), (Ok(named), Ok(open)) if (named.dev(), named.ino()) != (open.dev(), open.ino()))
        }
        #[cfg(not(unix))]
        false
    }

    /// Whether the open file has no name any more: what is written to it is gone when it is closed.
    fn was_deleted(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            self.noted.is_some() && self.file.metadata().is_ok_and(|about| about.nlink() == 0)
        }
        #[cfg(not(unix))]
        false
    }
}

fn in_use(error: LockError) -> io::Error {
    match error {
        LockError::Held(who) => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("a server, {who}, writes to it; one server at a time can"),
        ),
        LockError::Io(error) => error,
    }
}

impl HeadFile {
    fn open(log: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { file: options.open(companion(log, HEAD_END))?, text: String::new() })
    }

    /// Waits for another process that writes a line, for a bounded time.
    fn lock(&self) -> io::Result<()> {
        const POLL: Duration = Duration::from_millis(1);
        let begun = Instant::now();
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if begun.elapsed() < limits::AUDIT_LOCK_WAIT => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing a line to it"));
                }
            }
        }
    }

    fn unlock(&self) {
        // The lock ends with the file at the latest.
        let _unlocked = self.file.unlock();
    }

    fn read(&mut self) -> io::Result<Option<ChainHead>> {
        self.text.clear();
        self.file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        (&self.file).take(ChainHead::default().text().len() as u64).read_to_end(&mut bytes)?;
        self.text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(ChainHead::parse(&self.text))
    }

    fn write(&mut self, head: &ChainHead) -> io::Result<()> {
        self.text = head.text();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(self.text.as_bytes())
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // The end of a file is read; a pipe or a device need not be readable.
    if std::fs::metadata(path).map_or(true, |about| about.is_file()) {
        options.read(true);
    }
    options.open(path)
}

/// Ends a line that a crash or a full disk tore, so that it does not swallow the next one.
fn end_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

impl LogSink for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.was_deleted() {
            self.reopen()?;
            tracing::error!("the file of the audit log was deleted; a new one was begun");
        }
        self.file.sync_data()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let mut file = append(&self.path)?;
        if file.metadata()?.is_file() {
            end_line(&mut file)?;
        }
        self.file = file;
        Ok(())
    }

    fn hold(&mut self, head: &mut ChainHead) -> io::Result<()> {
        let Some(noted) = &mut self.noted else { return Ok(()) };
        noted.lock()?;
        let before = noted.text.clone();
        let now = noted.read()?;
        if noted.text == before {
            return Ok(());
        }
        // Another process wrote lines, perhaps into a file that was begun after a rotation.
        if let Some(now) = now.filter(|now| now.seq > head.seq) {
            *head = now;
        }
        if self.was_moved() { self.reopen() } else { Ok(()) }
    }

    fn release(&mut self, head: &ChainHead) -> io::Result<()> {
        let Some(noted) = &mut self.noted else { return Ok(()) };
        let written = noted.write(head);
        noted.unlock();
        written
    }

    fn probe(&mut self) -> io::Result<()> {
        if self.was_deleted() {
            self.reopen()?;
            tracing::error!("the file of the audit log was deleted; a new one was begun");
        }
        self.lock.as_ref().map_or(Ok(()), CompanionLock::has_room)
    }
}

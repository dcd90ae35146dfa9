//! The file of the audit log, its lock file, and its head file, which holds the head of the hash chain.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firebox_contract::limits;

use super::chain::ChainHead;
use super::writer::LogSink;
use crate::system::file_lock::{CompanionLock, LockError, companion};

/// The suffix of the head file.
pub(super) const HEAD_END: &str = ".head";

/// The append-only file. A path that is a pipe or a device has no lock file and no head file.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    head_file: Option<HeadFile>,
    /// Locked by a server as long as it runs.
    lock: Option<CompanionLock>,
}

/// The head file. A process locks it while it writes a line, so that the lines of several processes make one chain.
struct HeadFile {
    file: File,
    text: String,
}

impl LogFile {
    /// Opens the log at `path`, with `alone` for a server. Returns the head of its chain.
    pub(super) fn open(path: &Path, alone: bool) -> io::Result<(Self, ChainHead)> {
        let mut file = append(path)?;
        if !file.metadata()?.is_file() {
            return Ok((Self { path: path.to_owned(), file, head_file: None, lock: None }, ChainHead::default()));
        }
        let lock = if alone { Some(CompanionLock::alone(path).map_err(in_use)?) } else { None };
        let mut head_file = HeadFile::open(path)?;
        head_file.lock()?;
        let head = Self::read_head(&mut file, &mut head_file);
        head_file.unlock();
        let head = head?;
        Ok((Self { path: path.to_owned(), file, head_file: Some(head_file), lock }, head))
    }

    fn read_head(file: &mut File, head_file: &mut HeadFile) -> io::Result<ChainHead> {
        end_line(file)?;
        let noted = head_file.read()?;
        let head = ChainHead::of(file, noted)?;
        head_file.write(&head)?;
        Ok(head)
    }

    /// Whether the path now names another file than the open one.
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

    /// Whether the open file was deleted, so that its lines would be lost when it is closed.
    fn was_deleted(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            self.head_file.is_some() && self.file.metadata().is_ok_and(|about| about.nlink() == 0)
        }
        #[cfg(not(unix))]
        false
    }
}

fn in_use(error: LockError) -> io::Error {
    match error {
        LockError::Held(who) => io::Error::new(io::ErrorKind::ResourceBusy, format!("another server ({who}) uses it")),
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

    /// Locks the file. Waits a bounded time while another process writes a line.
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
        // Closing the file also ends the lock.
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
    // The end of a regular file is read. A pipe or a device need not be readable.
    if std::fs::metadata(path).map_or(true, |about| about.is_file()) {
        options.read(true);
    }
    options.open(path)
}

/// Ends an incomplete last line, which a crash or a full disk left, so that the next line starts on its own.
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
            tracing::error!("the audit log file was deleted; started a new one");
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

    fn lock(&mut self, head: &mut ChainHead) -> io::Result<()> {
        let Some(head_file) = &mut self.head_file else { return Ok(()) };
        head_file.lock()?;
        let before = head_file.text.clone();
        let now = head_file.read()?;
        if head_file.text == before {
            return Ok(());
        }
        // Another process wrote lines, perhaps into a new file after a rotation.
        if let Some(now) = now.filter(|now| now.seq > head.seq) {
            *head = now;
        }
        if self.was_moved() { self.reopen() } else { Ok(()) }
    }

    fn unlock(&mut self, head: &ChainHead) -> io::Result<()> {
        let Some(head_file) = &mut self.head_file else { return Ok(()) };
        let written = head_file.write(head);
        head_file.unlock();
        written
    }

    fn probe(&mut self) -> io::Result<()> {
        if self.was_deleted() {
            self.reopen()?;
            tracing::error!("the audit log file was deleted; started a new one");
        }
        self.lock.as_ref().map_or(Ok(()), CompanionLock::has_room)
    }
}

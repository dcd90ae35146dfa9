//! Verifies the hash chain of an audit log: no line was changed, moved or removed.
//!
//! The chain does not protect against someone who can write all files: they can write a new chain and head file from any line
//! on. To protect against that, copy the log to another machine.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use firebox_contract::limits;
use serde::Deserialize;

use super::chain::{ChainHead, ChainLink, hash, unhex};
use super::file::HEAD_END;
use crate::system::file_lock::companion;

/// The result for a log that was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifiedLog {
    /// Lines in the chain.
    pub lines: u64,
    /// The number of the first of them.
    pub first: u64,
    /// The number of the last of them.
    pub last: u64,
    /// Lines before the chain, which an older Firebox wrote.
    pub unchained: u64,
    /// Incomplete lines that a crash or a full disk left.
    pub torn: u64,
    /// Lines that could not be written, by the `gap` lines.
    pub lost: u64,
    /// Whether the last line is incomplete: it is being written, or a crash left it.
    pub unfinished: bool,
}

/// The first line at which a log was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLog {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; 0 for the end of the file.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// Why a log could not be verified.
#[derive(Debug)]
pub enum VerifyError {
    /// It was changed.
    Broken(BrokenLog),
    /// A file cannot be read.
    Io(PathBuf, io::Error),
}

impl fmt::Display for BrokenLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        match line {
            0 => write!(f, "\"{}\": {what}", path.display()),
            line => write!(f, "\"{}\", line {line}: {what}", path.display()),
        }
    }
}

/// Verifies the files of one log, the oldest first.
///
/// # Errors
/// [`VerifyError::Broken`] with the first broken line; [`VerifyError::Io`] for a file that cannot be read.
pub fn verify(paths: &[PathBuf]) -> Result<VerifiedLog, VerifyError> {
    // The head file is read first, so that lines written in the meantime do not count as missing.
    let noted = paths.last().map(|path| noted(path)).transpose()?.flatten();
    let mut walk = ChainWalk::default();
    for path in paths {
        walk.file(path)?;
    }
    if let (Some(noted), Some(path)) = (noted, paths.last()) {
        walk.end(&noted, path)?;
    }
    if walk.found.lines == 0 {
        // No line of the chain says what they are.
        walk.found.unchained += walk.unconfirmed;
    }
    Ok(walk.found)
}

/// The head file of the log at `path`.
fn noted(path: &Path) -> Result<Option<ChainHead>, VerifyError> {
    let head_file = companion(path, HEAD_END);
    let mut text = String::new();
    match File::open(&head_file).and_then(|file| file.take(1_024).read_to_string(&mut text)) {
        Ok(_) => Ok(ChainHead::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(VerifyError::Io(head_file, error)),
    }
}

/// The fields of a `gap` line.
#[derive(Deserialize)]
struct GapFields {
    event: String,
    #[serde(default)]
    lost: u64,
}

#[derive(Default)]
struct ChainWalk {
    found: VerifiedLog,
    /// The hash of the line before.
    before: Option<[u8; 32]>,
    /// The hash of the last line in the chain.
    last: [u8; 32],
    /// Incomplete lines that no later line has confirmed yet.
    unconfirmed: u64,
}

impl ChainWalk {
    fn file(&mut self, path: &Path) -> Result<(), VerifyError> {
        let io = |error| VerifyError::Io(path.to_owned(), error);
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        let mut number = 0;
        loop {
            let mut line = Vec::new();
            let most = limits::AUDIT_LINE_BYTES_MAX as u64;
            let read = (&mut reader).take(most).read_until(b'\n', &mut line).map_err(io)?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            let broken = |what: String| VerifyError::Broken(BrokenLog { path: path.to_owned(), line: number, what });
            let Some(whole) = line.strip_suffix(b"\n") else {
                if read as u64 == most {
                    return Err(broken(format!("has more than {most} bytes, the maximum of a line")));
                }
                self.found.unfinished = true;
                self.torn(&line);
                continue;
            };
            self.line(whole).map_err(broken)?;
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        self.found.unfinished = false;
        let Some(link) = ChainLink::of(line) else {
            self.torn(line);
            return Ok(());
        };
        let prev = unhex(&link.prev).ok_or("its \"prev\" is not a hash")?;
        self.follows(&link, prev)?;
        self.found.torn += std::mem::take(&mut self.unconfirmed);
        if self.found.lines == 0 {
            self.found.first = link.seq;
            // Lines before the chain are older than the chain, not incomplete.
            self.found.unchained += std::mem::take(&mut self.found.torn);
        }
        self.found.lines += 1;
        self.found.last = link.seq;
        self.last = hash(line);
        self.before = Some(self.last);
        if let Ok(GapFields { event, lost }) = serde_json::from_slice(line)
            && event == "gap"
        {
            self.found.lost += lost;
        }
        Ok(())
    }

    fn torn(&mut self, line: &[u8]) {
        self.unconfirmed += 1;
        self.before = Some(hash(line));
    }

    /// Checks that a line with this link follows the lines read so far.
    fn follows(&self, link: &ChainLink, prev: [u8; 32]) -> Result<(), String> {
        let (seq, last) = (link.seq, self.found.last);
        if self.found.lines == 0 {
            let whole = seq != 1 || self.before.map_or(prev == [0; 32], |before| before == prev);
            return if whole { Ok(()) } else { Err("the lines before it were changed".to_owned()) };
        }
        if seq <= last {
            return Err(format!("has number {seq} after number {last}: lines were moved, repeated or inserted"));
        }
        if seq > last + 1 {
            let (first, last) = (last + 1, seq - 1);
            return Err(format!("lines {first} to {last} of the log are missing before it"));
        }
        if self.before != Some(prev) {
            return Err(format!("line {last} of the log, or a line after it, was changed"));
        }
        Ok(())
    }

    /// Checks that the log ends where the head file says.
    fn end(&self, noted: &ChainHead, path: &Path) -> Result<(), VerifyError> {
        let broken = |what| Err(VerifyError::Broken(BrokenLog { path: path.to_owned(), line: 0, what }));
        let last = self.found.last;
        if noted.seq > last {
            return broken(format!("its end is cut off: lines {} to {} of the log are missing", last + 1, noted.seq));
        }
        if noted.seq == last && self.found.lines > 0 && noted.hash != self.last && self.before != Some(noted.hash) {
            return broken(format!("line {last} of the log, its last, was changed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! The hash chain of the log: each line has a number and the SHA-256 of the line before it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use firebox_contract::limits;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::tenancy::keys::hex;

/// The head of a chain: the number and the hash of its last line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ChainHead {
    pub(super) seq: u64,
    pub(super) hash: [u8; 32],
}

/// The number of a line and the hash of the line before it.
#[derive(Debug, Deserialize)]
pub(super) struct ChainLink {
    pub(super) seq: u64,
    pub(super) prev: String,
}

impl ChainLink {
    /// The link of a line; `None` for a line without one.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

impl ChainHead {
    /// Adds the link of the next line to `object`, a JSON object and a line feed.
    pub(super) fn link(&self, object: &[u8]) -> Vec<u8> {
        let open = object.strip_suffix(b"}\n").unwrap_or(object);
        let mut line = Vec::with_capacity(object.len() + 110);
        line.extend_from_slice(open);
        line.extend_from_slice(format!(",\"seq\":{},\"prev\":\"{}\"}}\n", self.seq + 1, hex(&self.hash)).as_bytes());
        line
    }

    /// The head after `line`.
    pub(super) fn after(&self, line: &[u8]) -> Self {
        Self { seq: self.seq + 1, hash: hash(line) }
    }

    /// The text of the head file. All texts have the same length, so that one can overwrite another.
    pub(super) fn text(&self) -> String {
        format!("{:020} {}\n", self.seq, hex(&self.hash))
    }

    /// Parses the text of [`ChainHead::text`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.lines().next()?.split_once(' ')?;
        Some(Self { seq: seq.parse().ok()?, hash: unhex(hash)? })
    }

    /// The head for the next line of `log`: its last line, or `noted`, the content of the head file, if that is further. Then
    /// lines are missing, and [`super::verify`] reports them.
    pub(super) fn of(log: &mut File, noted: Option<Self>) -> io::Result<Self> {
        let tail = tail(log)?;
        Ok(match (tail, noted) {
            (None, noted) => noted.unwrap_or_default(),
            (Some(tail), Some(noted)) if noted.seq > tail.seq => noted,
            (Some(tail), _) => tail,
        })
    }
}

/// The SHA-256 of a line, without its line feed.
pub(super) fn hash(line: &[u8]) -> [u8; 32] {
    Sha256::digest(line.strip_suffix(b"\n").unwrap_or(line)).into()
}

/// The hash of the last line of `log`, and the number of the last line that has one; `None` if the log is empty. Reads at most
/// [`limits::AUDIT_LINE_BYTES_MAX`] bytes.
fn tail(log: &mut File) -> io::Result<Option<ChainHead>> {
    let length = log.seek(SeekFrom::End(0))?;
    let from = length.saturating_sub(limits::AUDIT_LINE_BYTES_MAX as u64);
    log.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    log.take(limits::AUDIT_LINE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut lines = bytes.rsplit(|byte| *byte == b'\n');
    let last = lines.next().unwrap_or_default();
    let seq = std::iter::once(last).chain(lines).find_map(ChainLink::of).map_or(0, |link| link.seq);
    Ok(Some(ChainHead { seq, hash: hash(last) }))
}

/// Parses 64 hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

//! The digests by which the hub and its cache name files: SHA-256 of large files, and the ids of git blobs.

mod sha1;

use std::fs::File;
use std::io::Read;

use firebox_contract::limits;
use sha2::{Digest as _, Sha256};

use self::sha1::Sha1;

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the bytes of a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// SHA-256, in lower case.
    Sha256(String),
    /// The id of a git blob: SHA-1 over a header with the size, and the bytes.
    GitBlob(String),
    /// The hub names none; only the size can be checked.
    Size,
}

impl Expected {
    /// Reads the entity tag of a file on the hub, which is also the file's name in the cache.
    pub(crate) fn of_tag(tag: &str) -> Self {
        let is_hex = tag.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        match tag.len() {
            64 if is_hex => Self::Sha256(tag.to_owned()),
            40 if is_hex => Self::GitBlob(tag.to_owned()),
            _ => Self::Size,
        }
    }
}

/// Digests the bytes of a file while they arrive.
pub(crate) enum Hasher {
    Sha256(Box<Sha256>),
    GitBlob(Box<Sha1>),
    None,
}

impl Hasher {
    /// A hasher for a file of `size` bytes.
    pub(crate) fn new(expected: &Expected, size: u64) -> Self {
        match expected {
            Expected::Sha256(_) => Self::Sha256(Box::new(Sha256::new())),
            Expected::GitBlob(_) => {
                let mut sha1 = Sha1::new();
                sha1.update(format!("blob {size}\0").as_bytes());
                Self::GitBlob(Box::new(sha1))
            }
            Expected::Size => Self::None,
        }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
            Self::None => {}
        }
    }

    /// Takes the rest of a file. Returns its number of bytes.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn update_from(&mut self, file: &mut File, mut progress: impl FnMut(u64)) -> std::io::Result<u64> {
        let mut buffer = vec![0; limits::HUB_HASH_BUFFER_BYTES];
        let mut read = 0_u64;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(read),
                count => {
                    self.update(buffer.get(..count).unwrap_or_default());
                    read += count as u64;
                    progress(read);
                }
            }
        }
    }

    /// The digest in lower-case hexadecimal, and whether it is the expected one. Without a digest every file fits.
    pub(crate) fn check(self, expected: &Expected) -> Result<(), String> {
        let found = match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::GitBlob(hasher) => hex(&hasher.finalize()),
            Self::None => return Ok(()),
        };
        match expected {
            Expected::Sha256(digest) | Expected::GitBlob(digest) if *digest != found => Err(found),
            _ => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_say_which_digest_they_are() {
        let (long, short) = ("a1".repeat(32), "b2".repeat(20));
        assert_eq!(Expected::of_tag(&long), Expected::Sha256(long.clone()));
        assert_eq!(Expected::of_tag(&short), Expected::GitBlob(short));
        for other in ["", "A1", "5f3a-12", &"g".repeat(64), &"A1".repeat(32)] {
            assert_eq!(Expected::of_tag(other), Expected::Size, "{other}");
        }
    }

    #[test]
    fn files_are_compared_with_their_digest() {
        // `printf hello | sha256sum`, `printf hello | git hash-object --stdin`
        let rows = [
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
        ];
        for tag in rows {
            let expected = Expected::of_tag(tag);
            let hash = |text: &str, size| {
                let mut hasher = Hasher::new(&expected, size);
                text.as_bytes().chunks(2).for_each(|bytes| hasher.update(bytes));
                hasher.check(&expected)
            };
            assert_eq!(hash("hello", 5), Ok(()), "{tag}");
            assert!(hash("hellp", 5).is_err_and(|found| found.len() == tag.len()), "{tag}");
        }
    }
}

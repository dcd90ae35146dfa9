//! A file's bytes, mapped or embedded, shared by all weights that are read from it.

use std::fs::File;
use std::sync::Arc;

use memmap2::Mmap;

/// Cheap to clone; the mapping ends with the last clone.
#[derive(Debug, Clone)]
pub enum Blob {
    /// A file in memory pages.
    Mapped(Arc<Mmap>),
    /// A part of this program.
    Embedded(&'static [u8]),
    /// Bytes that were made or changed after reading.
    Owned(Arc<[u8]>),
}

impl Blob {
    /// Bytes of this program.
    pub fn embedded(bytes: &'static [u8]) -> Self {
        Self::Embedded(bytes)
    }

    /// Maps the whole file read-only.
    ///
    /// # Errors
    /// Those of the system.
    pub fn map(file: &File) -> std::io::Result<Self> {
        // SAFETY: the mapping is private to this process and never written through. Another process could still shorten
        // or rewrite the file while it is mapped. Every loader that maps weights accepts that (weights are not edited
        // in place), and every value read from here is bounds-checked as untrusted data.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self::Mapped(Arc::new(map)))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

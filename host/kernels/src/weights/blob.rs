//! A file's bytes, mapped or embedded, shared by all weights that are read from it.

use std::fs::File;
use std::ops::Range;
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

    /// Gives the memory of these bytes back to the system. If they are read again, it reads them from the file again.
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the mapping is of a file and never written through, so nothing is lost.
            let _is_advice = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_bytes_are_read_again() {
        // Any file of several pages.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/linear/vector.rs");
        let bytes = std::fs::read(path).expect("a source file");
        assert!(bytes.len() > 8_192);
        for blob in [Blob::map(&File::open(path).expect("a file")).expect("mapped"), Blob::Owned(bytes.clone().into())]
        {
            assert!(blob.bytes() == bytes);
            for range in [0..bytes.len(), 5_000..9_001, 7..9, 12..12] {
                blob.release(range);
                assert!(blob.bytes() == bytes);
            }
        }
    }
}

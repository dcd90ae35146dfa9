//! `[keyvalue]`: where plugins store key-value buckets.

use std::path::{Path, PathBuf};

use firebox_contract::limits;

use super::super::reader::Section;

/// `[keyvalue]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValueConfig {
    /// The database, or `:memory:`.
    pub path: PathBuf,
    /// Maximum size of the database, in bytes.
    pub file_bytes_max: u64,
}

impl Default for KeyValueConfig {
    fn default() -> Self {
        Self { path: PathBuf::from(":memory:"), file_bytes_max: limits::KEYVALUE_FILE_BYTES_DEFAULT }
    }
}

impl KeyValueConfig {
    pub(in crate::config) fn read(mut section: Section<'_>, folder: &Path) -> Self {
        let default = Self::default();
        let path = section.text("path").filter(|path| path != ":memory:");
        let bytes = section.size("file_bytes_max", limits::KEYVALUE_FILE_BYTES_MIN..=limits::KEYVALUE_FILE_BYTES_MAX);
        section.finish();
        Self {
            path: path.map_or(default.path, |path| folder.join(path)),
            file_bytes_max: bytes.unwrap_or(default.file_bytes_max),
        }
    }
}

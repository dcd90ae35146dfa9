//! The source of a checkpoint's files: a folder, or the program itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebox_contract::limits;
use firebox_kernels::weights::Blob;

use crate::error::ModelError;
use crate::gguf::GgufFiles;

/// Files that are part of the program: `(name, bytes)`.
pub type EmbeddedFiles = &'static [(&'static str, &'static [u8])];

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Folder(PathBuf),
    Embedded(EmbeddedFiles),
    Gguf(Arc<GgufFiles>),
}

impl Source {
    /// The folder's path, or `embedded`.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Embedded(_) => "embedded".to_owned(),
            Self::Gguf(files) => files.path().display().to_string(),
        }
    }

    /// The path of the file `name` for messages.
    pub(crate) fn path_of(&self, name: &str) -> String {
        match self {
            Self::Folder(path) => path.join(name).display().to_string(),
            Self::Embedded(_) => format!("embedded/{name}"),
            Self::Gguf(files) => format!("{} ({name})", files.path().display()),
        }
    }

    /// The whole file, or `None` if there is none.
    ///
    /// # Errors
    /// `Read`; `TooLarge` when it has more than `limit` bytes.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Cow<'static, [u8]>>, ModelError> {
        let too_large = |found| ModelError::TooLarge { file: self.path_of(name), found, limit };
        let content = match self {
            Self::Embedded(files) => files.iter().find(|file| file.0 == name).map(|file| Cow::Borrowed(file.1)),
            Self::Gguf(files) => files.text(name).map(|text| Cow::Owned(text.to_vec())),
            Self::Folder(folder) => {
                read_at_most(&folder.join(name), limit).map_err(|error| self.read_error(name, &error))?.map(Cow::Owned)
            }
        };
        match content {
            Some(bytes) if is_pointer(&bytes) => Err(self.pointer(name)),
            Some(bytes) if bytes.len() as u64 > limit => Err(too_large(self.size(name).unwrap_or(bytes.len() as u64))),
            content => Ok(content),
        }
    }

    /// As [`Source::read`], as text.
    pub(crate) fn read_text(&self, name: &str, limit: u64) -> Result<Option<String>, ModelError> {
        let Some(bytes) = self.read(name, limit)? else { return Ok(None) };
        match String::from_utf8(bytes.into_owned()) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(ModelError::Broken { file: self.path_of(name), reason: error.to_string() }),
        }
    }

    /// Names of the files in `folder`, sorted; empty if there is no such folder. Names beyond
    /// `CHECKPOINT_FOLDER_FILES_MAX` are left out.
    ///
    /// # Errors
    /// `Read`.
    pub(crate) fn names_in(&self, folder: &str) -> Result<Vec<String>, ModelError> {
        let mut names = Vec::new();
        match self {
            Self::Embedded(files) => {
                let inside = files.iter().filter_map(|file| file.0.strip_prefix(folder)?.strip_prefix('/'));
                names.extend(inside.map(str::to_owned));
            }
            Self::Gguf(_) => {}
            Self::Folder(path) => {
                let entries = match std::fs::read_dir(path.join(folder)) {
                    Ok(entries) => entries,
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                        return Ok(names);
                    }
                    Err(error) => return Err(self.read_error(folder, &error)),
                };
                for entry in entries.take(limits::CHECKPOINT_FOLDER_FILES_MAX) {
                    let entry = entry.map_err(|error| self.read_error(folder, &error))?;
                    names.extend(entry.file_name().into_string());
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether there is a file or folder of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Embedded(files) => files.iter().any(|file| file.0 == name),
            Self::Gguf(files) => files.text(name).is_some(),
            Self::Folder(folder) => folder.join(name).exists(),
        }
    }

    /// The file as memory that is read on access.
    pub(crate) fn map(&self, name: &str) -> Result<Option<Blob>, ModelError> {
        match self.map_any(name)? {
            Some(blob) if is_pointer(blob.bytes()) => Err(self.pointer(name)),
            blob => Ok(blob),
        }
    }

    fn map_any(&self, name: &str) -> Result<Option<Blob>, ModelError> {
        match self {
            Self::Embedded(files) => Ok(files.iter().find(|file| file.0 == name).map(|file| Blob::embedded(file.1))),
            Self::Gguf(_) => Ok(None),
            Self::Folder(folder) => match File::open(folder.join(name)) {
                Ok(file) => Blob::map(&file).map(Some).map_err(|error| self.read_error(name, &error)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(self.read_error(name, &error)),
            },
        }
    }

    fn size(&self, name: &str) -> Option<u64> {
        match self {
            Self::Embedded(_) | Self::Gguf(_) => None,
            Self::Folder(folder) => std::fs::metadata(folder.join(name)).ok().map(|meta| meta.len()),
        }
    }

    fn pointer(&self, name: &str) -> ModelError {
        ModelError::Pointer { file: self.path_of(name) }
    }

    fn read_error(&self, name: &str, error: &std::io::Error) -> ModelError {
        ModelError::Read { file: self.path_of(name), reason: error.to_string() }
    }
}

/// The beginnings of git-lfs pointers: small files in the place of large ones.
const POINTERS: [&[u8]; 2] = [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];

/// Whether a file holds such a pointer.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    POINTERS.iter().any(|pointer| bytes.starts_with(pointer))
}

/// The file's first `limit + 1` bytes, or `None` if there is no such file.
fn read_at_most(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

//! GGUF version 3 as bytes (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use firebox_kernels::weights::StoredType;
use firebox_kernels::weights::blocks;

use crate::error::ModelError;
use crate::gguf::metadata::ValueKind;

/// Tensors start at multiples of this many bytes.
const ALIGNMENT: usize = 32;
const VERSION: u32 = 3;

/// Metadata and the list of tensors.
#[derive(Debug, Clone, Default)]
pub(super) struct WrittenTables {
    keys: Vec<Key>,
    tensors: Vec<WrittenTensor>,
}

#[derive(Debug, Clone)]
struct Key {
    name: String,
    kind: u32,
    value: Vec<u8>,
}

#[derive(Debug, Clone)]
struct WrittenTensor {
    name: String,
    /// Outermost dimension first.
    shape: Vec<usize>,
    kind: StoredType,
    bytes: u64,
}

fn text_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn list(kind: ValueKind, count: usize, values: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = [&kind.number().to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
    values.for_each(|value| bytes.extend(value));
    bytes
}

impl WrittenTables {
    /// Sets a key. A value that was there before is replaced.
    pub(super) fn raw(&mut self, name: &str, kind: u32, value: Vec<u8>) {
        self.keys.retain(|key| key.name != name);
        self.keys.push(Key { name: name.to_owned(), kind, value });
    }

    fn set(&mut self, name: &str, kind: ValueKind, value: Vec<u8>) {
        self.raw(name, kind.number(), value);
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.set(name, ValueKind::Text, text_bytes(value));
    }

    pub(super) fn number(&mut self, name: &str, value: u32) {
        self.set(name, ValueKind::U32, value.to_le_bytes().to_vec());
    }

    pub(super) fn float(&mut self, name: &str, value: f32) {
        self.set(name, ValueKind::F32, value.to_le_bytes().to_vec());
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.set(name, ValueKind::Bool, vec![u8::from(value)]);
    }

    pub(super) fn texts<'a>(&mut self, name: &str, values: impl ExactSizeIterator<Item = &'a str>) {
        self.set(name, ValueKind::List, list(ValueKind::Text, values.len(), values.map(text_bytes)));
    }

    pub(super) fn floats(&mut self, name: &str, values: &[f32]) {
        let bytes = values.iter().map(|value| value.to_le_bytes().to_vec());
        self.set(name, ValueKind::List, list(ValueKind::F32, values.len(), bytes));
    }

    pub(super) fn numbers(&mut self, name: &str, values: &[i32]) {
        let bytes = values.iter().map(|value| value.to_le_bytes().to_vec());
        self.set(name, ValueKind::List, list(ValueKind::I32, values.len(), bytes));
    }

    /// Adds a tensor; `shape` has the outermost dimension first, and rows of whole blocks.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], kind: StoredType) {
        let rows = shape.iter().rev().skip(1).product::<usize>();
        let row = shape.last().and_then(|width| kind.row_bytes(*width)).unwrap_or(0);
        let bytes = (rows as u64).saturating_mul(row as u64);
        self.tensors.push(WrittenTensor { name: name.to_owned(), shape: shape.to_vec(), kind, bytes });
    }

    /// Bytes of all tensors, without what fills the gaps.
    pub(super) fn data_bytes(&self) -> u64 {
        self.tensors.iter().map(|row| row.bytes).sum()
    }

    /// Bytes of the whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        let padded: u64 = self.tensors.iter().map(|row| padded(row.bytes)).sum();
        self.head().len() as u64 + padded
    }

    /// Bytes of each type, the largest first.
    pub(super) fn types(&self) -> Vec<(&'static str, u64)> {
        let mut types: Vec<(&'static str, u64)> = Vec::new();
        for row in &self.tensors {
            match types.iter_mut().find(|known| known.0 == row.kind.name()) {
                Some(known) => known.1 += row.bytes,
                None => types.push((row.kind.name(), row.bytes)),
            }
        }
        types.sort_by_key(|known| std::cmp::Reverse(known.1));
        types
    }

    /// The file up to its first tensor.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = b"GGUF".to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend((self.tensors.len() as u64).to_le_bytes());
        head.extend((self.keys.len() as u64).to_le_bytes());
        for key in &self.keys {
            head.extend(text_bytes(&key.name));
            head.extend(key.kind.to_le_bytes());
            head.extend(&key.value);
        }
        let mut offset = 0_u64;
        for row in &self.tensors {
            head.extend(text_bytes(&row.name));
            // At most four, as the reader has them.
            head.extend((row.shape.len() as u32).to_le_bytes());
            row.shape.iter().rev().for_each(|size| head.extend((*size as u64).to_le_bytes()));
            head.extend(blocks::number_of(row.kind).to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += padded(row.bytes);
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        head
    }
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT as u64)
}

/// A file that gets its name when it is complete, and is removed otherwise.
#[derive(Debug)]
pub(super) struct PartialFile {
    output: PathBuf,
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl PartialFile {
    /// Creates the file next to its later place, if the disk has room for `bytes`.
    ///
    /// # Errors
    /// `Write`.
    pub(super) fn create(output: &Path, bytes: u64) -> Result<Self, ModelError> {
        if let Some(free) = free_bytes(output).filter(|free| *free < bytes) {
            let reason = format!("the file needs {bytes} bytes, and the disk has {free} left");
            return Err(ModelError::Write { file: output.display().to_string(), reason });
        }
        let mut path = output.as_os_str().to_owned();
        path.push(format!(".{}.partial", std::process::id()));
        let path = PathBuf::from(path);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| failed(output, &error))?;
        Ok(Self { output: output.to_owned(), path, file: Some(BufWriter::new(file)) })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        let written = self.file.as_mut().map(|file| file.write_all(bytes));
        written.unwrap_or(Ok(())).map_err(|error| failed(&self.output, &error))
    }

    /// Writes the start of the file again, which has as many bytes as before. Nothing is written after it.
    pub(super) fn rewrite_head(&mut self, head: &[u8]) -> Result<(), ModelError> {
        let at_start = self.file.as_mut().map(|file| file.seek(SeekFrom::Start(0)));
        at_start.transpose().map_err(|error| failed(&self.output, &error))?;
        self.write(head)
    }

    /// Fills up to where the next tensor starts, after one of `written` bytes.
    pub(super) fn pad(&mut self, written: u64) -> Result<(), ModelError> {
        let count = (padded(written) - written) as usize;
        self.write(&[0; ALIGNMENT][..count])
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// `Write`.
    pub(super) fn finish(mut self) -> Result<(), ModelError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let stored = file.and_then(|file| file.sync_all());
        let named = stored.and_then(|()| std::fs::rename(&self.path, &self.output));
        named.map_err(|error| {
            let _ignored = std::fs::remove_file(&self.path);
            failed(&self.output, &error)
        })
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ignored = std::fs::remove_file(&self.path);
        }
    }
}

/// Bytes that the disk of `path` has left, where the system says.
#[cfg(target_os = "linux")]
fn free_bytes(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(target_os = "linux"))]
fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

fn failed(path: &Path, error: &std::io::Error) -> ModelError {
    ModelError::Write { file: path.display().to_string(), reason: error.to_string() }
}

//! The tables at the start of a GGUF file, version 2 or 3
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>): metadata and the list of tensors.
//!
//! Every length is compared with what is left of the file before anything is allocated.

use std::collections::HashSet;
use std::ops::Range;

use firebox_contract::limits;
use firebox_kernels::weights::Blob;

use crate::gguf::metadata::{List, Metadata, Value, ValueKind};

const MAGIC: &[u8] = b"GGUF";
/// Alignment of tensors where the file names none, in bytes.
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 20;
/// Dimensions of one tensor (a number).
const DIMENSIONS_MAX: u32 = 4;
/// Bytes of a key or of a tensor's name.
const KEY_BYTES_MAX: usize = 65_535;
const NAME_BYTES_MAX: usize = 256;
/// The smallest entries that the tables can have, in bytes: key length, type, value; name length, dimensions, one of them,
/// type, offset.
const KEY_BYTES_MIN: usize = 8 + 4 + 1;
const TENSOR_BYTES_MIN: usize = 8 + 4 + 8 + 4 + 8;

/// What the tables of one file hold.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
    /// Byte at which the tensors' data starts.
    pub(crate) data: usize,
    /// Bytes of which each tensor's offset is a multiple.
    pub(crate) alignment: u64,
}

/// One entry of the list of tensors. Nothing in it is checked against the data yet.
#[derive(Debug)]
pub(crate) struct TensorInfo {
    pub(crate) name: String,
    /// Outermost dimension first, as Hugging Face writes it; the file has the opposite order.
    pub(crate) shape: Vec<usize>,
    /// Number of the block type.
    pub(crate) kind: u32,
    /// Bytes from the start of the data.
    pub(crate) offset: u64,
}

/// Reads the tables of `blob`. `file` is the path for messages.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub(crate) fn read(file: &str, blob: &Blob) -> Result<Tables, String> {
    let mut cursor = Cursor { bytes: blob.bytes(), at: 0 };
    check_version(&mut cursor)?;
    let tensors = cursor.count("tensors", TENSOR_BYTES_MIN, limits::GGUF_TENSORS_MAX)?;
    let keys = cursor.count("metadata keys", KEY_BYTES_MIN, limits::GGUF_KEYS_MAX)?;
    let mut metadata = Metadata::new(file.to_owned(), blob.clone());
    for _ in 0..keys {
        let key = cursor.text(KEY_BYTES_MAX)?.to_owned();
        let kind = ValueKind::of(cursor.u32()?).map_err(|number| format!("key {key:?} is of unknown type {number}"))?;
        let value = cursor.value(kind, 0).map_err(|reason| format!("key {key:?}: {reason}"))?;
        if !metadata.insert(key.clone(), value) {
            return Err(format!("key {key:?} is there twice"));
        }
    }
    let tensors = read_tensors(&mut cursor, tensors)?;
    let alignment = alignment(&metadata)?;
    let data = (cursor.at as u64).checked_next_multiple_of(alignment).and_then(|data| usize::try_from(data).ok());
    let data = data.ok_or("its tables end behind the end of memory")?;
    Ok(Tables { metadata, tensors, data, alignment })
}

fn check_version(cursor: &mut Cursor<'_>) -> Result<(), String> {
    if cursor.take(MAGIC.len())? != MAGIC {
        return Err("it does not start with \"GGUF\"".to_owned());
    }
    match cursor.u32()? {
        2 | 3 => Ok(()),
        version if version.swap_bytes() <= 0xFFFF => {
            Err("it is big-endian, which is not supported; convert it again on a little-endian machine".to_owned())
        }
        version => Err(format!("it is of version {version}, supported are 2 and 3; convert the model again")),
    }
}

fn read_tensors(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<TensorInfo>, String> {
    let mut tensors = Vec::with_capacity(count);
    let mut names = HashSet::with_capacity(count);
    for _ in 0..count {
        let name = cursor.text(NAME_BYTES_MAX)?.to_owned();
        let tensor = read_tensor(cursor, name.clone()).map_err(|reason| format!("tensor {name:?}: {reason}"))?;
        if !names.insert(name.clone()) {
            return Err(format!("tensor {name:?} is there twice"));
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

fn read_tensor(cursor: &mut Cursor<'_>, name: String) -> Result<TensorInfo, String> {
    let dimensions = cursor.u32()?;
    if dimensions == 0 || dimensions > DIMENSIONS_MAX {
        return Err(format!("it has {dimensions} dimensions, expected 1 to {DIMENSIONS_MAX}"));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = cursor.u64()?;
        let size = usize::try_from(size).ok().filter(|size| *size > 0);
        shape.push(size.ok_or("one of its dimensions is 0 or too large")?);
    }
    shape.reverse();
    Ok(TensorInfo { name, shape, kind: cursor.u32()?, offset: cursor.u64()? })
}

fn alignment(metadata: &Metadata) -> Result<u64, String> {
    let key = "general.alignment";
    let alignment = metadata.number(key).map_err(|error| error.to_string())?.unwrap_or(ALIGNMENT_DEFAULT);
    if alignment == 0 || !alignment.is_multiple_of(8) || alignment > ALIGNMENT_MAX {
        return Err(format!("\"{key}\" is {alignment}, expected a multiple of 8 up to {ALIGNMENT_MAX}"));
    }
    Ok(alignment)
}

/// Reads little-endian values one after the other.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count);
        let bytes = end.and_then(|end| self.bytes.get(self.at..end));
        let bytes =
            bytes.ok_or_else(|| format!("it ends at byte {}, in the middle of its tables", self.bytes.len()))?;
        self.at += count;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?.first_chunk().copied().unwrap_or_default();
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, String> {
        let bytes = self.take(8)?.first_chunk().copied().unwrap_or_default();
        Ok(u64::from_le_bytes(bytes))
    }

    /// A number of entries of at least `bytes` each, which therefore must fit into what is left.
    fn count(&mut self, what: &str, bytes: usize, limit: usize) -> Result<usize, String> {
        let claimed = self.u64()?;
        let count = usize::try_from(claimed).ok().filter(|count| *count <= limit);
        let count = count.ok_or_else(|| format!("it claims {claimed} {what}, at most {limit} are allowed"))?;
        if count.saturating_mul(bytes) > self.left() {
            return Err(format!("it claims {count} {what}, more than its {} bytes can hold", self.bytes.len()));
        }
        Ok(count)
    }

    fn text(&mut self, limit: usize) -> Result<&'a str, String> {
        let range = self.text_range()?;
        let bytes = self.bytes.get(range).unwrap_or_default();
        if bytes.len() > limit {
            return Err(format!("a name has {} bytes, at most {limit} are allowed", bytes.len()));
        }
        std::str::from_utf8(bytes).map_err(|_| "a name is not UTF-8".to_owned())
    }

    fn text_range(&mut self) -> Result<Range<usize>, String> {
        let length = self.u64()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.left());
        let length = length.ok_or("a text is longer than the file")?;
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    fn value(&mut self, kind: ValueKind, depth: usize) -> Result<Value, String> {
        match kind {
            ValueKind::Text => Ok(Value::Text(self.text_range()?)),
            ValueKind::List => self.list(depth),
            kind => {
                let start = self.at;
                self.take(kind.bytes())?;
                Ok(Value::Scalar(kind, start))
            }
        }
    }

    /// A list is not copied: only where it lies is kept.
    fn list(&mut self, depth: usize) -> Result<Value, String> {
        if depth >= limits::GGUF_LIST_DEPTH_MAX {
            return Err(format!("lists are nested deeper than {}", limits::GGUF_LIST_DEPTH_MAX));
        }
        let kind =
            ValueKind::of(self.u32()?).map_err(|number| format!("the list's elements are of unknown type {number}"))?;
        // Walking over texts and lists takes time for each; numbers are skipped at once.
        let limit = match kind {
            ValueKind::Text | ValueKind::List => limits::MODEL_VOCABULARY_TOKENS_MAX,
            _ => usize::MAX,
        };
        let count = self.count("elements of a list", kind.bytes(), limit)?;
        let start = self.at;
        match kind {
            ValueKind::Text | ValueKind::List => {
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
            }
            kind => {
                self.take(count.saturating_mul(kind.bytes()))?;
            }
        }
        Ok(Value::List(List { kind, count, range: start..self.at }))
    }
}

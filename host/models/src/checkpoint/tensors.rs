//! Stored tensors: the place of their bytes, their type and their shape.

use std::collections::HashMap;
use std::ops::Range;

use firebox_kernels::weights::{Blob, StoredTensor, StoredType, blocks};

use crate::error::ModelError;

/// How the rows of a stored matrix are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As Hugging Face has them.
    AsStored,
    /// Of each head, first and second half in turns, for interleaved rotary embedding.
    Interleaved { heads: usize },
}

/// A tensor as a format's header describes it. The range is not trusted until [`TensorIndex::get`] has checked it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Index of the file.
    pub(crate) file: usize,
    pub(crate) range: Range<usize>,
    /// `Err` has the name of a type that cannot be computed with (token ids, masks).
    pub(crate) dtype: Result<StoredType, String>,
    pub(crate) shape: Vec<usize>,
    pub(crate) rows: RowOrder,
    /// Whether its bytes are known to be those that were checked when they were written.
    pub(crate) is_checked: bool,
}

/// All tensors of a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct TensorIndex {
    /// `(path for messages, content)`.
    pub(crate) files: Vec<(String, Blob)>,
    pub(crate) entries: HashMap<String, Entry>,
}

impl TensorIndex {
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether two entries are equal in type, shape and bytes.
    pub(crate) fn same(&self, a: &Entry, b: &Entry) -> bool {
        let bytes = |entry: &Entry| self.files.get(entry.file)?.1.bytes().get(entry.range.clone());
        a.dtype == b.dtype && a.shape == b.shape && bytes(a) == bytes(b)
    }

    /// The tensor called `name`, which must have exactly this shape.
    ///
    /// # Errors
    /// `MissingTensor`, or `Tensor` when type, shape or size are not right.
    pub(crate) fn get(&self, name: &str, shape: &[usize], checkpoint: &str) -> Result<StoredTensor, ModelError> {
        let missing = || ModelError::MissingTensor {
            tensor: name.to_owned(),
            expected: format!("{shape:?}"),
            checkpoint: checkpoint.to_owned(),
        };
        let entry = self.entries.get(name).ok_or_else(missing)?;
        let (file, blob) = self.files.get(entry.file).ok_or_else(missing)?;
        let wrong = |what, found: String, expected: String| ModelError::Tensor {
            tensor: name.to_owned(),
            file: file.clone(),
            what,
            found,
            expected,
        };
        let dtype = entry.dtype.clone().map_err(|found| wrong("type", found, blocks::readable()))?;
        if entry.shape != shape {
            return Err(wrong("shape", format!("{:?}", entry.shape), format!("{shape:?}")));
        }
        let row = shape.last().and_then(|weights| dtype.row_bytes(*weights));
        let rows = shape.iter().rev().skip(1).try_fold(1_usize, |rows, dim| rows.checked_mul(*dim));
        let size = row.zip(rows).and_then(|(row, rows)| row.checked_mul(rows));
        let stored = blob.bytes().get(entry.range.clone()).map(<[u8]>::len);
        if size.is_none() || stored != size {
            return Err(wrong("size", format!("{stored:?} bytes"), format!("{size:?} bytes")));
        }
        let tensor = StoredTensor::new(blob.clone(), entry.range.clone(), dtype, shape.to_vec());
        let odd = if entry.is_checked { None } else { tensor.first_odd_value() };
        if let Some(odd) = odd {
            return Err(wrong("the value", odd.to_string(), "finite numbers; the weights are broken".to_owned()));
        }
        match entry.rows {
            RowOrder::AsStored => Ok(tensor),
            RowOrder::Interleaved { heads } => tensor.halves_apart(heads).ok_or_else(|| {
                wrong("rows", format!("{shape:?}"), format!("a number of rows that {heads} heads divide in halves"))
            }),
        }
    }
}

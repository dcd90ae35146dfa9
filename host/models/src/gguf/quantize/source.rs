//! What becomes a file: the tensors of a GGUF file or of a Hugging Face folder, and metadata for them.

use std::path::Path;

use firebox_kernels::weights::{StoredTensor, StoredType};

use crate::checkpoint::tensors::TensorIndex;
use crate::checkpoint::{self, Checkpoint};
use crate::error::ModelError;
use crate::gguf::quantize::convert;
use crate::gguf::quantize::mixture::ModelFacts;
use crate::gguf::quantize::writer::WrittenTables;
use crate::gguf::view;

/// A model that can be written.
pub(super) struct QuantizeSource {
    pub(super) label: String,
    pub(super) index: TensorIndex,
    pub(super) items: Vec<Item>,
    pub(super) tables: WrittenTables,
    pub(super) facts: ModelFacts,
}

/// One tensor of the file.
#[derive(Debug)]
pub(super) struct Item {
    /// Its name in the file.
    pub(super) name: String,
    /// Its name in the index.
    pub(super) key: String,
    pub(super) shape: Vec<usize>,
    /// Heads whose rows are stored as halves and written in turns.
    pub(super) heads: Option<usize>,
    /// Whether it is written in F32 where it is not quantized.
    pub(super) widens: bool,
    /// The type that it is written in.
    pub(super) kind: StoredType,
}

impl Item {
    /// The type that it has now.
    ///
    /// # Errors
    /// `Unsupported` types by their names.
    pub(super) fn stored(&self, index: &TensorIndex) -> Result<StoredType, ModelError> {
        let entry = index.entries.get(&self.key);
        let kind = entry.map(|entry| entry.dtype.clone()).unwrap_or_else(|| Err("none".to_owned()));
        kind.map_err(|found| {
            ModelError::Usage(format!("tensor \"{}\" is of type {found}, which cannot be read", self.name))
        })
    }

    /// The type in which it stays, from the type that it has.
    pub(super) fn kept(&self, stored: StoredType) -> StoredType {
        if self.widens { StoredType::F32 } else { stored }
    }

    /// The tensor in the order of rows that the file has.
    ///
    /// # Errors
    /// Those of the index.
    pub(super) fn read(&self, index: &TensorIndex, label: &str) -> Result<StoredTensor, ModelError> {
        let tensor = index.get(&self.key, &self.shape, label)?;
        match self.heads {
            None => Ok(tensor),
            Some(heads) => tensor.interleaved(heads).ok_or_else(|| ModelError::Tensor {
                tensor: self.key.clone(),
                file: label.to_owned(),
                what: "rows",
                found: format!("{:?}", self.shape),
                expected: format!("a number of rows that {heads} heads divide in halves"),
            }),
        }
    }
}

impl QuantizeSource {
    /// Opens a GGUF file, or a folder.
    ///
    /// # Errors
    /// Those of reading either.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        match checkpoint::gguf_file(path)? {
            Some(file) => Self::of_gguf(&file),
            None => convert::source(Checkpoint::open(path)?),
        }
    }

    /// Everything of the file, with the keys of a split left out since one file is written.
    fn of_gguf(path: &Path) -> Result<Self, ModelError> {
        let (metadata, index) = view::open_plain(path)?;
        let mut tables = WrittenTables::default();
        let kept = |key: &str| !key.starts_with("split.") && key != "general.alignment";
        for (key, kind, value) in metadata.raw().into_iter().filter(|(key, ..)| kept(key)) {
            tables.raw(key, kind, value);
        }
        let architecture = metadata.text("general.architecture")?.unwrap_or_default().to_owned();
        let number = |name: &str| metadata.number(&format!("{architecture}.{name}"));
        let count = |value: Option<u64>| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(0);
        let facts = ModelFacts {
            layers: count(number("block_count")?),
            experts: count(number("expert_count")?),
            is_tied: !index.entries.contains_key("output.weight"),
        };
        let mut items: Vec<Item> = index.entries.iter().map(|(name, entry)| plain(name, &entry.shape)).collect();
        items.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
        Ok(Self { label: path.display().to_string(), index, items, tables, facts })
    }
}

fn plain(name: &str, shape: &[usize]) -> Item {
    Item {
        name: name.to_owned(),
        key: name.to_owned(),
        shape: shape.to_vec(),
        heads: None,
        widens: false,
        kind: StoredType::F32,
    }
}

/// Tensors of the whole model first, then those of each layer.
pub(super) fn order(name: &str) -> (Option<u32>, &str) {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    match layer.and_then(|(layer, part)| Some((layer.parse().ok()?, part))) {
        Some((layer, part)) => (Some(layer), part),
        None => (None, name),
    }
}

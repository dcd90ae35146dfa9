//! Quantized files from full-precision models: `firebox models quantize` writes GGUF files for any program, and
//! `--quantize` keeps the quantized matrices of a folder in a cache, where [`repack`] keeps those of GGUF files, too.
//!
//! [`mixture`] says which type each tensor becomes, [`writer`] lays out a file, [`source`] reads what becomes one, and
//! [`convert`] turns the files of a Hugging Face folder into metadata. Weights pass through in strips, so that memory does
//! not depend on the size of the model.

mod cache;
mod checksum;
mod convert;
mod mixture;
mod repack;
mod source;
mod strips;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

pub use cache::QuantizedCache;
use firebox_kernels::weights::StoredType;
pub use mixture::{Mixture, mixtures};

use crate::checkpoint::tensors::TensorIndex;
use crate::error::ModelError;
use crate::gguf::quantize::checksum::{CHECKSUMS, Checksum};
use crate::gguf::quantize::source::Item;
use crate::gguf::quantize::writer::WrittenTables;

/// How far writing is.
#[derive(Debug, Clone, Copy)]
pub struct QuantizeProgress {
    /// Tensors that are written.
    pub tensors: usize,
    /// All tensors.
    pub tensors_total: usize,
    /// Bytes of weights that are written.
    pub bytes: u64,
    /// All bytes of weights.
    pub bytes_total: u64,
}

/// Options of [`QuantizePlan::of`].
#[derive(Debug, Clone, Copy)]
pub struct QuantizeOptions {
    /// The types of the tensors.
    pub mixture: &'static Mixture,
    /// Whether weights that are quantized already may be quantized again, which adds to their error.
    pub requantize: bool,
}

/// A file that can be written: its tables are made and checked, and no weights are read yet.
#[derive(Debug)]
pub struct QuantizePlan {
    /// What the source is called in messages.
    label: String,
    index: TensorIndex,
    items: Vec<Item>,
    tables: WrittenTables,
    /// Whether the file is one of the cache, which has checksums.
    is_cached: bool,
}

impl QuantizePlan {
    /// Reads the tables of the model at `input`, a GGUF file or a Hugging Face folder, and chooses the type of each tensor.
    ///
    /// # Errors
    /// Names the file, key or tensor that is not right or that a GGUF file cannot hold; `Usage` for a model that is quantized
    /// already.
    pub fn of(input: &Path, options: QuantizeOptions) -> Result<Self, ModelError> {
        let source = source::QuantizeSource::open(input)?;
        let mut tables = source.tables;
        tables.number("general.file_type", options.mixture.file_type);
        if options.mixture.is_quantized() {
            tables.number("general.quantization_version", QUANTIZATION_VERSION);
        }
        let mut items = Vec::with_capacity(source.items.len());
        for mut item in source.items {
            item.kind = target(&source.index, &item, &source.facts, options)?;
            tables.tensor(&item.name, &item.shape, item.kind);
            items.push(item);
        }
        Ok(Self { label: source.label, index: source.index, items, tables, is_cached: false })
    }

    /// Bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tables.file_bytes()
    }

    /// Bytes of each type of tensors, the largest first.
    #[must_use]
    pub fn types(&self) -> Vec<(&'static str, u64)> {
        self.tables.types()
    }

    /// Writes the file. It appears under its name when it is complete; after an error there is none.
    ///
    /// # Errors
    /// `Write` for a file that cannot be written; the errors of reading a tensor; `Exceeds` for a weight that its type cannot
    /// hold.
    pub fn write(&self, output: &Path, progress: &mut dyn FnMut(QuantizeProgress)) -> Result<(), ModelError> {
        let mut file = writer::PartialFile::create(output, self.bytes())?;
        file.write(&self.tables.head())?;
        let mut sums = Vec::new();
        let mut state = QuantizeProgress {
            tensors: 0,
            tensors_total: self.items.len(),
            bytes: 0,
            bytes_total: self.tables.data_bytes(),
        };
        for item in &self.items {
            let tensor = item.read(&self.index, &self.label)?;
            let (mut written, mut sum) = (0, self.is_cached.then(Checksum::default));
            strips::write(&tensor, item.kind, &item.name, &mut |bytes| {
                written += bytes.len() as u64;
                state.bytes += bytes.len() as u64;
                progress(state);
                if let Some(sum) = &mut sum {
                    sum.add(bytes);
                }
                file.write(bytes)
            })?;
            file.pad(written)?;
            sums.extend(sum.map(Checksum::finish));
            state.tensors += 1;
            progress(state);
        }
        if self.is_cached {
            let mut tables = self.tables.clone();
            tables.text(CHECKSUMS, &checksum::text(&sums));
            file.rewrite_head(&tables.head())?;
        }
        file.finish()
    }
}

/// The version of the block layouts.
const QUANTIZATION_VERSION: u32 = 2;

/// The type that a tensor becomes.
fn target(
    index: &TensorIndex,
    item: &Item,
    facts: &mixture::ModelFacts,
    options: QuantizeOptions,
) -> Result<StoredType, ModelError> {
    let stored = item.stored(index)?;
    let Some(kind) = options.mixture.target(&item.name, &item.shape, facts) else { return Ok(item.kept(stored)) };
    match stored {
        StoredType::Blocks(_) if stored != kind && !options.requantize => Err(ModelError::Usage(format!(
            "tensor \"{}\" is quantized already ({}), and quantizing it again adds to its error: take the model in full \
             precision, or allow it with --requantize",
            item.name,
            stored.name()
        ))),
        _ => Ok(kind),
    }
}

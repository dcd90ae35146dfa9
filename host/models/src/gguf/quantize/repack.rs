//! Quantized matrices repacked for the CPU. They are kept with those that were quantized at load, and mapped.

use std::fs::File;
use std::mem::replace;

use firebox_contract::limits;
use firebox_kernels::linear::repacking_pays;
use firebox_kernels::weights::{Blob, StoredType};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensors::RowOrder;
use crate::error::ModelError;
use crate::gguf::names;
use crate::gguf::quantize::cache::{QuantizedCache, made_from};
use crate::gguf::quantize::source::Item;
use crate::gguf::quantize::{QuantizePlan, QuantizeProgress};

/// Changes when repacked blocks have another layout.
const LAYOUT: &str = "repacked by 8 rows, layout 2";

impl Checkpoint {
    /// Replaces those matrices for which the CPU has faster kernels by repacked ones: mapped from the cache, where they are
    /// put the first time. Everything else stays as it was, and so does all of it after an error. Two processes may do this
    /// at once.
    ///
    /// # Errors
    /// `Exceeds` where the cache is too small; `Write`, and `Read` where a file of the checkpoint is gone.
    pub fn repack(
        &mut self,
        cache: &QuantizedCache,
        progress: &mut dyn FnMut(QuantizeProgress),
    ) -> Result<(), ModelError> {
        self.repack_from(cache, limits::REPACKED_BYTES_MIN, progress)
    }

    /// The same where the matrices have at least `least` bytes together.
    pub(super) fn repack_from(
        &mut self,
        cache: &QuantizedCache,
        least: u64,
        progress: &mut dyn FnMut(QuantizeProgress),
    ) -> Result<(), ModelError> {
        let items = items(self);
        let bytes = |item: &Item| self.tensors.entries.get(&item.key).map_or(0, |entry| entry.range.len() as u64);
        if items.is_empty() || items.iter().map(bytes).sum::<u64>() < least {
            return Ok(());
        }
        let made_from = made_from(self, LAYOUT)?;
        // Mapped anew, so that the pages that are read here are not kept.
        let fresh = self.tensors.files.iter().map(map_again).collect::<Result<Vec<_>, _>>()?;
        let index = std::mem::take(&mut self.tensors);
        let mut plan = QuantizePlan::of_matrices(self.source.label(), index, items, &made_from);
        let files = replace(&mut plan.index.files, fresh);
        let made = cache.fill(&made_from, &plan, progress);
        self.tensors = plan.index;
        self.tensors.files = files;
        let matrices = made?;
        let first = self.tensors.files.len();
        self.tensors.files.extend(matrices.files);
        for item in plan.items {
            let own = self.tensors.entries.get_mut(&item.key);
            if let (Some(entry), Some(made)) = (own, matrices.entries.get(&item.name)) {
                (entry.file, entry.range) = (first + made.file, made.range.clone());
                (entry.dtype, entry.rows, entry.is_checked) = (Ok(item.kind), RowOrder::AsStored, made.is_checked);
            }
        }
        Ok(())
    }
}

fn map_again((path, blob): &(String, Blob)) -> Result<(String, Blob), ModelError> {
    let failed = |error: std::io::Error| ModelError::Read { file: path.clone(), reason: error.to_string() };
    match blob {
        Blob::Mapped(_) => Ok((path.clone(), File::open(path).and_then(|file| Blob::map(&file)).map_err(failed)?)),
        Blob::Embedded(_) | Blob::Owned(_) => Ok((path.clone(), blob.clone())),
    }
}

/// The matrices that are repacked, and those of experts.
fn items(checkpoint: &Checkpoint) -> Vec<Item> {
    let entries = &checkpoint.tensors.entries;
    let name = |key: &str| names::gguf(key).unwrap_or_else(|| key.to_owned());
    let has_output = entries.keys().any(|key| name(key) == "output.weight");
    let mut items = Vec::new();
    for (key, entry) in entries {
        // Rows of embeddings that no product reads are looked up one by one.
        let is_looked_up = has_output && name(key) == "token_embd.weight";
        let (Ok(stored), [.., rows, _]) = (&entry.dtype, entry.shape.as_slice()) else { continue };
        if let (StoredType::Blocks(kind), true, false) = (stored, repacking_pays(*stored, *rows), is_looked_up) {
            let (name, shape, kind) = (key.clone(), entry.shape.clone(), StoredType::Repacked(kind));
            items.push(Item { key: name.clone(), name, shape, heads: None, widens: false, kind });
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    items
}

//! A Hugging Face folder as tables of GGUF. What was made is read back and compared before a file is written, so that a model
//! with something that GGUF has no place for is refused, and not written as another model.

mod config;
mod tokenizer;

use firebox_kernels::weights::Blob;
use firebox_kernels::weights::StoredType;
use serde_json::Value;

use crate::arch;
use crate::arch::DecoderConfig;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::tensors::{Entry, RowOrder};
use crate::error::ModelError;
use crate::gguf::config::{Architecture, Tensors};
use crate::gguf::metadata::Metadata;
use crate::gguf::quantize::mixture::ModelFacts;
use crate::gguf::quantize::source::{Item, QuantizeSource, order};
use crate::gguf::quantize::writer::WrittenTables;
use crate::gguf::tokenizer::Vocabulary;
use crate::gguf::{names, reader};

/// What each rotary frequency is divided by.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The tables of a folder, and its tensors under the names of GGUF.
///
/// # Errors
/// `Architecture` for a class that is not written; names the key, tensor or part of the tokenizer that GGUF has no place for.
pub(super) fn source(checkpoint: Checkpoint) -> Result<QuantizeSource, ModelError> {
    let label = checkpoint.source.label();
    let file = checkpoint.config()?;
    let row = arch::decoder(arch::name_of(&file)?)?;
    let decoder = (row.config)(&file)?;
    let architecture = config::architecture(row.names)?;
    let mut items = items(&checkpoint, architecture, &decoder)?;
    let is_tied = !items.iter().any(|item| item.name == "output.weight");
    let mut tables = WrittenTables::default();
    tables.text("general.architecture", architecture.name);
    tables.text("general.type", "model");
    tables.text("general.name", &checkpoint.name());
    let factors = config::keys(&mut tables, architecture, &decoder, &file)?;
    tokenizer::keys(&mut tables, &checkpoint, decoder.vocabulary)?;
    let tensors = Tensors {
        vocabulary: decoder.vocabulary,
        has_output: !is_tied,
        has_attention_bias: items.iter().any(|item| item.name == "blk.0.attn_q.bias"),
        has_mlp_bias: items.iter().any(|item| item.name == "blk.0.ffn_up.bias"),
        rope_factors: factors.clone(),
        long_factors: None,
    };
    check(&tables, architecture, &tensors, row.config, &decoder, &checkpoint)?;
    let facts = ModelFacts { layers: decoder.layers.len(), experts: 0, is_tied };
    let mut index = checkpoint.tensors;
    if let Some(factors) = factors {
        let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        let entry = Entry {
            file: index.files.len(),
            range: 0..bytes.len(),
            dtype: Ok(StoredType::F32),
            shape: vec![factors.len()],
            rows: RowOrder::AsStored,
            is_checked: false,
        };
        items.push(item(ROPE_FACTORS.to_owned(), ROPE_FACTORS.to_owned(), entry.shape.clone(), None));
        index.files.push((label.clone(), Blob::Owned(bytes.into())));
        index.entries.insert(ROPE_FACTORS.to_owned(), entry);
    }
    items.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
    Ok(QuantizeSource { label, index, items, tables, facts })
}

fn item(name: String, key: String, shape: Vec<usize>, heads: Option<usize>) -> Item {
    Item { name, key, shape, heads, widens: true, kind: StoredType::F32 }
}

/// Every tensor under its name in GGUF.
fn items(
    checkpoint: &Checkpoint,
    architecture: &Architecture,
    decoder: &DecoderConfig,
) -> Result<Vec<Item>, ModelError> {
    let mut items: Vec<Item> = Vec::new();
    for (key, entry) in &checkpoint.tensors.entries {
        // A buffer that older versions saved, and a copy of the embedding.
        if key.ends_with("rotary_emb.inv_freq") || decoder.tied_embeddings && key == "lm_head.weight" {
            continue;
        }
        let name = names::gguf(key).ok_or_else(|| {
            let label = checkpoint.source.label();
            ModelError::Usage(format!(
                "\"{label}\": tensor \"{key}\" has no place in a GGUF file of {}",
                architecture.name
            ))
        })?;
        let heads = if name.contains("attn_q") { decoder.heads } else { decoder.kv_heads };
        let heads = (architecture.is_interleaved && names::is_rotated(&name)).then_some(heads);
        if let Some(other) = items.iter().find(|item| item.name == name) {
            let reason = format!("tensors \"{}\" and \"{key}\" are one tensor of a GGUF file", other.key);
            return Err(ModelError::Broken { file: checkpoint.source.label(), reason });
        }
        items.push(item(name, key.clone(), entry.shape.clone(), heads));
    }
    Ok(items)
}

/// Reads the tables back as any program would, and compares what they say with the folder.
fn check(
    tables: &WrittenTables,
    architecture: &Architecture,
    tensors: &Tensors,
    read: fn(&JsonFile) -> Result<DecoderConfig, ModelError>,
    decoder: &DecoderConfig,
    checkpoint: &Checkpoint,
) -> Result<(), ModelError> {
    let label = checkpoint.source.label();
    let metadata = metadata_of(tables, &label)?;
    let written = crate::gguf::config::config(architecture, &metadata, tensors)?;
    let reread = read(&config_file(&label, written))?;
    config::compare(decoder, &reread, &label)?;
    let vocabulary = Vocabulary::read(&metadata)?;
    tokenizer::compare(checkpoint, &vocabulary.tokenizer()?)
}

/// The metadata of a file that is not written yet.
fn metadata_of(tables: &WrittenTables, label: &str) -> Result<Metadata, ModelError> {
    let blob = Blob::Owned(tables.head().into());
    let read = reader::read(label, &blob).map_err(|reason| ModelError::Broken { file: label.to_owned(), reason })?;
    Ok(read.metadata)
}

fn config_file(label: &str, value: Value) -> JsonFile {
    JsonFile::of_value(format!("{label} (as written)"), "config.json", value)
}

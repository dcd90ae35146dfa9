//! What a checkpoint is, without loading its weights: for people who choose a model.

use std::collections::BTreeMap;

use firebox_contract::limits;
use firebox_kernels::attention::KvCacheType;
use serde_json::Value;

use crate::arch;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::source::Source;
use crate::error::ModelError;

/// The description of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointDescription {
    /// Its name: the folder's, or the file's.
    pub name: String,
    /// `GGUF` or `safetensors`.
    pub format: &'static str,
    /// The class of the model, as in `config.json`.
    pub architecture: String,
    /// What it does.
    pub kind: ModelKind,
    /// Elements of all tensors.
    pub parameters: u64,
    /// The types of its tensors, the one with the most bytes first.
    pub types: Vec<TypeShare>,
    /// Its tokenizer, if it has one.
    pub tokenizer: Option<TokenizerDescription>,
    /// The number of characters of its chat template, if it has one.
    pub chat_template: Option<usize>,
    /// The longest context, in tokens.
    pub context_tokens: usize,
    /// Bytes of the KV cache for each token on the CPU, in the type that was asked for; 0 for encoders.
    pub cache_token_bytes: u64,
    /// What a user should know.
    pub warnings: Vec<String>,
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// It generates text.
    Decoder,
    /// It makes vectors of texts.
    Encoder,
}

/// The tensors of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeShare {
    /// `BF16`, `Q4_K`, …
    pub name: String,
    /// Their number.
    pub tensors: usize,
    /// Their elements.
    pub parameters: u64,
    /// Their bytes in the files.
    pub bytes: u64,
}

/// A tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerDescription {
    /// `BPE`, `Unigram`, `WordPiece` or `WordLevel`.
    pub model: String,
    /// Its tokens, added ones included.
    pub tokens: usize,
}

impl CheckpointDescription {
    /// Bytes of the weights in the files.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.types.iter().map(|share| share.bytes).sum()
    }

    /// Bytes of weights and KV cache for a conversation of `context` tokens.
    #[must_use]
    pub fn memory_bytes(&self, context: usize) -> u64 {
        self.stored_bytes().saturating_add(self.cache_token_bytes.saturating_mul(context as u64))
    }
}

/// Describes a checkpoint whose KV cache has this type. No weights are read.
///
/// # Errors
/// Names the file or key that is not right, or the architecture and the supported ones.
pub fn describe(checkpoint: &Checkpoint, kv_cache: KvCacheType) -> Result<CheckpointDescription, ModelError> {
    let file = checkpoint.config()?;
    let architecture = arch::name_of(&file)?.to_owned();
    let (kind, context_tokens, cache_token_bytes) = match arch::decoder(&architecture) {
        Ok(row) => {
            let config = (row.config)(&file)?;
            (ModelKind::Decoder, config.positions, arch::cache_token_bytes(&config, kv_cache))
        }
        Err(unknown) => {
            arch::encoder(&architecture).map_err(|_| unknown)?;
            let range = 1..=limits::CONTEXT_TOKENS_MAX;
            (ModelKind::Encoder, file.number_or("max_position_embeddings", 512, range)?, 0)
        }
    };
    file.warn_unknown(Some(&architecture));
    let types = types(checkpoint);
    Ok(CheckpointDescription {
        name: checkpoint.name(),
        format: if matches!(checkpoint.source, Source::Gguf(_)) { "GGUF" } else { "safetensors" },
        architecture,
        kind,
        parameters: types.iter().map(|share| share.parameters).sum(),
        types,
        tokenizer: tokenizer(checkpoint)?,
        chat_template: chat_template(checkpoint)?,
        context_tokens,
        cache_token_bytes,
        warnings: checkpoint.warnings().list(),
    })
}

fn types(checkpoint: &Checkpoint) -> Vec<TypeShare> {
    let mut shares: BTreeMap<&str, TypeShare> = BTreeMap::new();
    for entry in checkpoint.tensors.entries.values() {
        let name = entry.dtype.as_ref().map_or_else(String::as_str, |dtype| dtype.name());
        let share = shares.entry(name).or_insert_with(|| TypeShare {
            name: name.chars().take(limits::CHECKPOINT_WARNING_NAME_CHARACTERS_MAX).collect(),
            tensors: 0,
            parameters: 0,
            bytes: 0,
        });
        share.tensors += 1;
        let elements = entry.shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size as u64));
        share.parameters = share.parameters.saturating_add(elements.unwrap_or(u64::MAX));
        share.bytes += entry.range.len() as u64;
    }
    let mut shares: Vec<TypeShare> = shares.into_values().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

/// The model and the size of the vocabulary in `tokenizer.json`.
fn tokenizer(checkpoint: &Checkpoint) -> Result<Option<TokenizerDescription>, ModelError> {
    let name = "tokenizer.json";
    let Some(bytes) = checkpoint.source.read(name, limits::TOKENIZER_JSON_BYTES_MAX)? else { return Ok(None) };
    let broken = |reason: String| ModelError::Broken { file: checkpoint.source.path_of(name), reason };
    let json: Value = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let model = json.get("model").ok_or_else(|| broken("it has no \"model\"".to_owned()))?;
    let size = |value: &Value| match value {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        _ => 0,
    };
    let vocabulary = model.get("vocab").map_or(0, size);
    // Added tokens may also be part of the vocabulary, so the ids beyond it are counted.
    let added = json.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let beyond =
        added.filter(|token| token.get("id").and_then(Value::as_u64).is_some_and(|id| id >= vocabulary as u64));
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    let kind = kind.chars().take(limits::CHECKPOINT_WARNING_NAME_CHARACTERS_MAX).collect();
    Ok(Some(TokenizerDescription { model: kind, tokens: vocabulary + beyond.count() }))
}

/// The characters of the chat template: of its own file, else of `tokenizer_config.json`.
fn chat_template(checkpoint: &Checkpoint) -> Result<Option<usize>, ModelError> {
    if let Some(text) = checkpoint.text("chat_template.jinja", limits::CHAT_TEMPLATE_BYTES_MAX)? {
        return Ok(Some(text.chars().count()));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let Some(file) = checkpoint.json(name)? else { continue };
        match file.get("chat_template") {
            Some(Value::String(text)) => return Ok(Some(text.chars().count())),
            // Several named templates; the default one counts.
            Some(Value::Array(list)) => {
                let text = |entry: &Value| Some(entry.get("template")?.as_str()?.chars().count());
                return Ok(list.iter().find_map(text));
            }
            _ => {}
        }
    }
    Ok(None)
}

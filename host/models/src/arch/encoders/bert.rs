//! BERT (Devlin et al. 2019).

use crate::arch::encoder::config::{self, ConfigKeys, EncoderConfig, FirstPosition, check_bert, read_types};
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The keys of `config.json` that BERT reads beyond those of all architectures.
pub(super) const KEYS: &[&str] = &["layer_norm_eps", "type_vocab_size", "position_embedding_type", "is_decoder"];

pub(super) const TENSORS: EncoderTensors = EncoderTensors {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: "embeddings.token_type_embeddings",
    norm: "embeddings.LayerNorm",
    layer: "encoder.layer.{}.",
    qkv: &["attention.self.query", "attention.self.key", "attention.self.value"],
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    wide: &["intermediate.dense"],
    narrow: "output.dense",
    output_norm: "output.LayerNorm",
    final_norm: "",
    relative_bias: "",
};

pub(super) fn config(file: &JsonFile) -> Result<EncoderConfig, ModelError> {
    let config = read(file, &config::BERT, FirstPosition::Zero)?;
    Ok(EncoderConfig { reads_types: true, ..config })
}

/// A config of BERT's class or of one that is derived from it.
pub(super) fn read(file: &JsonFile, keys: &ConfigKeys, first: FirstPosition) -> Result<EncoderConfig, ModelError> {
    check_bert(file)?;
    Ok(EncoderConfig { token_types: read_types(file)?, ..keys.read(file, Some(first))? })
}

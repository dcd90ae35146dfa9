//! Llama (Touvron et al. 2023) as Hugging Face has it: the base all others here are told as differences from.

use crate::arch::config::{Biases, DecoderConfig, Defaults};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `LlamaConfig`.
const DEFAULTS: Defaults =
    Defaults { feed_forward: 11_008, vocabulary: 32_000, positions: 2_048, kv_heads: None, head_dim: None };

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: file.flag("mlp_bias", false)? };
    Ok(config)
}

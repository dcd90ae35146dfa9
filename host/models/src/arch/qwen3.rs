//! Qwen 3 (Yang et al. 2025): Llama with RMS norms on the heads of q and k, and heads of a size of their own.

use crate::arch::config::{Biases, DecoderConfig};
use crate::arch::qwen2;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Size of a head in Hugging Face's Qwen3Config when the file has none.
const HEAD_DIM_DEFAULT: usize = 128;

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read_with_head_dim(file, Some(HEAD_DIM_DEFAULT))?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: false };
    config.windows = qwen2::windows(file, config.layers)?;
    config.head_norm = true;
    Ok(config)
}

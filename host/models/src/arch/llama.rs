//! Llama (Touvron et al. 2023) as Hugging Face has it: the base all others here are told as differences from.

use crate::arch::config::{Biases, DecoderConfig};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file)?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: file.flag("mlp_bias", false)? };
    Ok(config)
}

//! Qwen 3 (Yang et al. 2025): Llama with RMS norms over the heads of q and k, and a head size that is not
//! `hidden / heads`.

use crate::arch::decoder::{Biases, ConfigDefaults, DecoderConfig, QkNorms};
use crate::arch::decoders::qwen2;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Qwen3Config`.
const DEFAULTS: ConfigDefaults = ConfigDefaults { head_dim: Some(128), ..qwen2::DEFAULTS };

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: false };
    config.set_windows(qwen2::windows(file, config.layers.len())?);
    config.qk_norms = QkNorms::Heads;
    Ok(config)
}

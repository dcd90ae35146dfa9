//! OLMo 2 (Walsh et al. 2024): norms after each part in place of those before it, and norms of queries and keys over all
//! heads together.

use crate::arch::decoder::{Around, Biases, ConfigDefaults, DecoderConfig, DecoderTensors, QkNorms};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Olmo2Config`.
const DEFAULTS: ConfigDefaults = ConfigDefaults { vocabulary: 50_304, norm_epsilon: 1e-5, ..llama::DEFAULTS };

pub(super) const TENSORS: DecoderTensors = DecoderTensors {
    attention_norms: Around { before: None, after: Some("post_attention_layernorm") },
    mlp_norms: Around { before: None, after: Some("post_feedforward_layernorm") },
    ..llama::TENSORS
};

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: false };
    config.qk_norms = QkNorms::Whole;
    Ok(config)
}

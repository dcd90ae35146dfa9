//! Phi-3 (Abdin et al. 2024): Llama with q, k and v in one matrix, gate and up in another, and a window if asked for.

use crate::arch::decoder::{ConfigDefaults, DecoderConfig, DecoderTensors, Projections, read_window};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Phi3Config`.
const DEFAULTS: ConfigDefaults = ConfigDefaults {
    hidden: 3_072,
    feed_forward: 8_192,
    vocabulary: 32_064,
    positions: 4_096,
    original_positions: Some(4_096),
    norm_epsilon: 1e-5,
    ..llama::DEFAULTS
};

pub(super) const TENSORS: DecoderTensors = DecoderTensors {
    qkv: Projections::Fused("self_attn.qkv_proj"),
    gate_up: Projections::Fused("mlp.gate_up_proj"),
    ..llama::TENSORS
};

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    config.windows = vec![read_window(file, None)?; config.layers];
    Ok(config)
}

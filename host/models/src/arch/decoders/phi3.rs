//! Phi-3 and Phi-4 (Abdin et al. 2024): Llama with q, k and v in one matrix, gate and up in another, a window if asked
//! for, and rotary embedding of a part of each head in Phi-4-mini.

use crate::arch::decoder::{ConfigDefaults, DecoderConfig, DecoderTensors, Projections, RotaryDefaults, read_window};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Phi3Config`.
const DEFAULTS: ConfigDefaults = ConfigDefaults {
    hidden: 3_072,
    feed_forward: 8_192,
    vocabulary: 32_064,
    positions: 4_096,
    rotary: RotaryDefaults { original: Some(4_096), may_be_partial: true, ..RotaryDefaults::USUAL },
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
    config.set_windows(vec![read_window(file, None)?; config.layers.len()]);
    Ok(config)
}

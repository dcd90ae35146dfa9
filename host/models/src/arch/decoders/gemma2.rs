//! Gemma 2 (Riviere et al. 2024): norms before and after each part, soft caps, and a sliding window in every other layer.

use crate::arch::decoder::{
    Around, Biases, ConfigDefaults, DecoderConfig, DecoderTensors, RotaryDefaults, read_window, read_windows,
};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Gemma2Config`.
pub(super) const DEFAULTS: ConfigDefaults = ConfigDefaults {
    hidden: 2_304,
    layers: 26,
    heads: 8,
    feed_forward: 9_216,
    vocabulary: 256_000,
    positions: 8_192,
    kv_heads: Some(4),
    head_dim: Some(256),
    norm_epsilon: 1e-6,
    rotary: RotaryDefaults::USUAL,
    tied_embeddings: true,
    activation: ("hidden_activation", "gelu_pytorch_tanh"),
};
const QUERY_SCALAR_DEFAULT: f64 = 256.0;
const WINDOW_DEFAULT: usize = 4_096;
/// The soft caps of attention's scores and of logits.
const CAPS_DEFAULT: [Option<f64>; 2] = [Some(50.0), Some(30.0)];

/// The keys that it reads.
pub(super) const KEYS: &[&str] = &[
    "hidden_activation",
    "attention_bias",
    "sliding_window",
    "layer_types",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "use_bidirectional_attention",
    "norm_offset",
];

pub(super) const TENSORS: DecoderTensors = DecoderTensors {
    attention_norms: Around { before: Some("input_layernorm"), after: Some("post_attention_layernorm") },
    mlp_norms: Around { before: Some("pre_feedforward_layernorm"), after: Some("post_feedforward_layernorm") },
    ..llama::TENSORS
};

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    complete(file, &mut config, CAPS_DEFAULT)?;
    let window = read_window(file, Some(WINDOW_DEFAULT))?;
    config.set_windows(read_windows(file, window, config.layers.len(), |layer| layer.is_multiple_of(2))?);
    Ok(config)
}

/// The parts that Gemma 2 and 3 have in common.
#[allow(clippy::cast_possible_truncation, reason = "the ranges are far inside f32")]
pub(super) fn complete(file: &JsonFile, config: &mut DecoderConfig, caps: [Option<f64>; 2]) -> Result<(), ModelError> {
    if file.flag("use_bidirectional_attention", false)? {
        let reason = "is true, which is for embeddings, but the model is loaded to generate text";
        return Err(file.wrong("use_bidirectional_attention", reason));
    }
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: false };
    let cap = |key: &str, default: Option<f64>| match file.given(key) {
        None => Ok(default),
        Some(_) => file.optional_float(key, 1e-3..=1e6),
    };
    let caps = [cap("attn_logit_softcapping", caps[0])?, cap("final_logit_softcapping", caps[1])?];
    let scalar = file.float_or("query_pre_attn_scalar", QUERY_SCALAR_DEFAULT, 1e-3..=1e9)?;
    config.scores.scale = scalar.powf(-0.5) as f32;
    [config.scores.cap, config.logit_cap] = caps.map(|cap| cap.map(|cap| cap as f32));
    // Checkpoints store the difference from 1. GGUF files store the sum, and their config says so.
    config.norm_offset = file.float_or("norm_offset", 1.0, 0.0..=1.0)? as f32;
    config.multipliers.embeddings = (config.hidden as f32).sqrt();
    Ok(())
}

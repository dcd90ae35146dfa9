//! SmolLM 3 (Bakouch et al. 2025): Llama without rotary embedding in every fourth layer.

use serde_json::Value;

use crate::arch::decoder::{Biases, ConfigDefaults, DecoderConfig, Rotary, RotaryDefaults, read_window, read_windows};
use crate::arch::decoders::llama;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// Those of `SmolLM3Config`.
const DEFAULTS: ConfigDefaults = ConfigDefaults {
    hidden: 2_048,
    layers: 36,
    heads: 16,
    vocabulary: 128_256,
    positions: 32_768,
    kv_heads: Some(4),
    rotary: RotaryDefaults { theta: 2_000_000.0, ..RotaryDefaults::USUAL },
    tied_embeddings: true,
    ..llama::DEFAULTS
};
const INTERVAL_DEFAULT: usize = 4;

/// The keys that it reads.
pub(super) const KEYS: &[&str] = &[
    "attention_bias",
    "mlp_bias",
    "no_rope_layers",
    "no_rope_layer_interval",
    "use_sliding_window",
    "sliding_window",
    "layer_types",
];

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: file.flag("mlp_bias", false)? };
    let rotated = rotated_layers(file, config.layers.len())?;
    let window = if file.flag("use_sliding_window", false)? { read_window(file, None)? } else { None };
    let without = |layer: usize| rotated.get(layer) == Some(&false);
    config.set_windows(read_windows(file, window, config.layers.len(), without)?);
    config.rotaries.push(Rotary::none(config.head_dim));
    config.layers.iter_mut().zip(&rotated).for_each(|(layer, rotated)| layer.rotary = usize::from(!rotated));
    Ok(config)
}

/// Whether each layer rotates: 1 and 0 in `no_rope_layers`, or all but each at the interval.
fn rotated_layers(file: &JsonFile, layers: usize) -> Result<Vec<bool>, ModelError> {
    let key = "no_rope_layers";
    let Some(list) = file.get(key) else {
        let interval = file.number_or("no_rope_layer_interval", INTERVAL_DEFAULT, 1..=usize::MAX)?;
        return Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect());
    };
    let flag = |value: &Value| value.as_bool().or_else(|| value.as_u64().map(|value| value != 0));
    let flags: Option<Vec<bool>> = list.as_array().and_then(|list| list.iter().map(flag).collect());
    let flags = flags.filter(|flags| flags.len() >= layers);
    flags.ok_or_else(|| file.wrong(key, format!("is {}, expected {layers} numbers 0 or 1", shorten(list))))
}

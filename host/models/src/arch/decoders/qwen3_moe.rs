//! Qwen 3 with mixtures of experts (Yang et al. 2025).

use firebox_contract::limits;
use serde_json::Value;

use crate::arch::decoder::{Biases, ConfigDefaults, DecoderConfig, ExpertsConfig, QkNorms, read_window};
use crate::arch::decoders::{mixtral, qwen2};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Qwen3MoeConfig`.
const DEFAULTS: ConfigDefaults =
    ConfigDefaults { hidden: 2_048, layers: 24, feed_forward: 6_144, kv_heads: Some(4), ..qwen2::DEFAULTS };
const EXPERTS_DEFAULT: usize = 128;
const CHOSEN_DEFAULT: usize = 8;
const FEED_FORWARD_DEFAULT: usize = 768;
const WINDOW_DEFAULT: usize = 4_096;

/// The keys that it reads.
pub(super) const KEYS: &[&str] = &[
    "attention_bias",
    "use_sliding_window",
    "sliding_window",
    "moe_intermediate_size",
    "norm_topk_prob",
    "decoder_sparse_step",
    "mlp_only_layers",
];

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: false };
    config.qk_norms = QkNorms::Heads;
    let window = if file.flag("use_sliding_window", false)? { read_window(file, Some(WINDOW_DEFAULT))? } else { None };
    config.set_windows(vec![window; config.layers.len()]);
    let step = file.number_or("decoder_sparse_step", 1, 1..=usize::MAX)?;
    let dense = file.get("mlp_only_layers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (index, layer) in config.layers.iter_mut().enumerate() {
        let is_dense = dense.iter().any(|layer| layer.as_u64() == Some(index as u64));
        layer.has_experts = (index + 1).is_multiple_of(step) && !is_dense;
    }
    let (count, chosen) = mixtral::experts(file, [EXPERTS_DEFAULT, CHOSEN_DEFAULT])?;
    let wide = file.number_or("moe_intermediate_size", FEED_FORWARD_DEFAULT, 1..=limits::MODEL_HIDDEN_MAX)?;
    let normalised = file.flag("norm_topk_prob", false)?;
    config.experts = Some(ExpertsConfig { count, chosen, feed_forward: wide, normalised });
    Ok(config)
}

//! Mixtral (Jiang et al. 2024): Mistral with a mixture of experts in every layer.

use firebox_contract::limits;

use crate::arch::decoder::{
    ConfigDefaults, DecoderConfig, DecoderTensors, ExpertTensors, ExpertsConfig, RotaryDefaults, read_window,
};
use crate::arch::decoders::{llama, mistral};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `MixtralConfig`.
const DEFAULTS: ConfigDefaults = ConfigDefaults {
    norm_epsilon: 1e-5,
    rotary: RotaryDefaults { theta: 1_000_000.0, ..RotaryDefaults::USUAL },
    ..mistral::DEFAULTS
};
const EXPERTS_DEFAULT: usize = 8;
const CHOSEN_DEFAULT: usize = 2;

/// The keys that [`experts`] reads.
pub(super) const EXPERT_KEYS: &[&str] = &["num_local_experts", "num_experts", "num_experts_per_tok"];

pub(super) const TENSORS: DecoderTensors = DecoderTensors {
    experts: ExpertTensors {
        router: "block_sparse_moe.gate",
        experts: "block_sparse_moe.experts.",
        parts: ["w1", "w3", "w2"],
    },
    ..llama::TENSORS
};

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    config.set_windows(vec![read_window(file, None)?; config.layers.len()]);
    config.layers.iter_mut().for_each(|layer| layer.has_experts = true);
    let (count, chosen) = experts(file, [EXPERTS_DEFAULT, CHOSEN_DEFAULT])?;
    config.experts = Some(ExpertsConfig { count, chosen, feed_forward: config.feed_forward, normalised: true });
    Ok(config)
}

/// The number of experts, and how many of them a token goes to.
pub(super) fn experts(file: &JsonFile, [count, chosen]: [usize; 2]) -> Result<(usize, usize), ModelError> {
    let range = 1..=limits::MODEL_EXPERTS_MAX;
    // The class has both names.
    let count = match file.optional_number("num_local_experts", range.clone())? {
        Some(count) => count,
        None => file.number_or("num_experts", count, range)?,
    };
    Ok((count, file.number_or("num_experts_per_tok", chosen.min(count), 1..=count)?))
}

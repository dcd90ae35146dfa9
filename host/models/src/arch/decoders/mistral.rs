//! Mistral (Jiang et al. 2023): Llama with a sliding window in every layer. Ministral has it in some layers, and Ministral 3
//! has none, and queries that grow with their positions.

use serde_json::json;

use crate::arch::decoder::{ConfigDefaults, DecoderConfig, QueryGrowth, Rotary, read_window, read_windows};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `MistralConfig`.
pub(super) const DEFAULTS: ConfigDefaults =
    ConfigDefaults { feed_forward: 14_336, positions: 131_072, kv_heads: Some(8), ..llama::DEFAULTS };
/// Those of `Ministral3Config`.
const DEFAULTS_3: ConfigDefaults = ConfigDefaults {
    layers: 34,
    vocabulary: 131_072,
    positions: 262_144,
    head_dim: Some(128),
    norm_epsilon: 1e-5,
    ..DEFAULTS
};
const WINDOW_DEFAULT: usize = 4_096;

/// The keys that [`ministral`] reads.
pub(super) const MINISTRAL_KEYS: &[&str] = &["sliding_window", "layer_types"];

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    config.set_windows(vec![read_window(file, Some(WINDOW_DEFAULT))?; config.layers.len()]);
    Ok(config)
}

pub(super) fn ministral(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    let window = read_window(file, Some(WINDOW_DEFAULT))?;
    config.set_windows(read_windows(file, window, config.layers.len(), |_| true)?);
    Ok(config)
}

pub(super) fn ministral3(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let settings = json!({
        "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16_384,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
    });
    let file = &if file.has("rope_scaling") { file.clone() } else { file.or_default("rope_parameters", settings) };
    let mut config = DecoderConfig::read(file, DEFAULTS_3)?;
    config.set_windows(vec![read_window(file, None)?; config.layers.len()]);
    let settings = file.optional_object("rope_parameters")?;
    if let Some(settings) = settings
        && let Some(beta) = settings.optional_float("llama_4_scaling_beta", 0.0..=1e3)?.filter(|beta| *beta > 0.0)
    {
        let tokens = Rotary::original_positions(file, &settings, DEFAULTS_3.rotary)?.unwrap_or(config.positions);
        #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
        let beta = beta as f32;
        config.query_growth = Some(QueryGrowth { beta, tokens });
    }
    Ok(config)
}

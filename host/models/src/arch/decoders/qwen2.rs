//! Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases on q, k and v, and sliding windows in the upper layers if asked
//! for.

use crate::arch::decoder::{Biases, ConfigDefaults, DecoderConfig, read_window, read_windows};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Qwen2Config`.
pub(super) const DEFAULTS: ConfigDefaults = ConfigDefaults {
    feed_forward: 22_016,
    vocabulary: 151_936,
    positions: 32_768,
    kv_heads: Some(32),
    ..llama::DEFAULTS
};
const FULL_LAYERS_DEFAULT: usize = 28;
const WINDOW_DEFAULT: usize = 4_096;

/// The keys that [`windows`] reads.
pub(super) const WINDOW_KEYS: &[&str] = &["sliding_window", "use_sliding_window", "max_window_layers", "layer_types"];

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    config.biases = Biases { qkv: true, output: false, mlp: false };
    config.set_windows(windows(file, config.layers.len())?);
    Ok(config)
}

/// The window of each layer: by `layer_types` if the config has it, else by `max_window_layers`, from which transformers
/// computes `layer_types`.
pub(super) fn windows(file: &JsonFile, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = if file.flag("use_sliding_window", false)? { read_window(file, Some(WINDOW_DEFAULT))? } else { None };
    let full = match file.has("layer_types") {
        true => FULL_LAYERS_DEFAULT,
        false => file.number_or("max_window_layers", FULL_LAYERS_DEFAULT, 0..=usize::MAX)?,
    };
    read_windows(file, window, layers, |layer| layer >= full)
}

//! Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases on q, k and v, and sliding windows in the upper layers if asked
//! for.

use serde_json::Value;

use crate::arch::decoder::{Biases, ConfigDefaults, DecoderConfig, read_window};
use crate::arch::decoders::llama;
use crate::checkpoint::json::{JsonFile, shorten};
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
    config.windows = windows(file, config.layers)?;
    Ok(config)
}

/// The window of each layer: by `layer_types` if the config has it, else by `max_window_layers`, from which transformers
/// computes `layer_types`.
pub(super) fn windows(file: &JsonFile, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = if file.flag("use_sliding_window", false)? { read_window(file, Some(WINDOW_DEFAULT))? } else { None };
    let Some(types) = file.get("layer_types") else {
        let full = file.number_or("max_window_layers", FULL_LAYERS_DEFAULT, 0..=usize::MAX)?;
        return Ok((0..layers).map(|layer| window.filter(|_| layer >= full)).collect());
    };
    let types = types.as_array().filter(|list| list.len() == layers);
    let types = types.ok_or_else(|| file.wrong("layer_types", format!("is not a list of {layers} names")))?;
    types.iter().map(|kind| window_of(file, kind, window)).collect()
}

fn window_of(file: &JsonFile, kind: &Value, window: Option<usize>) -> Result<Option<usize>, ModelError> {
    match kind.as_str() {
        // "attention" is an older name.
        Some("full_attention" | "attention") => Ok(None),
        Some("sliding_attention") if window.is_some() => Ok(window),
        Some("sliding_attention") => {
            Err(file.wrong("layer_types", "asks for \"sliding_attention\", but the config has no window in use"))
        }
        _ => Err(ModelError::Unsupported {
            file: file.file.clone(),
            key: "layer_types",
            found: shorten(kind).trim_matches('"').to_owned(),
            supported: "full_attention, sliding_attention",
        }),
    }
}

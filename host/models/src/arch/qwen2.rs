//! Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases on q, k and v, and windows on the upper layers if asked for.

use firebox_contract::limits;
use serde_json::Value;

use crate::arch::config::{Biases, DecoderConfig};
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file)?;
    config.biases = Biases { qkv: true, output: false, mlp: false };
    config.windows = windows(file, config.layers)?;
    Ok(config)
}

/// The window of each layer: by `layer_types` where the config has them, else by `max_window_layers`, as
/// transformers fills `layer_types` in.
pub(super) fn windows(file: &JsonFile, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    if !file.flag("use_sliding_window", false)? {
        return Ok(vec![None; layers]);
    }
    let window = file.optional_number("sliding_window", 1..=limits::CONTEXT_TOKENS_MAX)?;
    let Some(types) = file.get("layer_types") else {
        // 28 is the default of Hugging Face's Qwen2Config and Qwen3Config.
        let full = file.optional_number("max_window_layers", 0..=limits::MODEL_LAYERS_MAX)?.unwrap_or(28);
        return Ok((0..layers).map(|layer| window.filter(|_| layer >= full)).collect());
    };
    let types = types.as_array().filter(|list| list.len() == layers);
    let types = types.ok_or_else(|| file.wrong("layer_types", format!("is not a list of {layers} names")))?;
    types.iter().map(|kind| window_of(file, kind, window)).collect()
}

fn window_of(file: &JsonFile, kind: &Value, window: Option<usize>) -> Result<Option<usize>, ModelError> {
    match kind.as_str() {
        Some("full_attention") => Ok(None),
        Some("sliding_attention") => Ok(window),
        _ => Err(ModelError::Unsupported {
            file: file.file.clone(),
            key: "layer_types",
            found: shorten(kind).trim_matches('"').to_owned(),
            supported: "full_attention, sliding_attention",
        }),
    }
}

//! Mistral (Jiang et al. 2023): Llama where every layer sees only a window of the past.

use crate::arch::config::{DecoderConfig, Defaults, read_window};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `MistralConfig`.
const DEFAULTS: Defaults =
    Defaults { feed_forward: 14_336, vocabulary: 32_000, positions: 131_072, kv_heads: Some(8), head_dim: None };

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    config.windows = vec![read_window(file)?; config.layers];
    Ok(config)
}

//! Mistral (Jiang et al. 2023): Llama with a sliding window in every layer.

use crate::arch::decoder::{ConfigDefaults, DecoderConfig, read_window};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `MistralConfig`.
const DEFAULTS: ConfigDefaults =
    ConfigDefaults { feed_forward: 14_336, positions: 131_072, kv_heads: Some(8), ..llama::DEFAULTS };
const WINDOW_DEFAULT: usize = 4_096;

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    config.windows = vec![read_window(file, Some(WINDOW_DEFAULT))?; config.layers];
    Ok(config)
}

//! Mistral (Jiang et al. 2023): Llama where every layer sees only a window of the past.

use firebox_contract::limits;

use crate::arch::config::DecoderConfig;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file)?;
    let window = file.optional_number("sliding_window", 1..=limits::CONTEXT_TOKENS_MAX)?;
    config.windows = vec![window; config.layers];
    Ok(config)
}

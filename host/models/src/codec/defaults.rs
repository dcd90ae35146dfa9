//! `generation_config.json` as sampling defaults.
//!
//! Follows transformers' `GenerationConfig`: without `do_sample` a model is greedy, and with it the values that the
//! file leaves out are temperature 1, top-k 50, top-p 1. Without the file nothing is set and the host's own defaults
//! apply.

use firebox_contract::{SamplingOverrides, limits};

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;

/// `top_k` of transformers' `GenerationConfig` when sampling is on and the file has none.
const TOP_K_DEFAULT: usize = 50;

/// Reads the file, if there is one.
///
/// # Errors
/// `Config` for a value of the wrong type or out of range.
pub(super) fn read(checkpoint: &Checkpoint) -> Result<SamplingOverrides, ModelError> {
    let Some(file) = checkpoint.json("generation_config.json")? else { return Ok(SamplingOverrides::default()) };
    let float = |key: &str, low: f64, high: f64| -> Result<Option<f32>, ModelError> {
        #[allow(clippy::cast_possible_truncation, reason = "the ranges are far inside f32")]
        Ok(file.optional_float(key, low..=high)?.map(|value| value as f32))
    };
    let mut defaults = SamplingOverrides {
        repetition_penalty: float("repetition_penalty", 1e-3, 1e3)?,
        max_tokens: file.optional_number("max_new_tokens", 1..=usize::MAX)?,
        ..SamplingOverrides::default()
    };
    if !file.flag("do_sample", false)? {
        defaults.temperature = Some(0.0);
        return Ok(defaults);
    }
    defaults.temperature = float("temperature", 0.0, f64::from(limits::TEMPERATURE_MAX))?.or(Some(1.0));
    let top_k = file.optional_number("top_k", 0..=limits::MODEL_VOCABULARY_MAX)?;
    defaults.top_k = Some(top_k.unwrap_or(TOP_K_DEFAULT));
    defaults.top_p = float("top_p", f64::MIN_POSITIVE, 1.0)?.or(Some(1.0));
    defaults.min_p = float("min_p", 0.0, 1.0)?;
    Ok(defaults)
}

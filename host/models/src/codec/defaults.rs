//! `generation_config.json` as sampling defaults.
//!
//! Follows transformers' `GenerationConfig`: without `do_sample` a model is greedy. With it, absent values are
//! temperature 1, top-k 50 and top-p 1. Without the file no default is set, and the host's own defaults apply. An
//! unusable default does not stop a model: it is named in a warning, and left out or cut to its range.

use std::ops::RangeInclusive;

use firebox_contract::{SamplingOverrides, limits};
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// `top_k` of transformers' `GenerationConfig` when sampling is on and the file has none.
const TOP_K_DEFAULT: usize = 50;
/// Maximum stop strings of the file. A request adds its own.
const STOP_STRINGS_MAX: usize = limits::STOP_STRINGS_MAX / 2;

/// Reads the file, if there is one.
///
/// # Errors
/// If the file exists and cannot be read.
pub(super) fn read(checkpoint: &Checkpoint) -> Result<SamplingOverrides, ModelError> {
    let Some(file) = checkpoint.json("generation_config.json")? else { return Ok(SamplingOverrides::default()) };
    let defaults = SamplingOverrides {
        repetition_penalty: float(&file, "repetition_penalty", f32::MIN_POSITIVE..=f32::MAX),
        max_tokens: whole(&file, "max_new_tokens", 1.0),
        stop: stop_strings(&file),
        ..SamplingOverrides::default()
    };
    if !is_true(&file, "do_sample") {
        return Ok(SamplingOverrides { temperature: Some(0.0), ..defaults });
    }
    // Only a value below 1 has an effect, and 0 keeps only the most likely token.
    let top_p = float(&file, "top_p", 0.0..=f32::MAX).map(|top_p| top_p.clamp(f32::MIN_POSITIVE, 1.0));
    Ok(SamplingOverrides {
        temperature: temperature(&file).or(Some(1.0)),
        top_k: Some(top_k(&file).unwrap_or(TOP_K_DEFAULT)),
        top_p: top_p.or(Some(1.0)),
        min_p: float(&file, "min_p", 0.0..=1.0),
        ..defaults
    })
}

/// A finite number. Any other value is named in a warning and left out.
fn number(file: &JsonFile, key: &str) -> Option<f64> {
    let value = file.get(key)?;
    let number = value.as_f64().filter(|number| number.is_finite());
    if number.is_none() {
        file.warn(key, &format!("is {}, which is no number; it is not used", shorten(value)));
    }
    number
}

/// A finite number in `range`. Any other value is named in a warning and left out.
fn float(file: &JsonFile, key: &str, range: RangeInclusive<f32>) -> Option<f32> {
    #[allow(clippy::cast_possible_truncation, reason = "what f32 cannot hold is infinite and outside of every range")]
    let value = number(file, key)? as f32;
    if !range.contains(&value) {
        file.warn(key, &format!("is \"{value}\", which is out of range; it is not used"));
        return None;
    }
    Some(value)
}

fn temperature(file: &JsonFile) -> Option<f32> {
    let value = float(file, "temperature", 0.0..=f32::MAX)?;
    if value > limits::TEMPERATURE_MAX {
        file.warn("temperature", &format!("is \"{value}\"; {} is the highest, and is used", limits::TEMPERATURE_MAX));
    }
    Some(value.min(limits::TEMPERATURE_MAX))
}

/// 0 and negative numbers switch top-k off.
fn top_k(file: &JsonFile) -> Option<usize> {
    match file.get("top_k")?.as_f64() {
        Some(value) if value <= 0.0 => Some(0),
        _ => whole(file, "top_k", 1.0).map(|top_k| top_k.min(limits::MODEL_VOCABULARY_TOKENS_MAX)),
    }
}

/// A whole number of at least `low`, which may be written as `50.0`.
fn whole(file: &JsonFile, key: &str, low: f64) -> Option<usize> {
    let value = number(file, key)?;
    if value < low || value.fract() != 0.0 {
        file.warn(key, &format!("is \"{value}\", which is not a whole number of at least {low}; it is not used"));
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and a cast saturates")]
    Some(value as usize)
}

/// Whether Python considers the value true, which is all that transformers checks.
fn is_true(file: &JsonFile, key: &str) -> bool {
    match file.get(key) {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(value) => {
            let truth = !matches!(value.as_f64(), Some(0.0)) && !matches!(value.as_str(), Some(""));
            file.warn(key, &format!("is {}, expected true or false; it is read as {truth}", shorten(value)));
            truth
        }
    }
}

/// One text or a list of them.
fn stop_strings(file: &JsonFile) -> Vec<String> {
    let key = "stop_strings";
    let Some(value) = file.get(key) else { return Vec::new() };
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let good = |text: &&str| !text.is_empty() && text.len() <= limits::STOP_STRING_BYTES_MAX;
    let texts = list.iter().filter_map(|text| text.as_str().filter(good));
    let texts: Vec<String> = texts.take(STOP_STRINGS_MAX).map(str::to_owned).collect();
    if texts.len() < list.len() {
        file.warn(key, &format!("has entries that cannot be used; {} of {} are", texts.len(), list.len()));
    }
    texts
}

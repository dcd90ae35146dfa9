//! Finds the reason why the library cannot read a `tokenizer.json`. The library only reports that no kind of part fits.

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use crate::metadata;

/// The part that cannot be read, by name and type, and the library's `reason`.
pub(super) fn explain(bytes: &[u8], reason: String) -> String {
    let Ok(Value::Object(file)) = serde_json::from_slice::<Value>(bytes) else { return reason };
    // The library stops at an unknown key.
    let known = |key: &str| metadata::table_of("tokenizer.json").is_some_and(|table| table.knows(key));
    if let Some(key) = file.keys().find(|key| !known(key)) {
        return format!("\"{key}\" is no part of it that this version knows ({reason})");
    }
    let part = |key: &str, steps: &str, reads: fn(&Value) -> bool| {
        let value = file.get(key).filter(|value| !value.is_null())?;
        Some(format!("\"{key}\": {}", unreadable(value, steps, reads)?))
    };
    let added = || {
        let tokens = file.get("added_tokens")?.as_array()?;
        let wrong = tokens.iter().find(|token| !reads::<AddedToken>(token) || token["id"].as_u64().is_none())?;
        Some(format!("\"added_tokens\": {} cannot be read", crate::checkpoint::json::shorten(wrong)))
    };
    let found = part("normalizer", "normalizers", reads::<NormalizerWrapper>)
        .or_else(|| part("pre_tokenizer", "pretokenizers", reads::<PreTokenizerWrapper>))
        .or_else(|| part("post_processor", "processors", reads::<PostProcessorWrapper>))
        .or_else(|| part("decoder", "decoders", reads::<DecoderWrapper>))
        .or_else(|| part("model", "", reads::<ModelWrapper>))
        .or_else(added);
    match found {
        Some(found) => format!("{found} ({reason})"),
        None if !file.contains_key("model") => format!("\"model\" is missing ({reason})"),
        None => reason,
    }
}

/// The innermost part of `value` that cannot be read. `steps` is the key of the list in a sequence.
fn unreadable(value: &Value, steps: &str, reads: fn(&Value) -> bool) -> Option<String> {
    if reads(value) {
        return None;
    }
    let inner = value.get(steps).and_then(Value::as_array).into_iter().flatten();
    let inner = inner.filter_map(|step| unreadable(step, steps, reads)).next();
    let kind = value.get("type").map(crate::checkpoint::json::shorten);
    let named = || kind.map_or_else(|| "a part without a type".to_owned(), |kind| format!("a part of type {kind}"));
    Some(inner.unwrap_or_else(|| format!("{} cannot be read by this version", named())))
}

fn reads<T: DeserializeOwned>(value: &Value) -> bool {
    let value = value.clone();
    std::panic::catch_unwind(|| serde_json::from_value::<T>(value).is_ok()).unwrap_or(false)
}

//! The keys of `config.json` about sliding windows and kinds of layers.

use firebox_contract::limits;
use serde_json::Value;

use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// `sliding_window` of the classes that have one: null means no window, and an absent key means `default`.
pub(crate) fn read_window(file: &JsonFile, default: Option<usize>) -> Result<Option<usize>, ModelError> {
    if file.given("sliding_window").is_none() {
        return Ok(default);
    }
    let window = file.optional_number("sliding_window", 1..=usize::MAX)?;
    Ok(window.map(|window| window.min(limits::CONTEXT_TOKENS_MAX)))
}

/// Whether each of the layers has the sliding window of the model: by `layer_types`, or as `default` says of its number.
///
/// # Errors
/// `Config` for a list that is not right, or that asks for a window where the model has none; `Unsupported` for another
/// kind of layer.
pub(crate) fn read_windows(
    file: &JsonFile,
    window: Option<usize>,
    layers: usize,
    default: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, ModelError> {
    let Some(types) = file.get("layer_types") else {
        return Ok((0..layers).map(|layer| window.filter(|_| default(layer))).collect());
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

//! The settings of rotary embedding: `rope_scaling` of `config.json`, and the width of heads.

use serde_json::{Value, json};

use crate::error::ModelError;
use crate::gguf::config::{Keys, as_written};

/// `head_dim`, and `partial_rotary_factor` where only a part of it is rotated. Keys and values must be of one width.
pub(super) fn head_dim(keys: &Keys<'_>, may_be_partial: bool) -> Result<(Option<u64>, Option<f64>), ModelError> {
    let (own, values) = (keys.number("attention.key_length")?, keys.number("attention.value_length")?);
    let rotated = keys.number("rope.dimension_count")?;
    if may_be_partial {
        let by_head = keys.needed("embedding_length")? / keys.needed("attention.head_count")?.max(1);
        let width = own.unwrap_or(by_head).max(1);
        let part = rotated.filter(|rotated| *rotated < width).map(|rotated| rotated as f64 / width as f64);
        return Ok((own, part));
    }
    let first = own.or(rotated);
    for (name, other) in [("attention.value_length", values), ("rope.dimension_count", rotated)] {
        if let (Some(first), Some(other)) = (first, other)
            && first != other
        {
            let reason = format!("is {other} where keys have {first}, which is not supported");
            return Err(keys.wrong(name, reason));
        }
    }
    Ok((first, None))
}

/// `rope_scaling`, from tensors of factors or from the metadata.
pub(super) fn scaling(keys: &Keys<'_>) -> Result<Option<Value>, ModelError> {
    let kind = keys.text("rope.scaling.type")?.unwrap_or("none");
    let factor = keys.float("rope.scaling.factor")?;
    let original = keys.number("rope.scaling.original_context_length")?;
    let attention = keys.float("rope.scaling.attn_factor")?;
    if let Some([short, long]) = &keys.tensors.long_factors {
        return Ok(Some(json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "attention_factor": as_written(attention.unwrap_or(1.0)), "original_max_position_embeddings": original,
        })));
    }
    if let Some(factors) = &keys.tensors.rope_factors {
        // One set of factors for every length, and no scaling of the angles.
        return Ok(Some(json!({
            "rope_type": "longrope", "short_factor": factors, "long_factor": factors, "factor": 1.0,
            "attention_factor": 1.0, "original_max_position_embeddings": keys.number("context_length")?,
        })));
    }
    // Older files.
    let factor = factor.or(keys.float("rope.scale_linear")?);
    match (kind, factor) {
        ("none", None) => Ok(None),
        ("none" | "linear", Some(1.0)) => Ok(None),
        ("none" | "linear", Some(factor)) => Ok(Some(json!({ "rope_type": "linear", "factor": as_written(factor) }))),
        ("yarn", factor) => yarn(keys, factor, original).map(Some),
        (other, factor) => {
            let scaling = json!({ "rope_type": other, "factor": factor, "original_max_position_embeddings": original });
            Ok(Some(scaling))
        }
    }
}

fn yarn(keys: &Keys<'_>, factor: Option<f64>, original: Option<u64>) -> Result<Value, ModelError> {
    let number = |name: &str| Ok::<_, ModelError>(keys.float(&format!("rope.scaling.yarn_{name}"))?.map(as_written));
    // The logarithm's weight belongs to a pair of which llama.cpp fixes the other.
    let weight = number("log_multiplier")?.filter(|weight| *weight != 0.0);
    Ok(json!({
        "rope_type": "yarn", "factor": factor.map(as_written), "original_max_position_embeddings": original,
        "attention_factor": number("attn_factor")?, "beta_fast": number("beta_fast")?,
        "beta_slow": number("beta_slow")?, "mscale": weight.map(|_| 1.0), "mscale_all_dim": weight,
    }))
}

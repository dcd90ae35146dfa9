//! `config.json` and `generation_config.json` out of a GGUF file's metadata.

use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::gguf::encoders;
use crate::gguf::metadata::Metadata;

/// An architecture of GGUF and its class in transformers. To add one: a row of [`ARCHITECTURES`], and names of its tensors.
pub(super) struct Architecture {
    /// `general.architecture`.
    pub(super) name: &'static str,
    class: &'static str,
    model_type: &'static str,
    /// Whether rows of q and k are stored in the order of interleaved rotary embedding.
    pub(super) is_interleaved: bool,
}

/// Every architecture of GGUF that can be read.
const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "llama", class: "LlamaForCausalLM", model_type: "llama", is_interleaved: true },
    Architecture { name: "qwen2", class: "Qwen2ForCausalLM", model_type: "qwen2", is_interleaved: false },
    Architecture { name: "qwen3", class: "Qwen3ForCausalLM", model_type: "qwen3", is_interleaved: false },
];

/// Facts about the tensors that the config depends on.
pub(super) struct Tensors {
    /// Rows of the embedding.
    pub(super) vocabulary: usize,
    pub(super) has_output: bool,
    pub(super) has_attention_bias: bool,
    /// `rope_freqs.weight`: what each frequency of the rotary embedding is divided by.
    pub(super) rope_factors: Option<Vec<f32>>,
}

/// Texts of tokens that end an answer whatever the file says, as in llama.cpp.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<|end▁of▁sentence|>",
];

/// The architecture of the file.
///
/// # Errors
/// `Config` where the file names none; `Architecture` for one that is not supported.
pub(super) fn architecture(metadata: &Metadata) -> Result<&'static Architecture, ModelError> {
    let key = "general.architecture";
    let name = metadata.text(key)?.ok_or_else(|| metadata.wrong(key, "is missing"))?;
    ARCHITECTURES.iter().find(|known| known.name == name).ok_or_else(|| {
        let supported: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).chain(encoders::names()).collect();
        ModelError::Architecture {
            found: name.chars().take(80).collect(),
            supported: format!("{} in GGUF files", supported.join(", ")),
        }
    })
}

/// `config.json`.
///
/// # Errors
/// `Config` and `Unsupported`, with the key.
pub(super) fn config(architecture: &Architecture, metadata: &Metadata, tensors: &Tensors) -> Result<Value, ModelError> {
    let key = |name: &str| format!("{}.{name}", architecture.name);
    let number = |name: &str| metadata.number(&key(name));
    let mut config = Map::new();
    config.insert("architectures".to_owned(), json!([architecture.class]));
    config.insert("model_type".to_owned(), json!(architecture.model_type));
    refuse_experts(architecture, metadata)?;
    for (own, gguf) in [
        ("hidden_size", "embedding_length"),
        ("num_hidden_layers", "block_count"),
        ("intermediate_size", "feed_forward_length"),
        ("num_attention_heads", "attention.head_count"),
        ("max_position_embeddings", "context_length"),
    ] {
        let value = number(gguf)?.ok_or_else(|| metadata.wrong(&key(gguf), "is missing"))?;
        config.insert(own.to_owned(), json!(value));
    }
    if let Some(heads) = number("attention.head_count_kv")? {
        config.insert("num_key_value_heads".to_owned(), json!(heads));
    }
    if let Some(size) = head_dim(architecture, metadata)? {
        config.insert("head_dim".to_owned(), json!(size));
    }
    if let Some(epsilon) = metadata.float(&key("attention.layer_norm_rms_epsilon"))? {
        config.insert("rms_norm_eps".to_owned(), json!(as_written(epsilon)));
    }
    if let Some(theta) = metadata.float(&key("rope.freq_base"))? {
        config.insert("rope_theta".to_owned(), json!(as_written(theta)));
    }
    if let Some(scaling) = rope_scaling(architecture, metadata, tensors)? {
        config.insert("rope_scaling".to_owned(), scaling);
    }
    config.insert("vocab_size".to_owned(), json!(tensors.vocabulary));
    config.insert("tie_word_embeddings".to_owned(), json!(!tensors.has_output));
    if architecture.model_type != "qwen2" {
        config.insert("attention_bias".to_owned(), json!(tensors.has_attention_bias));
    }
    Ok(Value::Object(config))
}

fn refuse_experts(architecture: &Architecture, metadata: &Metadata) -> Result<(), ModelError> {
    let key = format!("{}.expert_count", architecture.name);
    match metadata.number(&key)? {
        None | Some(0) => Ok(()),
        Some(count) => {
            Err(metadata.wrong(&key, format!("is {count}: mixtures of experts are not supported in GGUF files")))
        }
    }
}

/// Keys and values must be of one width, all of which is rotated.
fn head_dim(architecture: &Architecture, metadata: &Metadata) -> Result<Option<u64>, ModelError> {
    let number = |name: &str| metadata.number(&format!("{}.{name}", architecture.name));
    let (keys, values) = (number("attention.key_length")?, number("attention.value_length")?);
    let rotated = number("rope.dimension_count")?;
    let first = keys.or(rotated);
    for (name, other) in [("attention.value_length", values), ("rope.dimension_count", rotated)] {
        if let (Some(first), Some(other)) = (first, other)
            && first != other
        {
            let key = format!("{}.{name}", architecture.name);
            return Err(metadata.wrong(&key, format!("is {other} where keys have {first}, which is not supported")));
        }
    }
    Ok(first)
}

/// `rope_scaling`, from the tensor of factors or from the metadata.
fn rope_scaling(
    architecture: &Architecture,
    metadata: &Metadata,
    tensors: &Tensors,
) -> Result<Option<Value>, ModelError> {
    let key = |name: &str| format!("{}.rope.{name}", architecture.name);
    let kind = metadata.text(&key("scaling.type"))?.unwrap_or("none");
    let factor = metadata.float(&key("scaling.factor"))?;
    let original = metadata.number(&key("scaling.original_context_length"))?;
    if let Some(factors) = &tensors.rope_factors {
        // One set of factors for every length, and no scaling of the angles.
        let original = metadata.number(&format!("{}.context_length", architecture.name))?;
        return Ok(Some(json!({
            "rope_type": "longrope", "short_factor": factors, "long_factor": factors, "factor": 1.0,
            "attention_factor": 1.0, "original_max_position_embeddings": original,
        })));
    }
    // Older files.
    let factor = factor.or(metadata.float(&key("scale_linear"))?);
    match (kind, factor) {
        ("none", None) => Ok(None),
        ("none" | "linear", Some(1.0)) => Ok(None),
        ("none" | "linear", Some(factor)) => Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
        (other, factor) => {
            let scaling = json!({ "rope_type": other, "factor": factor, "original_max_position_embeddings": original });
            Ok(Some(scaling))
        }
    }
}

/// A 32-bit float as people write it: 1e-5 and not 9.999999747378752e-6.
fn as_written(value: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the file holds 32 bits; this finds their shortest decimal form"
    )]
    let short = value as f32;
    if f64::from(short) == value { short.to_string().parse().unwrap_or(value) } else { value }
}

/// `generation_config.json`: where answers start and end.
///
/// # Errors
/// `Config` for a value of the wrong type.
pub(super) fn generation(metadata: &Metadata, tokens: &[&str]) -> Result<Value, ModelError> {
    let id = |name: &str| metadata.number(&format!("tokenizer.ggml.{name}_token_id"));
    let mut ends: Vec<u64> = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ends.extend(id(name)?);
    }
    let named = |text: &str| tokens.iter().position(|token| *token == text);
    ends.extend(ENDS.iter().filter_map(|text| named(text)).map(|place| place as u64));
    ends.sort_unstable();
    ends.dedup();
    let mut config = Map::new();
    if !ends.is_empty() {
        config.insert("eos_token_id".to_owned(), json!(ends));
    }
    if let Some(start) = id("bos")? {
        config.insert("bos_token_id".to_owned(), json!(start));
    }
    Ok(Value::Object(config))
}

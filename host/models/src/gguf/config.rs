//! `config.json` and `generation_config.json` out of a GGUF file's metadata.

mod architectures;
mod rope;

use firebox_contract::limits;
use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::gguf::encoders;
use crate::gguf::metadata::Metadata;
use architectures::ARCHITECTURES;
pub(super) use architectures::Architecture;

/// Facts about the tensors that the config depends on.
pub(super) struct Tensors {
    /// Rows of the embedding.
    pub(super) vocabulary: usize,
    pub(super) has_output: bool,
    pub(super) has_attention_bias: bool,
    pub(super) has_mlp_bias: bool,
    /// `rope_freqs.weight`: what each frequency of the rotary embedding is divided by.
    pub(super) rope_factors: Option<Vec<f32>>,
    /// The same for short and for long contexts: `rope_factors_short.weight` and `rope_factors_long.weight`.
    pub(super) long_factors: Option<[Vec<f32>; 2]>,
}

/// The keys of an architecture, without the beginning of their names, and the facts about the tensors.
pub(super) struct Keys<'a> {
    architecture: &'a str,
    metadata: &'a Metadata,
    pub(super) tensors: &'a Tensors,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ModelError> {
        self.metadata.number(&self.key(name))
    }

    /// A number that the file must have.
    fn needed(&self, name: &str) -> Result<u64, ModelError> {
        self.number(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    fn float(&self, name: &str) -> Result<Option<f64>, ModelError> {
        self.metadata.float(&self.key(name))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.metadata.flag(&self.key(name))
    }

    /// A list of flags, or `None` where the key has another type.
    fn flags(&self, name: &str) -> Result<Option<Vec<bool>>, ModelError> {
        self.metadata.flags(&self.key(name), limits::MODEL_LAYERS_MAX)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, ModelError> {
        self.metadata.text(&self.key(name))
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> ModelError {
        self.metadata.wrong(&self.key(name), reason)
    }
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
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
/// A text that ends an answer, unless the tokens of harmony are there too, in which it ends a part of an answer.
const END_OF_PART: &str = "<|end|>";
const HARMONY: [&str; 2] = ["<|return|>", "<|call|>"];

/// The architecture of the file.
///
/// # Errors
/// `Config` where the file names none, or has experts that are not supported; `Architecture` for one that is not
/// supported.
pub(super) fn architecture(metadata: &Metadata) -> Result<&'static Architecture, ModelError> {
    let key = "general.architecture";
    let name = metadata.text(key)?.ok_or_else(|| metadata.wrong(key, "is missing"))?;
    let experts = format!("{name}.expert_count");
    let count = metadata.number(&experts)?.unwrap_or(0);
    let mut rows = ARCHITECTURES.iter().filter(|known| known.name == name).peekable();
    if rows.peek().is_none() {
        let mut supported: Vec<&str> = ARCHITECTURES.iter().map(|known| known.name).chain(encoders::names()).collect();
        supported.dedup();
        let supported = format!("{} in GGUF files", supported.join(", "));
        return Err(ModelError::Architecture { found: name.chars().take(80).collect(), supported });
    }
    rows.find(|known| known.has_experts == (count > 0)).ok_or_else(|| match count {
        0 => metadata.wrong(&experts, "is missing or 0"),
        _ => metadata.wrong(&experts, format!("is {count}: mixtures of experts are not supported in \"{name}\"")),
    })
}

/// The architecture whose class in transformers this is.
pub(super) fn of_class(class: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|known| known.class == class)
}

/// `config.json`.
///
/// # Errors
/// `Config` and `Unsupported`, with the key.
pub(super) fn config(architecture: &Architecture, metadata: &Metadata, tensors: &Tensors) -> Result<Value, ModelError> {
    let keys = Keys { architecture: architecture.name, metadata, tensors };
    let mut config = Map::new();
    config.insert("architectures".to_owned(), json!([architecture.class]));
    config.insert("model_type".to_owned(), json!(architecture.model_type));
    for (own, gguf) in [
        ("hidden_size", "embedding_length"),
        ("num_hidden_layers", "block_count"),
        ("intermediate_size", "feed_forward_length"),
        ("num_attention_heads", "attention.head_count"),
        ("max_position_embeddings", "context_length"),
    ] {
        config.insert(own.to_owned(), json!(keys.needed(gguf)?));
    }
    if let Some(heads) = keys.number("attention.head_count_kv")? {
        config.insert("num_key_value_heads".to_owned(), json!(heads));
    }
    let (head_dim, part) = rope::head_dim(&keys, architecture.may_be_partial)?;
    if let Some(size) = head_dim {
        config.insert("head_dim".to_owned(), json!(size));
    }
    if let Some(part) = part {
        config.insert("partial_rotary_factor".to_owned(), json!(part));
    }
    for (own, gguf) in [("rms_norm_eps", "attention.layer_norm_rms_epsilon"), ("rope_theta", "rope.freq_base")] {
        if let Some(number) = keys.float(gguf)? {
            config.insert(own.to_owned(), json!(as_written(number)));
        }
    }
    if let Some(scaling) = rope::scaling(&keys)? {
        config.insert("rope_scaling".to_owned(), scaling);
    }
    config.insert("vocab_size".to_owned(), json!(tensors.vocabulary));
    config.insert("tie_word_embeddings".to_owned(), json!(!tensors.has_output));
    (architecture.complete)(&keys, &mut config)?;
    Ok(Value::Object(config))
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
    let named = |text: &str| tokens.iter().position(|token| *token == text).map(|place| place as u64);
    ends.extend(ENDS.iter().filter_map(|text| named(text)));
    if HARMONY.iter().all(|text| named(text).is_some()) {
        ends.retain(|end| Some(*end) != named(END_OF_PART));
    }
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

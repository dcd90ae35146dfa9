//! What all decoders of the Llama family read from `config.json`, checked before anything is allocated.

use firebox_contract::limits;

use crate::arch::rotary::Rotary;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Which linear layers have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Biases {
    /// On q, k and v.
    pub(crate) qkv: bool,
    /// On the projection after attention.
    pub(crate) output: bool,
    /// On gate, up and down.
    pub(crate) mlp: bool,
}

/// A decoder's shape and options.
#[derive(Debug, Clone)]
pub(crate) struct DecoderConfig {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    /// `max_position_embeddings`.
    pub(crate) positions: usize,
    pub(crate) norm_epsilon: f64,
    pub(crate) rotary: Rotary,
    pub(crate) tied_embeddings: bool,
    pub(crate) biases: Biases,
    /// RMS norm over each head of q and k before rotation.
    pub(crate) head_norm: bool,
    /// Of each layer: how many tokens a query sees, itself included; `None` is all.
    pub(crate) windows: Vec<Option<usize>>,
}

/// What the config class of an architecture has where the file has no key, as in transformers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    /// `None` is as many as heads.
    pub(crate) kv_heads: Option<usize>,
    /// `None` is `hidden / heads`.
    pub(crate) head_dim: Option<usize>,
}

/// The same for all of them.
const HIDDEN_DEFAULT: usize = 4_096;
const LAYERS_DEFAULT: usize = 32;
const HEADS_DEFAULT: usize = 32;
const NORM_EPSILON_DEFAULT: f64 = 1e-6;
const WINDOW_DEFAULT: usize = 4_096;

impl DecoderConfig {
    /// The keys the family shares, with the defaults of the architecture.
    pub(crate) fn read(file: &JsonFile, defaults: Defaults) -> Result<Self, ModelError> {
        check_activation(file)?;
        let hidden = file.number_or("hidden_size", HIDDEN_DEFAULT, 1..=limits::MODEL_HIDDEN_MAX)?;
        let layers = file.number_or("num_hidden_layers", LAYERS_DEFAULT, 1..=limits::MODEL_LAYERS_MAX)?;
        let heads = file.number_or("num_attention_heads", HEADS_DEFAULT, 1..=limits::MODEL_HEADS_MAX)?;
        let kv_heads = read_kv_heads(file, heads, defaults.kv_heads)?;
        let head_dim = read_head_dim(file, hidden, heads, defaults.head_dim)?;
        let positions =
            file.number_or("max_position_embeddings", defaults.positions, 1..=limits::CONTEXT_TOKENS_MAX)?;
        let wide = file.number_or("intermediate_size", defaults.feed_forward, 1..=limits::MODEL_HIDDEN_MAX)?;
        Ok(Self {
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim,
            feed_forward: wide,
            vocabulary: file.number_or("vocab_size", defaults.vocabulary, 1..=limits::MODEL_VOCABULARY_TOKENS_MAX)?,
            positions,
            norm_epsilon: file.float_or("rms_norm_eps", NORM_EPSILON_DEFAULT, 0.0..=1.0)?,
            rotary: Rotary::read(file, head_dim, positions)?,
            tied_embeddings: file.flag("tie_word_embeddings", false)?,
            biases: Biases::default(),
            head_norm: false,
            windows: vec![None; layers],
        })
    }
}

/// Null is as many as heads for every architecture; where the key is absent, the architecture has its own default.
fn read_kv_heads(file: &JsonFile, heads: usize, default: Option<usize>) -> Result<usize, ModelError> {
    let default = if file.given("num_key_value_heads").is_some() { None } else { default };
    let read = file.optional_number("num_key_value_heads", 1..=limits::MODEL_HEADS_MAX)?;
    let kv_heads = read.or(default).unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let key = "num_key_value_heads";
        return Err(file.wrong(key, format!("is {kv_heads}, which does not divide {heads} heads")));
    }
    Ok(kv_heads)
}

fn read_head_dim(file: &JsonFile, hidden: usize, heads: usize, default: Option<usize>) -> Result<usize, ModelError> {
    let head_dim = match file.optional_number("head_dim", 2..=limits::MODEL_HEAD_DIM_MAX)?.or(default) {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(file.wrong("num_attention_heads", format!("is {heads}, which does not divide {hidden}"))),
    };
    if !head_dim.is_multiple_of(2) || head_dim > limits::MODEL_HEAD_DIM_MAX {
        let limit = limits::MODEL_HEAD_DIM_MAX;
        return Err(file.wrong("head_dim", format!("is {head_dim}, expected an even number up to {limit}")));
    }
    Ok(head_dim)
}

/// `sliding_window` of those classes that have one: null is none, and an absent key is their default.
pub(crate) fn read_window(file: &JsonFile) -> Result<Option<usize>, ModelError> {
    if file.given("sliding_window").is_none() {
        return Ok(Some(WINDOW_DEFAULT));
    }
    let window = file.optional_number("sliding_window", 1..=usize::MAX)?;
    Ok(window.map(|window| window.min(limits::CONTEXT_TOKENS_MAX)))
}

fn check_activation(file: &JsonFile) -> Result<(), ModelError> {
    match file.optional_text("hidden_act")? {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(ModelError::Unsupported {
            file: file.file.clone(),
            key: "hidden_act",
            found: other.to_owned(),
            supported: "silu",
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::arch::{ARCHITECTURES, BertConfig};

    fn defaults() -> Value {
        let text = include_str!("../../../../tests/parity/configs/defaults.json");
        serde_json::from_str(text).expect("the file is JSON")
    }

    #[test]
    fn an_empty_config_is_that_of_the_class_in_transformers() {
        let (empty, all) = (JsonFile::of("config.json", json!({})), defaults());
        for architecture in ARCHITECTURES {
            let (class, config) = (&all[architecture.name], (architecture.config)(&empty).expect("it is read"));
            let read = json!({
                "hidden_size": config.hidden, "intermediate_size": config.feed_forward,
                "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
                "num_key_value_heads": config.kv_heads, "head_dim": config.head_dim,
                "vocab_size": config.vocabulary, "max_position_embeddings": config.positions,
                "rms_norm_eps": config.norm_epsilon, "tie_word_embeddings": config.tied_embeddings,
                "eos_token_id": architecture.end, "sliding_window": config.windows.first(),
            });
            for (key, value) in read.as_object().expect("an object") {
                assert_eq!(value, &class[key], "{key} of {}", architecture.name);
            }
            let theta = class["rope_theta"].as_f64().expect("a number");
            assert_eq!(config.rotary, Rotary::unscaled(theta, config.head_dim), "{}", architecture.name);
            let on = |key: &str| class[key].as_bool().unwrap_or(false);
            assert_eq!((config.biases.output, config.biases.mlp), (on("attention_bias"), on("mlp_bias")));
        }
    }

    #[test]
    fn windows_that_are_on_are_those_of_the_class() {
        let (on, all) = (JsonFile::of("config.json", json!({ "use_sliding_window": true })), defaults());
        for architecture in ARCHITECTURES {
            let (class, config) = (&all[architecture.name], (architecture.config)(&on).expect("it is read"));
            let class = &class["with_windows"];
            let window = class["sliding_window"].as_u64();
            let slides = |kind: &Value| kind.as_str() == Some("sliding_attention");
            let expected: Vec<Option<u64>> = match class["layer_types"].as_array() {
                Some(types) => types.iter().map(|kind| window.filter(|_| slides(kind))).collect(),
                None => vec![window; config.layers],
            };
            let windows: Vec<Option<u64>> =
                config.windows.iter().map(|window| window.map(|window| window as u64)).collect();
            assert_eq!(windows, expected, "{}", architecture.name);
        }
    }

    #[test]
    fn an_empty_config_of_bert_is_that_of_its_class() {
        let (config, class) = (BertConfig::read(&JsonFile::of("config.json", json!({}))), &defaults()["BertModel"]);
        let config = config.expect("it is read");
        let read = json!({
            "hidden_size": config.hidden, "intermediate_size": config.feed_forward, "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads, "vocab_size": config.vocabulary,
            "max_position_embeddings": config.positions, "type_vocab_size": config.token_types,
            "layer_norm_eps": config.norm_epsilon,
        });
        assert_eq!(&read, class);
    }
}

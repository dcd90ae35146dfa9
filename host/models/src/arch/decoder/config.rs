//! The keys of `config.json` that all decoders read, checked before anything is allocated.

use firebox_contract::limits;

use crate::arch::decoder::rotary::Rotary;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;
use crate::layers::Activation;

/// The keys that [`DecoderConfig::read`] reads and that encoders do not have.
pub(crate) const CONFIG_KEYS: &[&str] = &["num_key_value_heads", "head_dim", "rms_norm_eps"];

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
    /// The longest context, in tokens.
    pub(crate) positions: usize,
    pub(crate) norm_epsilon: f64,
    /// The function of the gates in the feed-forward part.
    pub(crate) activation: Activation,
    pub(crate) rotary: Rotary,
    pub(crate) tied_embeddings: bool,
    pub(crate) biases: Biases,
    /// RMS norm over each head of q and k before rotation.
    pub(crate) head_norm: bool,
    /// Of each layer: how many tokens a query attends to, itself included. `None` is all of them.
    pub(crate) windows: Vec<Option<usize>>,
}

/// The values that an architecture's config class in transformers has for keys that the file leaves out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigDefaults {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    /// `original_max_position_embeddings`; `None` is `max_position_embeddings`.
    pub(crate) original_positions: Option<usize>,
    /// `None` is as many as heads.
    pub(crate) kv_heads: Option<usize>,
    /// `None` is `hidden / heads`.
    pub(crate) head_dim: Option<usize>,
    pub(crate) norm_epsilon: f64,
}

impl DecoderConfig {
    /// Reads the keys that all decoders have, with the defaults of the architecture.
    ///
    /// # Errors
    /// `Config` and `Unsupported`, with the key.
    pub(crate) fn read(file: &JsonFile, defaults: ConfigDefaults) -> Result<Self, ModelError> {
        let activation = Activation::read(file, "silu")?;
        let hidden = file.number_or("hidden_size", defaults.hidden, 1..=limits::MODEL_HIDDEN_MAX)?;
        let layers = file.number_or("num_hidden_layers", defaults.layers, 1..=limits::MODEL_LAYERS_MAX)?;
        let heads = file.number_or("num_attention_heads", defaults.heads, 1..=limits::MODEL_HEADS_MAX)?;
        let kv_heads = read_kv_heads(file, heads, defaults.kv_heads)?;
        let head_dim = read_head_dim(file, hidden, heads, defaults.head_dim)?;
        let positions =
            file.number_or("max_position_embeddings", defaults.positions, 1..=limits::CONTEXT_TOKENS_MAX)?;
        let rotary = Rotary::read(file, head_dim, positions, defaults.original_positions)?;
        let wide = file.number_or("intermediate_size", defaults.feed_forward, 1..=limits::MODEL_HIDDEN_MAX)?;
        Ok(Self {
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim,
            feed_forward: wide,
            vocabulary: file.number_or("vocab_size", defaults.vocabulary, 1..=limits::MODEL_VOCABULARY_TOKENS_MAX)?,
            positions: positions.min(rotary.positions_max()),
            norm_epsilon: file.float_or("rms_norm_eps", defaults.norm_epsilon, 0.0..=1.0)?,
            activation,
            rotary,
            tied_embeddings: file.flag("tie_word_embeddings", false)?,
            biases: Biases::default(),
            head_norm: false,
            windows: vec![None; layers],
        })
    }
}

/// Null means as many as heads for every architecture. An absent key means the architecture's default.
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

/// `sliding_window` of the classes that have one: null means no window, and an absent key means `default`.
pub(crate) fn read_window(file: &JsonFile, default: Option<usize>) -> Result<Option<usize>, ModelError> {
    if file.given("sliding_window").is_none() {
        return Ok(default);
    }
    let window = file.optional_number("sliding_window", 1..=usize::MAX)?;
    Ok(window.map(|window| window.min(limits::CONTEXT_TOKENS_MAX)))
}

#[cfg(test)]
pub(in crate::arch) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::arch::DECODERS;

    /// The defaults of the config classes of transformers.
    pub(in crate::arch) fn defaults() -> Value {
        let text = include_str!("../../../../../tests/parity/configs/defaults.json");
        serde_json::from_str(text).expect("the file is JSON")
    }

    #[test]
    fn an_empty_config_has_the_defaults_of_the_class_in_transformers() {
        let (empty, all) = (JsonFile::of("config.json", json!({})), defaults());
        for architecture in DECODERS {
            let (class, config) = (&all[architecture.names[0]], (architecture.config)(&empty).expect("it is read"));
            let read = json!({
                "hidden_size": config.hidden, "intermediate_size": config.feed_forward,
                "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
                "num_key_value_heads": config.kv_heads, "head_dim": config.head_dim,
                "vocab_size": config.vocabulary, "max_position_embeddings": config.positions,
                "rms_norm_eps": config.norm_epsilon, "tie_word_embeddings": config.tied_embeddings,
                "eos_token_id": architecture.end, "sliding_window": config.windows.first(),
            });
            for (key, value) in read.as_object().expect("an object") {
                assert_eq!(value, &class[key], "{key} of {}", architecture.names[0]);
            }
            let theta = class["rope_theta"].as_f64().expect("a number");
            assert_eq!(config.rotary, Rotary::unscaled(theta, config.head_dim), "{}", architecture.names[0]);
            let on = |key: &str| class[key].as_bool().unwrap_or(false);
            assert_eq!((config.biases.output, config.biases.mlp), (on("attention_bias"), on("mlp_bias")));
        }
    }

    #[test]
    fn windows_that_are_switched_on_are_those_of_the_class_in_transformers() {
        let (on, all) = (JsonFile::of("config.json", json!({ "use_sliding_window": true })), defaults());
        for architecture in DECODERS {
            let (class, config) = (&all[architecture.names[0]], (architecture.config)(&on).expect("it is read"));
            let class = &class["with_windows"];
            let window = class["sliding_window"].as_u64();
            let slides = |kind: &Value| kind.as_str() == Some("sliding_attention");
            let expected: Vec<Option<u64>> = match class["layer_types"].as_array() {
                Some(types) => types.iter().map(|kind| window.filter(|_| slides(kind))).collect(),
                None => vec![window; config.layers],
            };
            let windows: Vec<Option<u64>> =
                config.windows.iter().map(|window| window.map(|window| window as u64)).collect();
            assert_eq!(windows, expected, "{}", architecture.names[0]);
        }
    }
}

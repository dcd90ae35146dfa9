//! The keys of `config.json` that all decoders read, checked before anything is allocated.

mod windows;

use burn::tensor::Tensor;
use firebox_contract::limits;
use firebox_kernels::attention::ScoreScale;
use firebox_kernels::elements::Activation;

use crate::arch::decoder::rotary::{Rotary, RotaryDefaults};
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::layers::{RmsNorm, activation};
pub(crate) use windows::{read_window, read_windows};

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

/// What differs between the layers of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LayerConfig {
    /// How many tokens a query attends to, itself included. `None` is all of them.
    pub(crate) window: Option<usize>,
    /// The index of its rotary embedding in [`DecoderConfig::rotaries`].
    pub(crate) rotary: usize,
    /// Whether its feed-forward part is a mixture of experts.
    pub(crate) has_experts: bool,
}

/// The norms of queries and keys before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum QkNorms {
    #[default]
    None,
    /// Of each head by itself: weights `[head_dim]`.
    Heads,
    /// Of all heads together: weights `[heads * head_dim]` and `[kv_heads * head_dim]`.
    Whole,
}

/// Factors at some places of the model. 1 leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Multipliers {
    /// Of the embeddings.
    pub(crate) embeddings: f32,
    /// Of the result of attention, and of the feed-forward part, before it is added.
    pub(crate) residual: f32,
    /// Of the logits.
    pub(crate) logits: f32,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self { embeddings: 1.0, residual: 1.0, logits: 1.0 }
    }
}

/// Queries of later positions are longer: `1 + beta ln(1 + floor(position / tokens))` times (Llama 4's attention).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct QueryGrowth {
    pub(crate) beta: f32,
    pub(crate) tokens: usize,
}

impl QueryGrowth {
    pub(crate) fn factor(self, position: usize) -> f32 {
        1.0 + self.beta * (1.0 + (position / self.tokens) as f32).ln()
    }
}

/// The mixtures of experts of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExpertsConfig {
    pub(crate) count: usize,
    /// Experts that a token goes to.
    pub(crate) chosen: usize,
    pub(crate) feed_forward: usize,
    /// Whether the weights of the chosen experts are scaled so that they sum to 1.
    pub(crate) normalised: bool,
}

/// A decoder's shape and options.
#[derive(Debug, Clone)]
pub(crate) struct DecoderConfig {
    pub(crate) hidden: usize,
    pub(crate) layers: Vec<LayerConfig>,
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
    /// At least one; layers name theirs by its index.
    pub(crate) rotaries: Vec<Rotary>,
    pub(crate) tied_embeddings: bool,
    pub(crate) biases: Biases,
    pub(crate) qk_norms: QkNorms,
    /// Added to the weights of every norm.
    pub(crate) norm_offset: f32,
    /// The scale of attention's scores, and their soft cap.
    pub(crate) scores: ScoreScale,
    /// `cap tanh(logit / cap)` of each logit.
    pub(crate) logit_cap: Option<f32>,
    pub(crate) multipliers: Multipliers,
    pub(crate) query_growth: Option<QueryGrowth>,
    pub(crate) experts: Option<ExpertsConfig>,
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
    pub(crate) rotary: RotaryDefaults,
    pub(crate) tied_embeddings: bool,
    /// The key and the name of the activation function.
    pub(crate) activation: (&'static str, &'static str),
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
        let mut config = Self::read_without_rotary(file, defaults)?;
        let rotary = Rotary::read(file, config.head_dim, config.positions, defaults.rotary)?;
        config.positions = rotary.positions(config.positions);
        config.rotaries.push(rotary);
        Ok(config)
    }

    /// As [`DecoderConfig::read`]. The caller adds the rotary embeddings.
    pub(crate) fn read_without_rotary(file: &JsonFile, defaults: ConfigDefaults) -> Result<Self, ModelError> {
        let activation = activation::read_key(file, defaults.activation.0, defaults.activation.1)?;
        let hidden = file.number_or("hidden_size", defaults.hidden, 1..=limits::MODEL_HIDDEN_MAX)?;
        let layers = file.number_or("num_hidden_layers", defaults.layers, 1..=limits::MODEL_LAYERS_MAX)?;
        let heads = file.number_or("num_attention_heads", defaults.heads, 1..=limits::MODEL_HEADS_MAX)?;
        let kv_heads = read_kv_heads(file, heads, defaults.kv_heads)?;
        let head_dim = read_head_dim(file, hidden, heads, defaults.head_dim)?;
        let positions =
            file.number_or("max_position_embeddings", defaults.positions, 1..=limits::CONTEXT_TOKENS_MAX)?;
        let wide = file.number_or("intermediate_size", defaults.feed_forward, 1..=limits::MODEL_HIDDEN_MAX)?;
        Ok(Self {
            hidden,
            layers: vec![LayerConfig::default(); layers],
            heads,
            kv_heads,
            head_dim,
            feed_forward: wide,
            vocabulary: file.number_or("vocab_size", defaults.vocabulary, 1..=limits::MODEL_VOCABULARY_TOKENS_MAX)?,
            positions,
            norm_epsilon: file.float_or("rms_norm_eps", defaults.norm_epsilon, 0.0..=1.0)?,
            activation,
            rotaries: Vec::new(),
            tied_embeddings: file.flag("tie_word_embeddings", defaults.tied_embeddings)?,
            biases: Biases::default(),
            qk_norms: QkNorms::None,
            norm_offset: 0.0,
            scores: ScoreScale::of(head_dim),
            logit_cap: None,
            multipliers: Multipliers::default(),
            query_growth: None,
            experts: None,
        })
    }

    /// The weights of a norm of `width`, under this name without `.weight`.
    pub(crate) fn norm_weight(&self, weights: &Weights<'_>, name: &str, width: usize) -> Result<Tensor<1>, ModelError> {
        let weight = weights.vector(&format!("{name}.weight"), width)?;
        Ok(if self.norm_offset == 0.0 { weight } else { weight + self.norm_offset })
    }

    /// As [`Self::norm_weight`], the norm itself.
    pub(crate) fn norm(&self, weights: &Weights<'_>, name: &str, width: usize) -> Result<RmsNorm, ModelError> {
        Ok(RmsNorm::new(self.norm_weight(weights, name, width)?, self.norm_epsilon))
    }

    /// Gives each layer its window.
    pub(crate) fn set_windows(&mut self, windows: impl IntoIterator<Item = Option<usize>>) {
        self.layers.iter_mut().zip(windows).for_each(|(layer, window)| layer.window = window);
    }

    /// The longest context, in tokens, where the load asks for none. Some rotary embeddings are best up to a length.
    pub(crate) fn positions_default(&self) -> usize {
        self.rotaries.iter().filter_map(Rotary::positions_short).fold(self.positions, usize::min)
    }

    /// Fits the rotary embeddings to the context that the model is loaded for, in tokens.
    pub(crate) fn fit_context(&mut self, tokens: usize) {
        self.rotaries.iter_mut().for_each(|rotary| rotary.fit_context(tokens));
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
                "num_hidden_layers": config.layers.len(), "num_attention_heads": config.heads,
                "num_key_value_heads": config.kv_heads, "head_dim": config.head_dim,
                "vocab_size": config.vocabulary, "max_position_embeddings": config.positions,
                "rms_norm_eps": config.norm_epsilon, "tie_word_embeddings": config.tied_embeddings,
                "eos_token_id": architecture.end, "sliding_window": config.layers.first().map(|layer| layer.window),
            });
            for (key, value) in read.as_object().expect("an object") {
                assert_eq!(value, &class[key], "{key} of {}", architecture.names[0]);
            }
            assert_rotaries(&config, &class["rope_parameters"], architecture.names[0]);
            let on = |key: &str| class[key].as_bool().unwrap_or(false);
            assert_eq!((config.biases.output, config.biases.mlp), (on("attention_bias"), on("mlp_bias")));
        }
    }

    /// The rotary embeddings are those of the settings, or of the settings for each kind of layer.
    fn assert_rotaries(config: &DecoderConfig, settings: &Value, name: &str) {
        let kinds = ["full_attention", "sliding_attention"].map(|kind| &settings[kind]);
        let all = if kinds[0].is_object() { kinds.to_vec() } else { vec![settings] };
        assert!(config.rotaries.len() >= all.len(), "{name}");
        for (settings, rotary) in all.into_iter().zip(&config.rotaries) {
            let file = JsonFile::of("config.json", json!({ "rope_parameters": settings }));
            let read = Rotary::read(&file, config.head_dim, config.positions, RotaryDefaults::USUAL);
            assert_eq!(rotary, &read.expect("it is read"), "{name}");
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
                None => vec![window; config.layers.len()],
            };
            let windows: Vec<Option<u64>> =
                config.layers.iter().map(|layer| layer.window.map(|window| window as u64)).collect();
            assert_eq!(windows, expected, "{}", architecture.names[0]);
        }
    }
}

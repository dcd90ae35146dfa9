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

impl DecoderConfig {
    /// The keys the family shares; heads are `hidden / heads` wide unless the file says otherwise.
    pub(crate) fn read(file: &JsonFile) -> Result<Self, ModelError> {
        Self::read_with_head_dim(file, None)
    }

    /// As [`DecoderConfig::read`] with the architecture's own default for `head_dim`.
    pub(crate) fn read_with_head_dim(file: &JsonFile, head_dim: Option<usize>) -> Result<Self, ModelError> {
        check_activation(file)?;
        let hidden = file.number("hidden_size", 1..=limits::MODEL_HIDDEN_MAX)?;
        let layers = file.number("num_hidden_layers", 1..=limits::MODEL_LAYERS_MAX)?;
        let heads = file.number("num_attention_heads", 1..=limits::MODEL_HEADS_MAX)?;
        let kv_heads = file.optional_number("num_key_value_heads", 1..=limits::MODEL_HEADS_MAX)?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(
                file.wrong("num_key_value_heads", format!("is {kv_heads}, which does not divide {heads} heads"))
            );
        }
        let head_dim = read_head_dim(file, hidden, heads, head_dim)?;
        let positions = file.number("max_position_embeddings", 1..=limits::CONTEXT_TOKENS_MAX)?;
        Ok(Self {
            hidden,
            layers,
            heads,
            kv_heads,
            head_dim,
            feed_forward: file.number("intermediate_size", 1..=limits::MODEL_HIDDEN_MAX)?,
            vocabulary: file.number("vocab_size", 1..=limits::MODEL_VOCABULARY_MAX)?,
            positions,
            norm_epsilon: file.optional_float("rms_norm_eps", 0.0..=1.0)?.unwrap_or(1e-6),
            rotary: Rotary::read(file, head_dim)?,
            tied_embeddings: file.flag("tie_word_embeddings", false)?,
            biases: Biases::default(),
            head_norm: false,
            windows: vec![None; layers],
        })
    }
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

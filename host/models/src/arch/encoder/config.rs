//! The shape of an encoder, from `config.json`.

use std::ops::RangeInclusive;

use firebox_contract::limits;
use firebox_kernels::elements::Activation;

use crate::arch::decoder::Rotary;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;
use crate::layers::activation;

/// The position embedding of a text's first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstPosition {
    /// The first one.
    Zero,
    /// The one after the number of the padding token. Padding tokens within a text all have their own number's position,
    /// and do not count.
    AfterPad(usize),
}

impl FirstPosition {
    /// The positions of the tokens of a text.
    pub(super) fn positions(self, text: &[u32]) -> Vec<usize> {
        match self {
            Self::Zero => (0..text.len()).collect(),
            Self::AfterPad(pad) => {
                let mut last = pad;
                let mut position = |id: &u32| {
                    let is_padding = *id as usize == pad;
                    last += usize::from(!is_padding);
                    if is_padding { pad } else { last }
                };
                text.iter().map(&mut position).collect()
            }
        }
    }

    /// Positions that no token of a text has.
    pub(super) fn skipped(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::AfterPad(pad) => pad + 1,
        }
    }
}

/// What some layers have in common in attention.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttentionKind {
    /// The distance up to which tokens attend to each other; `None` for all tokens of a text.
    pub(crate) distance: Option<usize>,
    /// The rotation of queries and keys.
    pub(crate) rotary: Option<Rotary>,
}

/// Which parts of a layer have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EncoderBiases {
    pub(crate) attention: bool,
    pub(crate) feed_forward: bool,
    pub(crate) norms: bool,
}

/// The shape of an encoder.
#[derive(Debug, Clone)]
pub(crate) struct EncoderConfig {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    /// Position embeddings, or positions that the model was trained with if it has none.
    pub(crate) positions: usize,
    /// `None` for a model without position embeddings.
    pub(crate) first_position: Option<FirstPosition>,
    /// Type embeddings; 0 for a model without them.
    pub(crate) token_types: usize,
    /// Whether the types of tokens count. Otherwise all of them are of type 0.
    pub(crate) reads_types: bool,
    pub(crate) norm_epsilon: f64,
    pub(crate) activation: Activation,
    /// Whether the feed-forward part is a gated linear unit.
    pub(crate) is_gated: bool,
    /// Whether attention and feed-forward part get normed input, and not their sums with it.
    pub(crate) norms_first: bool,
    pub(crate) biases: EncoderBiases,
    /// The kinds of attention.
    pub(crate) attention: Vec<AttentionKind>,
    /// The index of each layer's kind.
    pub(crate) kinds: Vec<usize>,
    /// Buckets of the relative bias of scores; 0 for a model without it.
    pub(crate) buckets: usize,
}

impl EncoderConfig {
    /// Bytes of the matrices of all layers in F32.
    pub(crate) fn matrix_bytes(&self) -> usize {
        let feed_forward = (if self.is_gated { 3 } else { 2 } * self.feed_forward).saturating_add(4 * self.hidden);
        let elements = self.hidden.saturating_mul(feed_forward).saturating_mul(self.layers);
        elements.saturating_mul(size_of::<f32>())
    }
}

/// The keys of a config class, with its defaults in transformers.
pub(crate) struct ConfigKeys {
    pub(crate) hidden: (&'static str, usize),
    pub(crate) layers: (&'static str, usize),
    pub(crate) heads: (&'static str, usize),
    pub(crate) feed_forward: (&'static str, usize),
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    /// `None` for a class with this epsilon and no key for it.
    pub(crate) epsilon: (Option<&'static str>, f64),
    pub(crate) activation: (&'static str, &'static str),
}

/// Those of `BertConfig`.
pub(crate) const BERT: ConfigKeys = ConfigKeys {
    hidden: ("hidden_size", 768),
    layers: ("num_hidden_layers", 12),
    heads: ("num_attention_heads", 12),
    feed_forward: ("intermediate_size", 3_072),
    vocabulary: 30_522,
    positions: 512,
    epsilon: (Some("layer_norm_eps"), 1e-12),
    activation: ("hidden_act", "gelu"),
};

impl ConfigKeys {
    /// Reads a config of BERT's shape with these keys, without token types.
    ///
    /// # Errors
    /// `Config` and `Unsupported`, with the key.
    pub(crate) fn read(
        &self,
        file: &JsonFile,
        first_position: Option<FirstPosition>,
    ) -> Result<EncoderConfig, ModelError> {
        let hidden = file.number_or(self.hidden.0, self.hidden.1, 1..=limits::MODEL_HIDDEN_MAX)?;
        let heads = file.number_or(self.heads.0, self.heads.1, 1..=limits::MODEL_HEADS_MAX)?;
        if !hidden.is_multiple_of(heads) || hidden / heads > limits::MODEL_HEAD_DIM_MAX {
            let limit = limits::MODEL_HEAD_DIM_MAX;
            let reason = format!("is {heads}, which does not divide {hidden} into heads of at most {limit}");
            return Err(file.wrong(self.heads.0, reason));
        }
        let layers = file.number_or(self.layers.0, self.layers.1, 1..=limits::MODEL_LAYERS_MAX)?;
        let epsilon = match self.epsilon {
            (Some(key), default) => file.float_or(key, default, 0.0..=1.0)?,
            (None, epsilon) => epsilon,
        };
        Ok(EncoderConfig {
            hidden,
            heads,
            layers,
            positions: read_positions(file, self.positions, first_position)?,
            first_position,
            feed_forward: file.number_or(self.feed_forward.0, self.feed_forward.1, 1..=limits::MODEL_HIDDEN_MAX)?,
            vocabulary: file.number_or("vocab_size", self.vocabulary, 1..=limits::MODEL_VOCABULARY_TOKENS_MAX)?,
            token_types: 0,
            reads_types: false,
            norm_epsilon: epsilon,
            activation: activation::read_key(file, self.activation.0, self.activation.1)?,
            is_gated: false,
            norms_first: false,
            biases: EncoderBiases { attention: true, feed_forward: true, norms: true },
            attention: vec![AttentionKind { distance: None, rotary: None }],
            kinds: vec![0; layers],
            buckets: 0,
        })
    }
}

fn read_positions(file: &JsonFile, default: usize, first_position: Option<FirstPosition>) -> Result<usize, ModelError> {
    let positions = file.number_or("max_position_embeddings", default, 1..=limits::CONTEXT_TOKENS_MAX)?;
    let skipped = first_position.map_or(0, FirstPosition::skipped);
    if positions <= skipped {
        let reason = format!("is {positions}, expected more than {skipped}, since \"pad_token_id\" is {}", skipped - 1);
        return Err(file.wrong("max_position_embeddings", reason));
    }
    Ok(positions)
}

/// `type_vocab_size` of the classes that have one; 0 for a model without types in a GGUF file.
///
/// # Errors
/// `Config` for a value that is not right.
pub(crate) fn read_types(file: &JsonFile) -> Result<usize, ModelError> {
    file.number_or("type_vocab_size", 2, 0..=limits::MODEL_HEADS_MAX)
}

/// Bases of rotary frequencies that a config may have.
pub(crate) const THETA: RangeInclusive<f64> = 1.0..=1e12;

/// The base of rotary frequencies in an object of settings.
///
/// # Errors
/// `Unsupported` for frequencies that are scaled, `Config` for a value that is not right.
pub(crate) fn read_theta(settings: &JsonFile) -> Result<Option<f64>, ModelError> {
    settings.only("rope_type", "default")?;
    settings.optional_float("rope_theta", THETA)
}

/// Refuses models of BERT's classes that are not text encoders.
///
/// # Errors
/// `Unsupported` and `Config`, with the key.
pub(crate) fn check_bert(file: &JsonFile) -> Result<(), ModelError> {
    file.only("position_embedding_type", "absolute")?;
    if file.flag("is_decoder", false)? {
        let reason = "is true, which is not supported: in a text encoder every token attends to all others";
        return Err(file.wrong("is_decoder", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_padding_tokens_are_not_counted() {
        assert_eq!(FirstPosition::Zero.positions(&[5, 1, 6]), [0, 1, 2]);
        assert_eq!(FirstPosition::AfterPad(1).positions(&[0, 5, 1, 6, 2]), [2, 3, 1, 4, 5]);
        assert!(FirstPosition::AfterPad(1).positions(&[]).is_empty());
    }
}

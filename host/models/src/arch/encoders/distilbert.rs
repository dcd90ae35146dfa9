//! DistilBERT (Sanh et al. 2019): BERT without token types, under other names.

use firebox_kernels::elements::Activation;

use crate::arch::encoder::classifier::{self, ClassifierConfig};
use crate::arch::encoder::config::{ConfigKeys, EncoderConfig, FirstPosition};
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The keys of `config.json` that DistilBERT reads beyond those of all architectures.
pub(super) const KEYS: &[&str] = &["dim", "n_layers", "n_heads", "hidden_dim", "activation"];

const CONFIG: ConfigKeys = ConfigKeys {
    hidden: ("dim", 768),
    layers: ("n_layers", 6),
    heads: ("n_heads", 12),
    feed_forward: ("hidden_dim", 3_072),
    vocabulary: 30_522,
    positions: 512,
    epsilon: (None, 1e-12),
    activation: ("activation", "gelu"),
};

pub(super) const TENSORS: EncoderTensors = EncoderTensors {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: "",
    norm: "embeddings.LayerNorm",
    layer: "transformer.layer.{}.",
    qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    wide: &["ffn.lin1"],
    narrow: "ffn.lin2",
    output_norm: "output_layer_norm",
    final_norm: "",
    relative_bias: "",
};

pub(super) fn config(file: &JsonFile) -> Result<EncoderConfig, ModelError> {
    CONFIG.read(file, Some(FirstPosition::Zero))
}

pub(super) fn classifier(_file: &JsonFile) -> Result<ClassifierConfig, ModelError> {
    Ok(ClassifierConfig { dense: "pre_classifier", activation: Activation::Relu, ..classifier::BERT })
}

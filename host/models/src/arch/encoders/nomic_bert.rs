//! Nomic BERT (Nussbaum et al. 2024): BERT with rotary embedding, gated linear units and no biases.

use crate::arch::decoder::Rotary;
use crate::arch::encoder::config::{
    AttentionKind, ConfigKeys, EncoderBiases, EncoderConfig, THETA, read_theta, read_types,
};
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The keys of `config.json` that it reads beyond those of all architectures: the names of transformers, and those of the
/// model's own code, which older checkpoints have.
pub(super) const KEYS: &[&str] = &[
    "layer_norm_eps",
    "type_vocab_size",
    "rope_theta",
    "head_dim",
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
    "layer_norm_epsilon",
    "activation_function",
    "rotary_emb_base",
    "rotary_emb_fraction",
    "rotary_emb_interleaved",
    "rotary_emb_scale_base",
    "prenorm",
    "use_rms_norm",
    "qkv_proj_bias",
    "mlp_fc1_bias",
    "mlp_fc2_bias",
    "parallel_block",
];

pub(super) const TENSORS: EncoderTensors = EncoderTensors {
    words: "embeddings.word_embeddings",
    positions: "",
    types: "embeddings.token_type_embeddings",
    norm: "emb_ln",
    layer: "encoder.layers.{}.",
    qkv: &["attn.Wqkv"],
    attention_output: "attn.out_proj",
    attention_norm: "norm1",
    wide: &["mlp.fc12", "mlp.fc11"],
    narrow: "mlp.fc2",
    output_norm: "norm2",
    final_norm: "",
    relative_bias: "",
};

/// `rope_theta` of `NomicBertConfig`.
const THETA_DEFAULT: f64 = 1_000.0;

pub(super) fn config(file: &JsonFile) -> Result<EncoderConfig, ModelError> {
    check_older_keys(file)?;
    let named = |own: &'static str, older: &'static str| {
        let (has_own, has_older) = (file.get(own).is_some(), file.get(older).is_some());
        if has_older && !has_own { older } else { own }
    };
    let activation = match file.optional_text("activation_function")? {
        // A gated linear unit with this function.
        Some("swiglu") | None => ("hidden_act", "silu"),
        Some(_) => ("activation_function", "silu"),
    };
    let keys = ConfigKeys {
        hidden: (named("hidden_size", "n_embd"), 768),
        layers: (named("num_hidden_layers", "n_layer"), 12),
        heads: (named("num_attention_heads", "n_head"), 12),
        feed_forward: (named("intermediate_size", "n_inner"), 3_072),
        vocabulary: 30_528,
        positions: 2_048,
        epsilon: (Some(named("layer_norm_eps", "layer_norm_epsilon")), 1e-12),
        activation,
    };
    let config = keys.read(file, None)?;
    let head_dim = config.hidden / config.heads;
    let settings = file.optional_object("rope_parameters")?;
    let inside = settings.map(|settings| read_theta(&settings)).transpose()?.flatten();
    let theta = |key| file.optional_float(key, THETA);
    let (own, older) = (theta("rope_theta")?, theta("rotary_emb_base")?);
    let theta = inside.or(own).or(older).unwrap_or(THETA_DEFAULT);
    if file.optional_number("head_dim", 1..=usize::MAX)?.is_some_and(|given| given != head_dim) {
        return Err(file.wrong("head_dim", format!("is not {head_dim}, as hidden size and heads make it")));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(file.wrong(keys.heads.0, format!("makes heads of {head_dim} numbers, expected an even number")));
    }
    Ok(EncoderConfig {
        token_types: read_types(file)?,
        reads_types: true,
        is_gated: true,
        biases: EncoderBiases { attention: false, feed_forward: false, norms: true },
        attention: vec![AttentionKind { distance: None, rotary: Some(Rotary::unscaled(theta, head_dim)) }],
        ..config
    })
}

/// Refuses settings of the model's own code that transformers does not have.
fn check_older_keys(file: &JsonFile) -> Result<(), ModelError> {
    for key in [
        "rotary_emb_interleaved",
        "prenorm",
        "use_rms_norm",
        "qkv_proj_bias",
        "mlp_fc1_bias",
        "mlp_fc2_bias",
        "parallel_block",
    ] {
        if file.flag(key, false)? {
            return Err(file.wrong(key, "is true, which is not supported"));
        }
    }
    if file.float_or("rotary_emb_fraction", 1.0, 0.0..=1.0)? != 1.0 {
        return Err(file.wrong("rotary_emb_fraction", "is not 1, which is not supported"));
    }
    if file.get("rotary_emb_scale_base").is_some() {
        return Err(file.wrong("rotary_emb_scale_base", "is not supported; expected null"));
    }
    Ok(())
}

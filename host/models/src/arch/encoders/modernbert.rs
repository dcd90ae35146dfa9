//! ModernBERT (Warner et al. 2024): norms before attention and feed-forward part, gated linear units, rotary embedding, no
//! biases, and layers in which tokens attend to near tokens only.

use firebox_contract::limits;
use serde_json::Value;

use crate::arch::decoder::Rotary;
use crate::arch::encoder::classifier::ClassifierConfig;
use crate::arch::encoder::config::{AttentionKind, ConfigKeys, EncoderBiases, EncoderConfig, THETA, read_theta};
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;
use crate::layers::activation;

/// The keys of `config.json` that it reads beyond those of all architectures.
pub(super) const KEYS: &[&str] = &[
    "norm_eps",
    "norm_bias",
    "attention_bias",
    "mlp_bias",
    "hidden_activation",
    "local_attention",
    "global_attn_every_n_layers",
    "layer_types",
    "global_rope_theta",
    "local_rope_theta",
    "classifier_pooling",
    "classifier_bias",
    "classifier_activation",
];

/// Those of `ModernBertConfig`.
const CONFIG: ConfigKeys = ConfigKeys {
    hidden: ("hidden_size", 768),
    layers: ("num_hidden_layers", 22),
    heads: ("num_attention_heads", 12),
    feed_forward: ("intermediate_size", 1_152),
    vocabulary: 50_368,
    positions: 8_192,
    epsilon: (Some("norm_eps"), 1e-5),
    activation: ("hidden_activation", "gelu"),
};
const LOCAL_ATTENTION_DEFAULT: usize = 128;
const GLOBAL_EVERY_DEFAULT: usize = 3;
const GLOBAL_THETA_DEFAULT: f64 = 160_000.0;
const LOCAL_THETA_DEFAULT: f64 = 10_000.0;

pub(super) const TENSORS: EncoderTensors = EncoderTensors {
    words: "embeddings.tok_embeddings",
    positions: "",
    types: "",
    norm: "embeddings.norm",
    layer: "layers.{}.",
    qkv: &["attn.Wqkv"],
    attention_output: "attn.Wo",
    attention_norm: "attn_norm",
    wide: &["mlp.Wi"],
    narrow: "mlp.Wo",
    output_norm: "mlp_norm",
    final_norm: "final_norm",
    relative_bias: "",
};

pub(super) fn config(file: &JsonFile) -> Result<EncoderConfig, ModelError> {
    let config = CONFIG.read(file, None)?;
    let head_dim = config.hidden / config.heads;
    if !head_dim.is_multiple_of(2) {
        return Err(
            file.wrong("num_attention_heads", format!("makes heads of {head_dim} numbers, expected an even number"))
        );
    }
    let local = file.number_or("local_attention", LOCAL_ATTENTION_DEFAULT, 0..=limits::CONTEXT_TOKENS_MAX)?;
    if file.has("rope_scaling") {
        return Err(file.wrong("rope_scaling", "is not supported; expected null"));
    }
    let settings = file.optional_object("rope_parameters")?;
    let rotary = |kind: &str, older: &str, default: f64| {
        let own = settings.as_ref().map(|settings| settings.optional_object(kind)).transpose()?.flatten();
        let given = own.map(|own| read_theta(&own)).transpose()?.flatten();
        let older = file.optional_float(older, THETA)?;
        Ok::<_, ModelError>(Some(Rotary::unscaled(given.or(older).unwrap_or(default), head_dim)))
    };
    let global = rotary("full_attention", "global_rope_theta", GLOBAL_THETA_DEFAULT)?;
    let near = rotary("sliding_attention", "local_rope_theta", LOCAL_THETA_DEFAULT)?;
    Ok(EncoderConfig {
        is_gated: true,
        norms_first: true,
        biases: EncoderBiases {
            attention: file.flag("attention_bias", false)?,
            feed_forward: file.flag("mlp_bias", false)?,
            norms: file.flag("norm_bias", false)?,
        },
        attention: vec![
            AttentionKind { distance: None, rotary: global },
            AttentionKind { distance: Some(local / 2), rotary: near },
        ],
        kinds: kinds(file, config.layers)?,
        ..config
    })
}

/// 0 for layers whose tokens attend to all others, 1 for those with near tokens only.
fn kinds(file: &JsonFile, layers: usize) -> Result<Vec<usize>, ModelError> {
    let every = file.number_or("global_attn_every_n_layers", GLOBAL_EVERY_DEFAULT, 1..=usize::MAX)?;
    let Some(types) = file.get("layer_types") else {
        return Ok((0..layers).map(|layer| usize::from(!layer.is_multiple_of(every))).collect());
    };
    let kind =
        |kind: &Value| ["full_attention", "sliding_attention"].iter().position(|known| kind.as_str() == Some(known));
    let kinds: Option<Vec<usize>> = types.as_array().and_then(|list| list.iter().map(kind).collect());
    kinds.filter(|kinds| kinds.len() == layers).ok_or_else(|| {
        let reason =
            format!("is {}, expected {layers} times \"full_attention\" or \"sliding_attention\"", shorten(types));
        file.wrong("layer_types", reason)
    })
}

pub(super) fn classifier(file: &JsonFile) -> Result<ClassifierConfig, ModelError> {
    let pools_mean = match file.optional_text("classifier_pooling")? {
        None | Some("cls") => false,
        Some("mean") => true,
        Some(other) => {
            return Err(file.wrong("classifier_pooling", format!("is {other:?}, expected \"cls\" or \"mean\"")));
        }
    };
    let (_, epsilon) = CONFIG.epsilon;
    let epsilon = file.float_or("norm_eps", epsilon, 0.0..=1.0)?;
    Ok(ClassifierConfig {
        pools_mean,
        dense: "head.dense",
        has_dense_bias: file.flag("classifier_bias", false)?,
        activation: activation::read_key(file, "classifier_activation", "gelu")?,
        norm: Some(("head.norm", epsilon, file.flag("norm_bias", false)?)),
        output: "classifier",
    })
}

//! ModernBERT in GGUF files.

use firebox_contract::limits;
use serde_json::{Map, Value, json};

use super::{EncoderKeys, GgufEncoder};
use crate::error::ModelError;

/// What llama.cpp takes for frequencies that the file does not name.
const THETA_DEFAULT: f64 = 10_000.0;
/// Every third layer attends to all tokens, from the first on.
const PATTERN_DEFAULT: u64 = 3;

pub(super) const ROW: GgufEncoder = GgufEncoder {
    name: "modern-bert",
    class: "ModernBertModel",
    ranking_class: "ModernBertForSequenceClassification",
    model_type: "modernbert",
    has_positions: false,
    epsilon: "norm_eps",
    complete,
    model: &[
        ("token_embd", "embeddings.tok_embeddings"),
        ("token_embd_norm", "embeddings.norm"),
        ("output_norm", "final_norm"),
        ("cls", "head.dense"),
        ("cls.norm", "head.norm"),
        ("cls.output", "classifier"),
    ],
    layer: (
        "layers.",
        &[
            ("attn_norm", "attn_norm"),
            ("attn_qkv", "attn.Wqkv"),
            ("attn_output", "attn.Wo"),
            ("ffn_norm", "mlp_norm"),
            ("ffn_up", "mlp.Wi"),
            ("ffn_down", "mlp.Wo"),
        ],
    ),
};

fn complete(keys: &EncoderKeys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    let mut insert = |key: &str, value: Value| config.insert(key.to_owned(), value);
    let activation = keys.metadata.text(&keys.key("hidden_activation"))?.unwrap_or("gelu");
    // Some files have the name of the gated unit.
    let activation = match activation {
        "geglu" => "gelu",
        "swiglu" => "silu",
        other => other,
    };
    insert("hidden_activation", json!(activation));
    for (own, gguf) in [("global_rope_theta", "rope.freq_base"), ("local_rope_theta", "rope.freq_base_swa")] {
        insert(own, json!(keys.float(gguf)?.unwrap_or(THETA_DEFAULT)));
    }
    let scaling = "rope.scaling.type";
    if let Some(other) = keys.metadata.text(&keys.key(scaling))?.filter(|kind| *kind != "none") {
        let reason = format!("is {:?}, expected \"none\"", other.chars().take(40).collect::<String>());
        return Err(keys.wrong(scaling, reason));
    }
    let window = keys.number("attention.sliding_window")?.unwrap_or(0);
    insert("local_attention", json!(window));
    insert("layer_types", layer_types(keys, window > 0)?);
    let pools_mean = match keys.number("classifier.pooling_type")? {
        None | Some(1) => true,
        Some(2) => false,
        Some(other) => {
            let reason = format!("is {other}, expected 1 (mean) or 2 (first token)");
            return Err(keys.wrong("classifier.pooling_type", reason));
        }
    };
    insert("classifier_pooling", json!(if pools_mean { "mean" } else { "cls" }));
    insert("classifier_bias", json!(keys.rows.has_head_bias));
    Ok(())
}

/// Which layers attend to near tokens only: all but the first of each pattern, or as a list says.
fn layer_types(keys: &EncoderKeys<'_>, has_window: bool) -> Result<Value, ModelError> {
    let (key, most) = ("attention.sliding_window_pattern", limits::MODEL_LAYERS_MAX);
    let near: Vec<bool> = match keys.metadata.flags(&keys.key(key), most)? {
        Some(flags) => flags,
        None => {
            let pattern = keys.number(key)?.unwrap_or(PATTERN_DEFAULT).max(1);
            (0..keys.needed("block_count")?.min(most as u64)).map(|layer| !layer.is_multiple_of(pattern)).collect()
        }
    };
    let kind = |near: bool| if near && has_window { "sliding_attention" } else { "full_attention" };
    Ok(near.into_iter().map(kind).collect())
}

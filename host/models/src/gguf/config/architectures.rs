//! The table of architectures of GGUF.

use firebox_contract::limits;
use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::gguf::config::{Keys, as_written};

/// An architecture of GGUF and its class in transformers.
#[derive(Debug)]
pub(in crate::gguf) struct Architecture {
    /// `general.architecture`.
    pub(in crate::gguf) name: &'static str,
    /// Whether its layers are mixtures of experts.
    pub(super) has_experts: bool,
    pub(super) class: &'static str,
    pub(super) model_type: &'static str,
    /// Whether rows of q and k are stored in the order of interleaved rotary embedding.
    pub(in crate::gguf) is_interleaved: bool,
    /// Whether only a part of each head may be rotated.
    pub(super) may_be_partial: bool,
    /// Names of tensors of a layer that differ from the usual ones, as in [`names`](crate::gguf::names).
    pub(in crate::gguf) names: &'static [(&'static str, &'static str)],
    /// Adds the keys of `config.json` that only it has.
    pub(super) complete: fn(&Keys<'_>, &mut Map<String, Value>) -> Result<(), ModelError>,
}

/// What most architectures have.
const USUAL: Architecture = Architecture {
    name: "",
    has_experts: false,
    class: "",
    model_type: "",
    is_interleaved: false,
    may_be_partial: false,
    names: &[],
    complete: with_biases,
};

/// Norms before and after each part of a layer.
const FOUR_NORMS: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
const MIXTRAL: &[(&str, &str)] = &[
    ("ffn_gate_inp", "block_sparse_moe.gate"),
    ("ffn_gate_exps", "block_sparse_moe.experts.w1"),
    ("ffn_up_exps", "block_sparse_moe.experts.w3"),
    ("ffn_down_exps", "block_sparse_moe.experts.w2"),
    ("ffn_gate_up_exps", "block_sparse_moe.experts.gate_up_proj"),
];

/// Every architecture of GGUF that can be read. To add one, add a row.
pub(super) const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "llama", class: "LlamaForCausalLM", model_type: "llama", is_interleaved: true, ..USUAL },
    Architecture {
        name: "llama",
        has_experts: true,
        class: "MixtralForCausalLM",
        model_type: "mixtral",
        is_interleaved: true,
        names: MIXTRAL,
        complete: mixtral,
        ..USUAL
    },
    Architecture {
        name: "mistral3",
        class: "Ministral3ForCausalLM",
        model_type: "ministral3",
        is_interleaved: true,
        complete: mistral3,
        ..USUAL
    },
    Architecture { name: "qwen2", class: "Qwen2ForCausalLM", model_type: "qwen2", complete: |_, _| Ok(()), ..USUAL },
    Architecture { name: "qwen3", class: "Qwen3ForCausalLM", model_type: "qwen3", ..USUAL },
    Architecture {
        name: "qwen3moe",
        has_experts: true,
        class: "Qwen3MoeForCausalLM",
        model_type: "qwen3_moe",
        complete: qwen3moe,
        ..USUAL
    },
    Architecture {
        name: "phi3",
        class: "Phi3ForCausalLM",
        model_type: "phi3",
        may_be_partial: true,
        names: &[("ffn_up", "mlp.gate_up_proj")],
        complete: phi3,
        ..USUAL
    },
    Architecture {
        name: "gemma2",
        class: "Gemma2ForCausalLM",
        model_type: "gemma2",
        names: FOUR_NORMS,
        complete: gemma2,
        ..USUAL
    },
    Architecture {
        name: "gemma3",
        class: "Gemma3ForCausalLM",
        model_type: "gemma3_text",
        names: FOUR_NORMS,
        complete: gemma3,
        ..USUAL
    },
    Architecture { name: "smollm3", class: "SmolLM3ForCausalLM", model_type: "smollm3", is_interleaved: true, ..USUAL },
    Architecture {
        name: "olmo2",
        class: "Olmo2ForCausalLM",
        model_type: "olmo2",
        names: FOUR_NORMS,
        complete: olmo2,
        ..USUAL
    },
    Architecture {
        name: "granite",
        class: "GraniteForCausalLM",
        model_type: "granite",
        is_interleaved: true,
        complete: granite,
        ..USUAL
    },
];

fn with_biases(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    config.insert("attention_bias".to_owned(), json!(keys.tensors.has_attention_bias));
    if keys.tensors.has_mlp_bias {
        config.insert("mlp_bias".to_owned(), json!(true));
    }
    Ok(())
}

/// Copies numbers under other names, where the file has them.
fn copy(keys: &Keys<'_>, config: &mut Map<String, Value>, names: &[(&str, &str)]) -> Result<(), ModelError> {
    for (own, gguf) in names {
        if let Some(number) = keys.float(gguf)? {
            config.insert((*own).to_owned(), json!(as_written(number)));
        }
    }
    Ok(())
}

fn mixtral(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    config.insert("sliding_window".to_owned(), Value::Null);
    experts(keys, config)
}

fn experts(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    config.insert("num_local_experts".to_owned(), json!(keys.needed("expert_count")?));
    config.insert("num_experts_per_tok".to_owned(), json!(keys.needed("expert_used_count")?));
    Ok(())
}

fn qwen3moe(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    with_biases(keys, config)?;
    experts(keys, config)?;
    // Older files leave it out: a token's experts are together as wide as the layer says.
    let all = keys.needed("feed_forward_length")?;
    let wide = match keys.number("expert_feed_forward_length")? {
        Some(wide) => wide,
        None => all / keys.needed("expert_used_count")?.max(1),
    };
    config.insert("moe_intermediate_size".to_owned(), json!(wide));
    config.insert("norm_topk_prob".to_owned(), json!(keys.flag("expert_weights_norm")?.unwrap_or(true)));
    Ok(())
}

fn mistral3(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    let beta = keys.float("attention.temperature_scale")?.unwrap_or(0.0);
    let original = keys.number("rope.scaling.original_context_length")?;
    // Without settings of its own the class has those of its first model.
    let scaling = config.remove("rope_scaling").unwrap_or_else(|| json!({ "rope_type": "default" }));
    let mut settings = scaling.as_object().cloned().unwrap_or_default();
    settings.insert("llama_4_scaling_beta".to_owned(), json!(as_written(beta)));
    settings.insert("original_max_position_embeddings".to_owned(), json!(original));
    config.insert("rope_parameters".to_owned(), Value::Object(settings));
    Ok(())
}

fn phi3(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    let window = keys.number("attention.sliding_window")?.filter(|window| *window > 0);
    config.insert("sliding_window".to_owned(), json!(window));
    if let Some(original) = keys.number("rope.scaling.original_context_length")? {
        config.insert("original_max_position_embeddings".to_owned(), json!(original));
    }
    Ok(())
}

fn gemma2(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    with_biases(keys, config)?;
    gemma(keys, config, 46)?;
    copy(keys, config, &[("attn_logit_softcapping", "attn_logit_softcapping")])?;
    layer_types(keys, config, 2)
}

fn gemma3(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    with_biases(keys, config)?;
    gemma(keys, config, 62)?;
    copy(keys, config, &[("rope_local_base_freq", "rope.freq_base_swa")])?;
    if !config.contains_key("sliding_window") {
        config.insert("sliding_window".to_owned(), Value::Null);
        return layer_types(keys, config, 1);
    }
    layer_types(keys, config, 6)
}

/// What Gemma 2 and 3 have in common. Only models of so many layers divide scores by another number than the width of a
/// head, and files do not say it.
fn gemma(keys: &Keys<'_>, config: &mut Map<String, Value>, layers_of_27b: u64) -> Result<(), ModelError> {
    // The sum of 1 and the weight of Hugging Face is stored.
    config.insert("norm_offset".to_owned(), json!(0.0));
    copy(keys, config, &[("final_logit_softcapping", "final_logit_softcapping")])?;
    if let Some(window) = keys.number("attention.sliding_window")?.filter(|window| *window > 0) {
        config.insert("sliding_window".to_owned(), json!(window));
    }
    let by_head = keys.needed("embedding_length")? / keys.needed("attention.head_count")?.max(1);
    let scalar = match keys.needed("block_count")? == layers_of_27b {
        true => by_head,
        false => keys.number("attention.key_length")?.unwrap_or(by_head),
    };
    config.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
    Ok(())
}

/// Which layers have a sliding window: all but each of a pattern's last, or as a list says.
fn layer_types(keys: &Keys<'_>, config: &mut Map<String, Value>, pattern: u64) -> Result<(), ModelError> {
    let (key, count) = ("attention.sliding_window_pattern", keys.needed("block_count")?);
    let slides: Vec<bool> = match keys.flags(key)? {
        Some(flags) => flags,
        None => {
            let pattern = keys.number(key)?.unwrap_or(pattern).max(1);
            (0..count.min(limits::MODEL_LAYERS_MAX as u64)).map(|layer| (layer + 1) % pattern != 0).collect()
        }
    };
    let kind = |slides: &bool| if *slides { "sliding_attention" } else { "full_attention" };
    config.insert("layer_types".to_owned(), json!(slides.iter().map(kind).collect::<Vec<_>>()));
    Ok(())
}

fn olmo2(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    with_biases(keys, config)?;
    match keys.number("attention.sliding_window")?.filter(|window| *window > 0) {
        Some(window) => {
            let reason = format!("is {window}: the sliding windows of OLMo 3 are not supported in GGUF files");
            Err(keys.wrong("attention.sliding_window", reason))
        }
        None => Ok(()),
    }
}

fn granite(keys: &Keys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    with_biases(keys, config)?;
    let names = [
        ("logits_scaling", "logit_scale"),
        ("residual_multiplier", "residual_scale"),
        ("embedding_multiplier", "embedding_scale"),
        ("attention_multiplier", "attention.scale"),
    ];
    copy(keys, config, &names)?;
    if !config.contains_key("attention_multiplier") {
        let width = keys.needed("embedding_length")? as f64 / keys.needed("attention.head_count")?.max(1) as f64;
        config.insert("attention_multiplier".to_owned(), json!(width.sqrt().recip()));
    }
    Ok(())
}

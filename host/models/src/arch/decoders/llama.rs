//! Llama (Touvron et al. 2023) as Hugging Face has it. The other decoders are described as differences from it.

use crate::arch::decoder::{
    Around, Biases, ConfigDefaults, DecoderConfig, DecoderTensors, ExpertTensors, Projections, RotaryDefaults,
};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `LlamaConfig`.
pub(super) const DEFAULTS: ConfigDefaults = ConfigDefaults {
    hidden: 4_096,
    layers: 32,
    heads: 32,
    feed_forward: 11_008,
    vocabulary: 32_000,
    positions: 2_048,
    rotary: RotaryDefaults::USUAL,
    tied_embeddings: false,
    activation: ("hidden_act", "silu"),
    kv_heads: None,
    head_dim: None,
    norm_epsilon: 1e-6,
};

/// The names in Hugging Face checkpoints, which most decoders use.
pub(super) const TENSORS: DecoderTensors = DecoderTensors {
    base: "model.",
    embeddings: "model.embed_tokens",
    norm: "model.norm",
    head: "lm_head",
    layer: "model.layers.{}.",
    attention_norms: Around { before: Some("input_layernorm"), after: None },
    qkv: Projections::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    qk_norms: ["self_attn.q_norm", "self_attn.k_norm"],
    attention_output: "self_attn.o_proj",
    mlp_norms: Around { before: Some("post_attention_layernorm"), after: None },
    gate_up: Projections::Separate(["mlp.gate_proj", "mlp.up_proj"]),
    down: "mlp.down_proj",
    experts: ExpertTensors {
        router: "mlp.gate",
        experts: "mlp.experts.",
        parts: ["gate_proj", "up_proj", "down_proj"],
    },
};

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read(file, DEFAULTS)?;
    let attention = file.flag("attention_bias", false)?;
    config.biases = Biases { qkv: attention, output: attention, mlp: file.flag("mlp_bias", false)? };
    Ok(config)
}

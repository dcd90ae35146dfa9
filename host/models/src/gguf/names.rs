//! Names of tensors: from those of GGUF to those of Hugging Face.

/// Tensors of the whole model.
const MODEL: &[(&str, &str)] =
    &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// Tensors of each layer, behind `blk.N.` and `model.layers.N.`.
const LAYER: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The name of the tensor `name` in a Hugging Face checkpoint, or `None` where no model here has one of this name.
pub(super) fn hugging_face(name: &str) -> Option<String> {
    let (part, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    let find = |table: &[(&str, &'static str)], part: &str| table.iter().find(|row| row.0 == part).map(|row| row.1);
    if let Some(own) = find(MODEL, part) {
        return Some(format!("{own}.{kind}"));
    }
    let (layer, part) = part.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    find(LAYER, part).map(|own| format!("model.layers.{layer}.{own}.{kind}"))
}

/// Whether converters permute the rows of this tensor for architectures with interleaved rotary embedding.
pub(super) fn is_rotated(name: &str) -> bool {
    let part = name.rsplit_once('.').map_or(name, |(part, _)| part);
    part.ends_with(".attn_q") || part.ends_with(".attn_k")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_transformers() {
        let name = |gguf: &str| hugging_face(gguf);
        assert_eq!(name("token_embd.weight").as_deref(), Some("model.embed_tokens.weight"));
        assert_eq!(name("output.weight").as_deref(), Some("lm_head.weight"));
        assert_eq!(name("blk.12.attn_q.bias").as_deref(), Some("model.layers.12.self_attn.q_proj.bias"));
        assert_eq!(name("blk.0.ffn_down.weight").as_deref(), Some("model.layers.0.mlp.down_proj.weight"));
        for other in ["blk.x.attn_q.weight", "blk.1.ffn_gate_exps.weight", "rope_freqs.weight", "blk.1.attn_q", ""] {
            assert_eq!(name(other), None, "{other}");
        }
        assert!(is_rotated("blk.3.attn_k.weight") && !is_rotated("blk.3.attn_k_norm.weight"));
    }
}

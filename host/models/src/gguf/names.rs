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
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.gate_proj"),
    ("ffn_up_exps", "mlp.experts.up_proj"),
    ("ffn_down_exps", "mlp.experts.down_proj"),
    ("ffn_gate_up_exps", "mlp.experts.gate_up_proj"),
];

/// The name of the tensor `name` in a Hugging Face checkpoint, or `None` where no model here has one of this name.
/// `special` are names of tensors of a layer that the architecture has for others than the usual ones.
pub(super) fn hugging_face(name: &str, special: &[(&str, &str)]) -> Option<String> {
    let (part, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    if let Some(own) = find(MODEL, part) {
        return Some(format!("{own}.{kind}"));
    }
    let (layer, part) = part.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let own = |part: &str| find(special, part).or_else(|| find(LAYER, part));
    // Older files have the experts of a layer one by one.
    if let Some((part, expert)) = part.split_once('.') {
        let (expert, all) = (expert.parse::<u32>().ok()?, own(&format!("{part}_exps"))?);
        let (start, end) = all.rsplit_once('.')?;
        return Some(format!("model.layers.{layer}.{start}.{expert}.{end}.{kind}"));
    }
    own(part).map(|own| format!("model.layers.{layer}.{own}.{kind}"))
}

fn find<'a>(table: &[(&str, &'a str)], part: &str) -> Option<&'a str> {
    table.iter().find(|row| row.0 == part).map(|row| row.1)
}

/// The opposite of [`hugging_face`]. A checkpoint of the model without its head leaves `model.` out.
pub(super) fn gguf(name: &str) -> Option<String> {
    let (part, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    let find = |table: &[(&'static str, &str)], part: &str| table.iter().find(|row| row.1 == part).map(|row| row.0);
    let whole = if part.starts_with("model.") { part.to_owned() } else { format!("model.{part}") };
    if let Some(own) = find(MODEL, part).or_else(|| find(MODEL, &whole)) {
        return Some(format!("{own}.{kind}"));
    }
    let (layer, part) = whole.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    find(LAYER, part).map(|own| format!("blk.{layer}.{own}.{kind}"))
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
        let name = |gguf: &str| hugging_face(gguf, &[("attn_norm", "other")]);
        assert_eq!(name("token_embd.weight").as_deref(), Some("model.embed_tokens.weight"));
        assert_eq!(name("output.weight").as_deref(), Some("lm_head.weight"));
        assert_eq!(name("blk.12.attn_q.bias").as_deref(), Some("model.layers.12.self_attn.q_proj.bias"));
        assert_eq!(name("blk.0.ffn_down.weight").as_deref(), Some("model.layers.0.mlp.down_proj.weight"));
        assert_eq!(name("blk.1.attn_norm.weight").as_deref(), Some("model.layers.1.other.weight"));
        assert_eq!(name("blk.1.ffn_up_exps.weight").as_deref(), Some("model.layers.1.mlp.experts.up_proj.weight"));
        assert_eq!(name("blk.1.ffn_up.7.weight").as_deref(), Some("model.layers.1.mlp.experts.7.up_proj.weight"));
        for own in
            ["token_embd.weight", "output.weight", "output_norm.weight", "blk.12.attn_q.bias", "blk.0.ffn_down.weight"]
        {
            assert_eq!(hugging_face(own, &[]).and_then(|name| gguf(&name)).as_deref(), Some(own));
        }
        assert_eq!(gguf("layers.3.input_layernorm.weight").as_deref(), Some("blk.3.attn_norm.weight"));
        assert_eq!(gguf("model.layers.3.self_attn.rotary_emb.inv_freq"), None);
        for other in ["blk.x.attn_q.weight", "blk.1.attn_q.2.weight", "rope_freqs.weight", "blk.1.attn_q", ""] {
            assert_eq!(name(other), None, "{other}");
        }
        assert!(is_rotated("blk.3.attn_k.weight") && !is_rotated("blk.3.attn_k_norm.weight"));
    }
}

//! Which type each tensor becomes: the rules by which llama.cpp's `llama-quantize` mixes types
//! (<https://github.com/ggml-org/llama.cpp>, `src/llama-quant.cpp`), for the types that can be written here.

use firebox_kernels::weights::StoredType;
use firebox_kernels::weights::blocks;

/// A mixture of types with a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Mixture {
    /// The name, in small letters.
    pub name: &'static str,
    /// Another name.
    alias: Option<&'static str>,
    /// `general.file_type`.
    pub(super) file_type: u32,
    /// The type of most tensors.
    base: &'static str,
    raised: RaisedTypes,
}

/// Which tensors get more bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RaisedTypes {
    None,
    /// Values of the first four layers, and down projections of the first eighth: Q5_K.
    First,
    /// Values and down projections of the first and last eighth of the layers and of every third between: Q6_K.
    Spread,
}

/// What the rules ask about the whole model.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ModelFacts {
    pub(super) layers: usize,
    pub(super) experts: usize,
    /// Whether the embedding is also the output matrix.
    pub(super) is_tied: bool,
}

const PLAIN: Mixture = Mixture { name: "", alias: None, file_type: 0, base: "F32", raised: RaisedTypes::None };

/// Every mixture.
const MIXTURES: &[Mixture] = &[
    Mixture { name: "f32", file_type: 0, base: "F32", ..PLAIN },
    Mixture { name: "f16", file_type: 1, base: "F16", ..PLAIN },
    Mixture { name: "bf16", file_type: 32, base: "BF16", ..PLAIN },
    Mixture { name: "q8_0", file_type: 7, base: "Q8_0", ..PLAIN },
    Mixture { name: "q6_k", file_type: 18, base: "Q6_K", ..PLAIN },
    Mixture { name: "q5_k_m", alias: Some("q5_k"), file_type: 17, base: "Q5_K", raised: RaisedTypes::Spread },
    Mixture { name: "q5_k_s", file_type: 16, base: "Q5_K", ..PLAIN },
    Mixture { name: "q5_1", file_type: 9, base: "Q5_1", ..PLAIN },
    Mixture { name: "q5_0", file_type: 8, base: "Q5_0", ..PLAIN },
    Mixture { name: "q4_k_m", alias: Some("q4_k"), file_type: 15, base: "Q4_K", raised: RaisedTypes::Spread },
    Mixture { name: "q4_k_s", file_type: 14, base: "Q4_K", raised: RaisedTypes::First, ..PLAIN },
    Mixture { name: "q4_1", file_type: 3, base: "Q4_1", ..PLAIN },
    Mixture { name: "q4_0", file_type: 2, base: "Q4_0", ..PLAIN },
];

/// The names of all mixtures, the most exact first.
#[must_use]
pub fn mixtures() -> Vec<&'static str> {
    MIXTURES.iter().map(|mixture| mixture.name).collect()
}

/// Parts of names of matrices that are small or sensitive and stay as they are: norms, the choice of experts, embeddings of
/// positions and token types, short convolutions.
const KEPT: &[&str] = &[
    "norm",
    "ffn_gate_inp",
    "router",
    "mlp.gate.weight",
    "block_sparse_moe.gate.weight",
    "position_embd",
    "position_embeddings",
    "token_types",
    "token_type_embeddings",
    "ssm_conv1d",
    "shortconv",
    "attn_rel_b",
    "relative_attention_bias",
];

impl Mixture {
    /// The mixture of this name, in any case of letters.
    ///
    /// # Errors
    /// A sentence with the names.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        let small = name.to_ascii_lowercase();
        let found = MIXTURES.iter().find(|mixture| mixture.name == small || mixture.alias == Some(small.as_str()));
        found.ok_or_else(|| {
            let name: String = name.chars().take(40).collect();
            format!("\"{name}\" is not a type of weights that can be written; give one of {}", mixtures().join(", "))
        })
    }

    fn base(&self) -> StoredType {
        // The table names types that exist, as a test shows.
        blocks::named(self.base).unwrap_or(StoredType::F32)
    }

    /// Whether most tensors are in blocks.
    pub(super) fn is_quantized(&self) -> bool {
        matches!(self.base(), StoredType::Blocks(_))
    }

    /// The type of the tensor `name` (as GGUF calls it) of `[.., width]`, or `None` where it stays as it is.
    pub(super) fn target(&self, name: &str, shape: &[usize], facts: &ModelFacts) -> Option<StoredType> {
        let (width, rows) = shape.split_last()?;
        let part = name.strip_suffix(".weight")?;
        if rows.iter().product::<usize>() < 2 || KEPT.iter().any(|kept| name.contains(kept)) {
            return None;
        }
        if !self.is_quantized() {
            return Some(self.base());
        }
        let is_output = part == "output" || part == "token_embd" && facts.is_tied;
        let kind = if is_output { self.output(*width) } else { self.of_layer(part, facts) };
        Some(fitting(kind, *width))
    }

    /// The type of the matrix that makes logits.
    fn output(&self, width: usize) -> &'static str {
        let fits = self.base().row_bytes(width).is_some();
        if fits && self.base != "Q8_0" { "Q6_K" } else { "Q8_0" }
    }

    fn of_layer(&self, part: &str, facts: &ModelFacts) -> &'static str {
        let layer = part.strip_prefix("blk.").and_then(|part| part.split_once('.'));
        let Some((Some(layer), part)) = layer.map(|(layer, part)| (layer.parse::<usize>().ok(), part)) else {
            return self.base;
        };
        let is_mixed = self.raised != RaisedTypes::None;
        let eight = facts.experts == EIGHT_EXPERTS;
        match part {
            "attn_v" | "attn_k" if eight => "Q8_0",
            "attn_output" if eight && is_mixed && self.base == "Q4_K" => "Q5_K",
            "attn_v" | "attn_qkv" | "attn_kv_b" => {
                let kind = self.raised_at(layer, facts.layers, layer < FIRST_VALUES);
                // So many layers have few values for their queries, so more bits cost little.
                if kind == "Q4_K" && facts.layers == LAYERS_WITH_FEW_VALUES { "Q5_K" } else { kind }
            }
            part if part.starts_with("ffn_down") => self.raised_at(layer, facts.layers, layer < facts.layers / 8),
            _ => self.base,
        }
    }

    fn raised_at(&self, layer: usize, layers: usize, is_first: bool) -> &'static str {
        let eighth = layers / 8;
        let spread = layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
        match self.raised {
            RaisedTypes::First if is_first => "Q5_K",
            RaisedTypes::Spread if spread => "Q6_K",
            _ => self.base,
        }
    }
}

/// Numbers of the rules.
const EIGHT_EXPERTS: usize = 8;
const FIRST_VALUES: usize = 4;
const LAYERS_WITH_FEW_VALUES: usize = 80;

/// The type, or the next one whose blocks divide the width.
fn fitting(kind: &str, width: usize) -> StoredType {
    let other = match kind {
        "Q4_K" => "Q5_0",
        "Q5_K" => "Q5_1",
        "Q6_K" => "Q8_0",
        kind => kind,
    };
    let kinds = [kind, other].into_iter().filter_map(blocks::named);
    kinds.into_iter().find(|kind| kind.row_bytes(width).is_some()).unwrap_or(StoredType::F16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(mixture: &str, name: &str, width: usize, facts: &ModelFacts) -> Option<&'static str> {
        Mixture::named(mixture).expect("it exists").target(name, &[64, width], facts).map(StoredType::name)
    }

    #[test]
    fn every_mixture_names_types_that_can_be_written() {
        for mixture in MIXTURES {
            let base = blocks::named(mixture.base).expect("a type");
            assert!(!matches!(base, StoredType::Blocks(kind) if kind.pack().is_none()), "{}", mixture.name);
            assert_eq!(mixture.is_quantized(), mixture.name.starts_with('q'));
        }
        assert_eq!(Mixture::named("Q4_K").map(|mixture| mixture.name), Ok("q4_k_m"));
        assert!(Mixture::named("q9").is_err_and(|error| error.contains("\"q9\"") && error.contains("q4_k_m")));
    }

    #[test]
    fn q4_k_m_gives_more_bits_to_the_layers_at_both_ends_and_to_every_third() {
        let facts = ModelFacts { layers: 24, is_tied: true, ..ModelFacts::default() };
        let raised: Vec<usize> = (0..24)
            .filter(|layer| kind("q4_k_m", &format!("blk.{layer}.ffn_down.weight"), 512, &facts) == Some("Q6_K"))
            .collect();
        assert_eq!(raised, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
        for layer in 0..24 {
            let of = |part: &str| kind("q4_k_m", &format!("blk.{layer}.{part}.weight"), 512, &facts);
            assert_eq!(of("attn_v"), of("ffn_down"), "{layer}");
            assert_eq!((of("attn_k"), of("ffn_up")), (Some("Q4_K"), Some("Q4_K")));
            let of = |part: &str| kind("q4_k_s", &format!("blk.{layer}.{part}.weight"), 512, &facts);
            assert_eq!(of("attn_v") == Some("Q5_K"), layer < 4);
            assert_eq!(of("ffn_down") == Some("Q5_K"), layer < 3);
        }
    }

    #[test]
    fn the_matrix_of_logits_is_q6_k_and_widths_that_do_not_fit_fall_back() {
        let tied = ModelFacts { layers: 2, is_tied: true, ..ModelFacts::default() };
        let apart = ModelFacts { is_tied: false, ..tied };
        assert_eq!(kind("q4_k_m", "token_embd.weight", 512, &tied), Some("Q6_K"));
        assert_eq!(kind("q4_k_m", "token_embd.weight", 512, &apart), Some("Q4_K"));
        assert_eq!(kind("q4_k_m", "output.weight", 512, &apart), Some("Q6_K"));
        assert_eq!(kind("q8_0", "output.weight", 512, &apart), Some("Q8_0"));
        assert_eq!(kind("q4_0", "output.weight", 512, &apart), Some("Q6_K"));
        // 576 is no multiple of 256, and 33 of nothing.
        assert_eq!(kind("q4_0", "output.weight", 576, &apart), Some("Q8_0"));
        for (mixture, name) in [("q4_k_s", "Q5_0"), ("q5_k_s", "Q5_1"), ("q6_k", "Q8_0"), ("q4_0", "Q4_0")] {
            assert_eq!(kind(mixture, "blk.1.attn_q.weight", 576, &tied), Some(name));
            assert_eq!(kind(mixture, "blk.1.attn_q.weight", 33, &tied), Some("F16"));
        }
    }

    #[test]
    fn vectors_norms_and_the_choice_of_experts_stay() {
        let facts = ModelFacts { layers: 2, experts: 8, is_tied: false };
        let mixture = Mixture::named("q4_k_m").expect("it exists");
        assert_eq!(mixture.target("blk.0.attn_norm.weight", &[512], &facts), None);
        assert_eq!(mixture.target("blk.0.attn_q.bias", &[512], &facts), None);
        assert_eq!(mixture.target("blk.0.attn_q.weight", &[1, 512], &facts), None);
        for name in ["blk.0.ffn_gate_inp.weight", "position_embd.weight", "token_types.weight", "blk.0.x_norm.weight"] {
            assert_eq!(kind("q4_k_m", name, 512, &facts), None, "{name}");
        }
        assert_eq!(kind("q4_k_m", "blk.0.attn_k.weight", 512, &facts), Some("Q8_0"));
        assert_eq!(kind("q4_k_m", "blk.1.attn_output.weight", 512, &facts), Some("Q5_K"));
    }
}

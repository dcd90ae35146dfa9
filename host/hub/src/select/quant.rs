//! The quantizations of GGUF files, by the names that files have.

/// The quantizations that are picked without being asked for, the first one first: good answers from few bytes, then smaller ones,
/// then larger ones.
pub const QUANTS: &[&str] = &[
    "Q4_K_M", "Q4_K_S", "Q4_K_L", "Q4_K_XL", "Q4_0", "IQ4_NL", "IQ4_XS", "Q4_1", "MXFP4", "Q5_K_M", "Q5_K_S", "Q5_K_L",
    "Q5_K_XL", "Q5_0", "Q5_1", "Q6_K", "Q6_K_L", "Q6_K_XL", "Q8_0", "Q8_K_XL", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q3_K_XL",
    "Q2_K", "Q2_K_L", "Q2_K_XL", "BF16", "F16", "F32",
];

/// Quantizations that are only taken when they are asked for.
const OTHERS: &[&str] = &[
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ2_M",
    "IQ3_XXS",
    "IQ3_XS",
    "IQ3_S",
    "IQ3_M",
    "TQ1_0",
    "TQ2_0",
    "Q4_K",
    "Q5_K",
    "Q3_K",
    "Q2_K_S",
    "NVFP4",
    "MXFP4_MOE",
    "FP16",
    "FP32",
];

/// The position of a label in the order in which models are picked: those of [`QUANTS`], then files without a label, then the rest.
pub(super) fn rank(label: Option<&str>) -> (usize, bool) {
    let Some(label) = label else { return (QUANTS.len(), false) };
    let plain = label.strip_prefix("UD-").unwrap_or(label);
    (QUANTS.iter().position(|known| *known == plain).unwrap_or(QUANTS.len() + 1), plain != label)
}

/// The quantization in the name of a file, in upper case and without an ending: its last part that is one. `UD-` before it belongs
/// to it.
pub(crate) fn label(stem: &str) -> Option<String> {
    let name = stem.rsplit('/').next().unwrap_or_default().to_ascii_uppercase();
    let known = || QUANTS.iter().chain(OTHERS);
    let mut found: Option<(usize, &str)> = None;
    for quant in known() {
        for (at, _) in name.match_indices(quant) {
            let is_apart = |c: Option<char>| c.is_none_or(|c| matches!(c, '-' | '.' | '_'));
            let (before, after) = (name[..at].chars().next_back(), name[at + quant.len()..].chars().next());
            // `Q4_K` is also in `Q4_K_M`, so the longest one counts, and of several the last.
            let end = |found: (usize, &str)| found.0 + found.1.len();
            let is_better = found.is_none_or(|found| {
                at > found.0 && end((at, quant)) > end(found) || at == found.0 && quant.len() > found.1.len()
            });
            if is_apart(before) && is_apart(after) && is_better {
                found = Some((at, quant));
            }
        }
    }
    let (at, quant) = found?;
    let quant = match quant {
        "FP16" => "F16",
        "FP32" => "F32",
        quant => quant,
    };
    Some(if name[..at].ends_with("UD-") { format!("UD-{quant}") } else { quant.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_files_say_their_quantization() {
        let rows = [
            ("SmolLM2-135M-Instruct.Q4_1", Some("Q4_1")),
            ("smollm2-135m-instruct-q8_0", Some("Q8_0")),
            ("Qwen3-0.6B-Q4_K_M", Some("Q4_K_M")),
            ("Qwen3-0.6B-UD-Q4_K_XL", Some("UD-Q4_K_XL")),
            ("gpt-oss-20b-mxfp4", Some("MXFP4")),
            ("gemma-3-1b-it-BF16", Some("BF16")),
            ("model-fp16", Some("F16")),
            ("model_Q5_K_S", Some("Q5_K_S")),
            ("UD-IQ1_M/big-UD-IQ1_M", Some("UD-IQ1_M")),
            ("Q8_0-and-Q4_0", Some("Q4_0")),
            ("q8_0/model", None),
            ("ggml-model", None),
            ("XQ4_0X", None),
        ];
        for (name, expected) in rows {
            assert_eq!(label(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn every_quantization_is_its_own_label() {
        for quant in QUANTS {
            assert_eq!(label(&format!("m-{quant}")).as_deref(), Some(*quant));
            assert_eq!(QUANTS.iter().filter(|other| *other == quant).count(), 1);
        }
    }
}

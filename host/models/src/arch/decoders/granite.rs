//! Granite 3 (IBM 2024): Llama with factors at its embeddings, scores, sums and logits.

use crate::arch::decoder::{DecoderConfig, Multipliers};
use crate::arch::decoders::llama;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The keys that it reads.
pub(super) const KEYS: &[&str] = &[
    "attention_bias",
    "mlp_bias",
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "logits_scaling",
];

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = llama::config(file)?;
    #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
    let factor = |key: &str| file.float_or(key, 1.0, 1e-6..=1e6).map(|factor| factor as f32);
    config.scores.scale = factor("attention_multiplier")?;
    config.multipliers = Multipliers {
        embeddings: factor("embedding_multiplier")?,
        residual: factor("residual_multiplier")?,
        logits: 1.0 / factor("logits_scaling")?,
    };
    Ok(config)
}

//! MPNet (Song et al. 2020): BERT without token types and with a relative bias of scores, which all layers share.

use crate::arch::encoder::config::{self, ConfigKeys, EncoderConfig, FirstPosition};
use crate::arch::encoder::relative;
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The keys of `config.json` that MPNet reads beyond those of all architectures.
pub(super) const KEYS: &[&str] = &["layer_norm_eps", "relative_attention_num_buckets"];

/// Those of `MPNetConfig`.
const CONFIG: ConfigKeys = ConfigKeys { vocabulary: 30_527, ..config::BERT };
/// The padding token, whatever the config says, as in transformers.
const PAD: usize = 1;

pub(super) const TENSORS: EncoderTensors = EncoderTensors {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: "",
    norm: "embeddings.LayerNorm",
    layer: "encoder.layer.{}.",
    qkv: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    attention_output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    wide: &["intermediate.dense"],
    narrow: "output.dense",
    output_norm: "output.LayerNorm",
    final_norm: "",
    relative_bias: "encoder.relative_attention_bias",
};

pub(super) fn config(file: &JsonFile) -> Result<EncoderConfig, ModelError> {
    // The number of distances is fixed. A table with another number of rows is not one of this model.
    let buckets = file.number_or("relative_attention_num_buckets", relative::BUCKETS, 1..=4_096)?;
    if buckets < relative::BUCKETS {
        let reason = format!("is {buckets}, expected at least {}", relative::BUCKETS);
        return Err(file.wrong("relative_attention_num_buckets", reason));
    }
    Ok(EncoderConfig { buckets, ..CONFIG.read(file, Some(FirstPosition::AfterPad(PAD)))? })
}

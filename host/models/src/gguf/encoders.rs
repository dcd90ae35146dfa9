//! Text encoders in GGUF: architectures, names of tensors, `config.json` and the files of sentence-transformers.

mod modern_bert;

use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::gguf::metadata::Metadata;

/// An architecture of encoders, and its class in transformers. To add one: a row of [`ENCODERS`].
#[derive(Debug)]
pub(super) struct GgufEncoder {
    /// `general.architecture`.
    name: &'static str,
    class: &'static str,
    /// The class with a head that scores pairs of texts.
    ranking_class: &'static str,
    model_type: &'static str,
    has_positions: bool,
    /// The epsilon of norms in `config.json`.
    epsilon: &'static str,
    /// Adds what only this architecture has to `config.json`.
    complete: fn(&EncoderKeys<'_>, &mut Map<String, Value>) -> Result<(), ModelError>,
    /// Tensors of the whole model.
    model: &'static [(&'static str, &'static str)],
    /// Tensors of each layer, behind `blk.N.`, and where their names begin in transformers.
    layer: (&'static str, &'static [(&'static str, &'static str)]),
}

/// Every encoder that can be read.
const ENCODERS: &[GgufEncoder] = &[
    GgufEncoder {
        name: "bert",
        class: "BertModel",
        ranking_class: "BertForSequenceClassification",
        model_type: "bert",
        has_positions: true,
        epsilon: "layer_norm_eps",
        complete: with_types,
        model: &[
            ("token_embd", "embeddings.word_embeddings"),
            ("position_embd", "embeddings.position_embeddings"),
            ("token_types", "embeddings.token_type_embeddings"),
            ("token_embd_norm", "embeddings.LayerNorm"),
            // The head of RoBERTa computes what BERT's pooler and classifier compute.
            ("cls", "pooler.dense"),
            ("cls.output", "classifier"),
        ],
        layer: (
            "encoder.layer.",
            &[
                ("attn_q", "attention.self.query"),
                ("attn_k", "attention.self.key"),
                ("attn_v", "attention.self.value"),
                ("attn_output", "attention.output.dense"),
                ("attn_output_norm", "attention.output.LayerNorm"),
                ("ffn_up", "intermediate.dense"),
                ("ffn_down", "output.dense"),
                ("layer_output_norm", "output.LayerNorm"),
            ],
        ),
    },
    GgufEncoder {
        name: "nomic-bert",
        class: "NomicBertModel",
        ranking_class: "NomicBertForSequenceClassification",
        model_type: "nomic_bert",
        has_positions: false,
        epsilon: "layer_norm_eps",
        complete: |keys, config| {
            with_types(keys, config)?;
            config.extend(keys.float("rope.freq_base")?.map(|theta| ("rope_theta".to_owned(), json!(theta))));
            Ok(())
        },
        model: &[
            ("token_embd", "embeddings.word_embeddings"),
            ("token_types", "embeddings.token_type_embeddings"),
            ("token_embd_norm", "emb_ln"),
            ("cls", "pooler.dense"),
            ("cls.output", "classifier"),
        ],
        layer: (
            "encoder.layers.",
            &[
                ("attn_qkv", "attn.Wqkv"),
                ("attn_output", "attn.out_proj"),
                ("attn_output_norm", "norm1"),
                ("ffn_gate", "mlp.fc12"),
                ("ffn_up", "mlp.fc11"),
                ("ffn_down", "mlp.fc2"),
                ("layer_output_norm", "norm2"),
            ],
        ),
    },
    modern_bert::ROW,
];

/// The keys of an architecture, without the beginning of their names, and the facts about the tensors.
struct EncoderKeys<'a> {
    architecture: &'static str,
    metadata: &'a Metadata,
    rows: &'a TableRows,
}

impl EncoderKeys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ModelError> {
        self.metadata.number(&self.key(name))
    }

    /// A number that the file must have.
    fn needed(&self, name: &str) -> Result<u64, ModelError> {
        self.number(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    fn float(&self, name: &str) -> Result<Option<f64>, ModelError> {
        self.metadata.float(&self.key(name))
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> ModelError {
        self.metadata.wrong(&self.key(name), reason)
    }
}

fn with_types(keys: &EncoderKeys<'_>, config: &mut Map<String, Value>) -> Result<(), ModelError> {
    config.insert("type_vocab_size".to_owned(), json!(keys.rows.types));
    Ok(())
}

/// The names, for messages.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ENCODERS.iter().map(|encoder| encoder.name)
}

/// The encoder that the file has, if it has one.
///
/// # Errors
/// `Config` for a value of the wrong type.
pub(super) fn find(metadata: &Metadata) -> Result<Option<&'static GgufEncoder>, ModelError> {
    let name = metadata.text("general.architecture")?;
    Ok(ENCODERS.iter().find(|encoder| name == Some(encoder.name)))
}

/// Sizes of tables that the config depends on.
pub(super) struct TableRows {
    /// Rows of the embedding.
    pub(super) vocabulary: usize,
    /// Rows of the position embedding; `None` where the file has none.
    pub(super) positions: Option<usize>,
    /// Rows of the embedding of token types.
    pub(super) types: usize,
    /// Whether there is a layer whose output is a score.
    pub(super) has_classifier: bool,
    /// Whether the layer before it has a bias.
    pub(super) has_head_bias: bool,
}

/// How one vector is made of those of the tokens, by the numbers of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolingType {
    Mean,
    Cls,
    Last,
    /// Not at all: the file has a head that scores pairs of texts.
    Rank,
}

/// The pooling that the file of architecture `architecture` names; `None` where it names none.
///
/// # Errors
/// `Config` for an unknown one.
pub(super) fn pooling(architecture: &str, metadata: &Metadata) -> Result<Option<PoolingType>, ModelError> {
    let key = format!("{architecture}.pooling_type");
    Ok(Some(match metadata.number(&key)? {
        None | Some(0) => return Ok(None),
        Some(1) => PoolingType::Mean,
        Some(2) => PoolingType::Cls,
        Some(3) => PoolingType::Last,
        Some(4) => PoolingType::Rank,
        Some(other) => {
            let reason = format!("is {other}, expected 1 (mean), 2 (first token), 3 (last token) or 4 (ranking)");
            return Err(metadata.wrong(&key, reason));
        }
    }))
}

/// `modules.json` and the config of its pooling.
pub(super) fn modules(pooling: PoolingType) -> Vec<(&'static str, Value)> {
    let module =
        |kind: &str, path: &str| json!({ "type": format!("sentence_transformers.models.{kind}"), "path": path });
    let mode = match pooling {
        PoolingType::Mean => "mean",
        PoolingType::Cls => "cls",
        PoolingType::Last => "lasttoken",
        PoolingType::Rank => return Vec::new(),
    };
    vec![
        ("modules.json", json!([module("Transformer", ""), module("Pooling", "1_Pooling")])),
        ("1_Pooling/config.json", json!({ "pooling_mode": mode })),
    ]
}

impl GgufEncoder {
    /// The architecture's name in the file.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// `config.json`.
    ///
    /// # Errors
    /// `Config`, with the key that is missing or wrong.
    pub(super) fn config(
        &self,
        metadata: &Metadata,
        rows: &TableRows,
        pooling: Option<PoolingType>,
    ) -> Result<Value, ModelError> {
        let keys = EncoderKeys { architecture: self.name, metadata, rows };
        if metadata.flag(&keys.key("attention.causal"))? == Some(true) {
            return Err(keys.wrong("attention.causal", "is true, which is not supported for an encoder"));
        }
        // The converter names no pooling for a class with a head, and leaves heads of other classes out.
        let is_ranking = pooling == Some(PoolingType::Rank) || pooling.is_none() && rows.has_classifier;
        let mut config = Map::new();
        config.insert("architectures".to_owned(), json!([if is_ranking { self.ranking_class } else { self.class }]));
        config.insert("model_type".to_owned(), json!(self.model_type));
        for (own, gguf) in [
            ("hidden_size", "embedding_length"),
            ("num_hidden_layers", "block_count"),
            ("intermediate_size", "feed_forward_length"),
            ("num_attention_heads", "attention.head_count"),
        ] {
            config.insert(own.to_owned(), json!(keys.needed(gguf)?));
        }
        let positions = keys.needed("context_length")?;
        // The rows of the table count, and not what the file says about them.
        let rows_or = |positions| rows.positions.map_or(positions, |rows| rows as u64);
        let positions = if self.has_positions { rows_or(positions) } else { positions };
        config.insert("max_position_embeddings".to_owned(), json!(positions));
        config.insert("vocab_size".to_owned(), json!(rows.vocabulary));
        if let Some(epsilon) = keys.float("attention.layer_norm_epsilon")? {
            config.insert(self.epsilon.to_owned(), json!(epsilon));
        }
        (self.complete)(&keys, &mut config)?;
        let labels = metadata.texts(&keys.key("classifier.output_labels"))?;
        if is_ranking {
            config.insert("num_labels".to_owned(), json!(labels.map_or(1, |labels| labels.len())));
        }
        Ok(Value::Object(config))
    }

    /// The name of the tensor `name` in a Hugging Face checkpoint, or `None` where the model has none of this name.
    pub(super) fn hugging_face(&self, name: &str) -> Option<String> {
        let (part, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
        let find = |table: &[(&str, &'static str)], part: &str| table.iter().find(|row| row.0 == part).map(|row| row.1);
        if let Some(own) = find(self.model, part) {
            return Some(format!("{own}.{kind}"));
        }
        let (layer, part) = part.strip_prefix("blk.")?.split_once('.')?;
        let layer: u32 = layer.parse().ok()?;
        find(self.layer.1, part).map(|own| format!("{}{layer}.{own}.{kind}", self.layer.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_transformers() {
        let name = |encoder: usize, name: &str| ENCODERS[encoder].hugging_face(name);
        assert_eq!(name(0, "token_embd_norm.bias").as_deref(), Some("embeddings.LayerNorm.bias"));
        assert_eq!(name(0, "blk.3.attn_q.weight").as_deref(), Some("encoder.layer.3.attention.self.query.weight"));
        assert_eq!(name(0, "cls.output.weight").as_deref(), Some("classifier.weight"));
        assert_eq!(name(1, "blk.0.ffn_gate.weight").as_deref(), Some("encoder.layers.0.mlp.fc12.weight"));
        assert_eq!(name(2, "blk.2.ffn_up.weight").as_deref(), Some("layers.2.mlp.Wi.weight"));
        assert_eq!(name(2, "cls.norm.weight").as_deref(), Some("head.norm.weight"));
        for other in ["blk.x.attn_q.weight", "blk.1.ffn_gate_exps.weight", "position_embd", ""] {
            assert_eq!((name(0, other), name(1, other)), (None, None), "{other}");
        }
    }
}

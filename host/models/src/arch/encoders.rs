//! The table of text encoders.

mod bert;
mod distilbert;
mod modernbert;
mod mpnet;
mod nomic_bert;
mod roberta;

use crate::arch::encoder::classifier::{self, ClassifierConfig};
use crate::arch::encoder::config::EncoderConfig;
use crate::arch::encoder::tensors::EncoderTensors;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// An architecture of text encoders.
pub(crate) struct EncoderArchitecture {
    /// The classes in `architectures` of `config.json` that have it. Messages use the first. Others have weights for
    /// training besides, and the one for sequence classification is a cross-encoder.
    pub(crate) names: &'static [&'static str],
    /// Its family: `model_type` of `config.json`.
    pub(crate) family: &'static str,
    /// The keys of `config.json` that it reads, beyond those that every architecture reads.
    pub(crate) keys: &'static [&'static [&'static str]],
    /// The beginning of tensor names that checkpoints of the model without heads leave out.
    pub(crate) base: &'static str,
    /// The beginnings of names of tensors that text vectors do not need.
    pub(crate) unused: &'static [&'static str],
    /// The names of its tensors.
    pub(crate) tensors: &'static EncoderTensors,
    /// Reads `config.json`.
    pub(crate) config: fn(&JsonFile) -> Result<EncoderConfig, ModelError>,
    /// Reads the head of the class for sequence classification.
    pub(crate) classifier: fn(&JsonFile) -> Result<ClassifierConfig, ModelError>,
}

fn bert_head(_file: &JsonFile) -> Result<ClassifierConfig, ModelError> {
    Ok(classifier::BERT)
}

fn roberta_head(_file: &JsonFile) -> Result<ClassifierConfig, ModelError> {
    Ok(classifier::ROBERTA)
}

/// Every text encoder that can run.
pub(crate) const ENCODERS: &[EncoderArchitecture] = &[
    EncoderArchitecture {
        names: &["BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification"],
        family: "bert",
        keys: &[bert::KEYS],
        base: "bert.",
        unused: &["pooler.", "cls.predictions.", "cls.seq_relationship."],
        tensors: &bert::TENSORS,
        config: bert::config,
        classifier: bert_head,
    },
    EncoderArchitecture {
        names: &["RobertaModel", "RobertaForMaskedLM", "RobertaForSequenceClassification"],
        family: "roberta",
        keys: &[bert::KEYS, roberta::KEYS],
        base: "roberta.",
        unused: &["pooler.", "lm_head."],
        tensors: &bert::TENSORS,
        config: roberta::config,
        classifier: roberta_head,
    },
    EncoderArchitecture {
        names: &["XLMRobertaModel", "XLMRobertaForMaskedLM", "XLMRobertaForSequenceClassification"],
        family: "xlm-roberta",
        keys: &[bert::KEYS, roberta::KEYS],
        base: "roberta.",
        unused: &["pooler.", "lm_head."],
        tensors: &bert::TENSORS,
        config: roberta::config_of_xlm,
        classifier: roberta_head,
    },
    EncoderArchitecture {
        names: &["DistilBertModel", "DistilBertForMaskedLM", "DistilBertForSequenceClassification"],
        family: "distilbert",
        keys: &[distilbert::KEYS],
        base: "distilbert.",
        unused: &["vocab_transform.", "vocab_layer_norm.", "vocab_projector."],
        tensors: &distilbert::TENSORS,
        config: distilbert::config,
        classifier: distilbert::classifier,
    },
    EncoderArchitecture {
        names: &["MPNetModel", "MPNetForMaskedLM", "MPNetForSequenceClassification"],
        family: "mpnet",
        keys: &[mpnet::KEYS],
        base: "mpnet.",
        unused: &["pooler.", "lm_head."],
        tensors: &mpnet::TENSORS,
        config: mpnet::config,
        classifier: roberta_head,
    },
    EncoderArchitecture {
        names: &["ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification"],
        family: "modernbert",
        keys: &[modernbert::KEYS],
        base: "model.",
        unused: &["head.", "decoder."],
        tensors: &modernbert::TENSORS,
        config: modernbert::config,
        classifier: modernbert::classifier,
    },
    EncoderArchitecture {
        names: &["NomicBertModel", "NomicBertForMaskedLM", "NomicBertForSequenceClassification"],
        family: "nomic_bert",
        keys: &[nomic_bert::KEYS],
        base: "nomic_bert.",
        unused: &["pooler.", "cls.predictions."],
        tensors: &nomic_bert::TENSORS,
        config: nomic_bert::config,
        classifier: bert_head,
    },
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_empty_config_has_the_defaults_of_the_class_in_transformers() {
        let empty = JsonFile::of("config.json", json!({}));
        let defaults = include_str!("../../../../tests/parity/configs/encoder_defaults.json");
        let defaults: Value = serde_json::from_str(defaults).expect("the file is JSON");
        for architecture in ENCODERS {
            let class = &defaults[architecture.names[0]];
            let config = (architecture.config)(&empty).expect("it is read");
            let read = json!({
                "hidden_size": config.hidden, "intermediate_size": config.feed_forward,
                "num_hidden_layers": config.layers, "num_attention_heads": config.heads,
                "vocab_size": config.vocabulary, "max_position_embeddings": config.positions,
                "type_vocab_size": if config.token_types == 0 { Value::Null } else { config.token_types.into() },
                "layer_norm_eps": config.norm_epsilon,
            });
            assert_eq!(&read, class, "{}", architecture.names[0]);
        }
    }
}

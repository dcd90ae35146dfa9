//! The table of text encoders.

mod bert;
mod roberta;

use crate::arch::encoder::{CONFIG_KEYS, EncoderModel};
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;

/// An architecture of text encoders.
pub(crate) struct EncoderArchitecture {
    /// The classes in `architectures` of `config.json` that have it. Messages use the first. The others have weights for
    /// training besides.
    pub(crate) names: &'static [&'static str],
    /// Its family: `model_type` of `config.json`.
    pub(crate) family: &'static str,
    /// The keys of `config.json` that it reads, beyond those that every architecture reads.
    pub(crate) keys: &'static [&'static [&'static str]],
    /// The beginning of tensor names that checkpoints of the model without heads leave out.
    pub(crate) base: &'static str,
    /// The beginnings of names of tensors that text vectors do not need.
    pub(crate) unused: &'static [&'static str],
    /// Loads the model: `config.json`, then the weights that it describes.
    pub(crate) load: LoadEncoder,
}

/// Loads an encoder.
type LoadEncoder = fn(&JsonFile, &Weights<'_>) -> Result<Box<dyn EncoderModel>, ModelError>;

/// Every text encoder that can run.
pub(crate) const ENCODERS: &[EncoderArchitecture] = &[
    EncoderArchitecture {
        names: &["BertModel", "BertForMaskedLM", "BertForPreTraining"],
        family: "bert",
        keys: &[CONFIG_KEYS],
        base: "bert.",
        unused: &["pooler.", "cls.predictions.", "cls.seq_relationship."],
        load: bert::load,
    },
    EncoderArchitecture {
        names: &["RobertaModel", "RobertaForMaskedLM"],
        family: "roberta",
        keys: &[CONFIG_KEYS, roberta::KEYS],
        base: "roberta.",
        unused: &["pooler.", "lm_head."],
        load: roberta::load,
    },
    EncoderArchitecture {
        names: &["XLMRobertaModel", "XLMRobertaForMaskedLM"],
        family: "xlm-roberta",
        keys: &[CONFIG_KEYS, roberta::KEYS],
        base: "roberta.",
        unused: &["pooler.", "lm_head."],
        load: roberta::load_xlm,
    },
];

//! RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): BERT whose positions are counted from the one after
//! `pad_token_id`.

use firebox_contract::limits;

use crate::arch::encoder::{EncoderConfig, EncoderModel, FirstPosition, TransformerEncoder};
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;

/// The keys that RoBERTa reads and BERT does not.
pub(super) const KEYS: &[&str] = &["pad_token_id"];

/// `vocab_size` of `RobertaConfig` and of `XLMRobertaConfig`, and `pad_token_id` of both.
const VOCABULARY_DEFAULT: usize = 50_265;
const XLM_VOCABULARY_DEFAULT: usize = 30_522;
const PAD_DEFAULT: usize = 1;

pub(super) fn load(file: &JsonFile, weights: &Weights<'_>) -> Result<Box<dyn EncoderModel>, ModelError> {
    load_with(file, weights, VOCABULARY_DEFAULT)
}

pub(super) fn load_xlm(file: &JsonFile, weights: &Weights<'_>) -> Result<Box<dyn EncoderModel>, ModelError> {
    load_with(file, weights, XLM_VOCABULARY_DEFAULT)
}

fn load_with(file: &JsonFile, weights: &Weights<'_>, vocabulary: usize) -> Result<Box<dyn EncoderModel>, ModelError> {
    let pad = file.number_or("pad_token_id", PAD_DEFAULT, 0..=limits::MODEL_VOCABULARY_TOKENS_MAX)?;
    let config = EncoderConfig::read(file, vocabulary, FirstPosition::AfterPad(pad))?;
    Ok(Box::new(TransformerEncoder::load(weights, config)?))
}

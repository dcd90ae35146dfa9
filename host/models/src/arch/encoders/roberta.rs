//! RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): BERT whose positions are counted from the one after
//! `pad_token_id`. Their tokenizers give all tokens the same type.

use firebox_contract::limits;

use crate::arch::encoder::config::{self, ConfigKeys, EncoderConfig, FirstPosition};
use crate::arch::encoders::bert;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The keys that RoBERTa reads and BERT does not.
pub(super) const KEYS: &[&str] = &["pad_token_id"];

/// `vocab_size` of `RobertaConfig`, and `pad_token_id` of both classes.
const VOCABULARY_DEFAULT: usize = 50_265;
const PAD_DEFAULT: usize = 1;

pub(super) fn config(file: &JsonFile) -> Result<EncoderConfig, ModelError> {
    read(file, &ConfigKeys { vocabulary: VOCABULARY_DEFAULT, ..config::BERT })
}

pub(super) fn config_of_xlm(file: &JsonFile) -> Result<EncoderConfig, ModelError> {
    read(file, &config::BERT)
}

fn read(file: &JsonFile, keys: &ConfigKeys) -> Result<EncoderConfig, ModelError> {
    let pad = file.number_or("pad_token_id", PAD_DEFAULT, 0..=limits::MODEL_VOCABULARY_TOKENS_MAX)?;
    bert::read(file, keys, FirstPosition::AfterPad(pad))
}

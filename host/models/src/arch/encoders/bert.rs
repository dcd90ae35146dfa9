//! BERT (Devlin et al. 2019).

use crate::arch::encoder::{EncoderConfig, EncoderModel, FirstPosition, TransformerEncoder};
use crate::checkpoint::json::JsonFile;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;

/// `vocab_size` of `BertConfig`.
const VOCABULARY_DEFAULT: usize = 30_522;

pub(super) fn load(file: &JsonFile, weights: &Weights<'_>) -> Result<Box<dyn EncoderModel>, ModelError> {
    let config = EncoderConfig::read(file, VOCABULARY_DEFAULT, FirstPosition::Zero)?;
    Ok(Box::new(TransformerEncoder::load(weights, config)?))
}

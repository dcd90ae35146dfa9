//! The tokenizer as sentence-transformers sets it up: the tokenizer of transformers, with lower case before it if the
//! model asks for that.

use tokenizers::Tokenizer;
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};

use crate::checkpoint::Checkpoint;
use crate::codec;
use crate::error::ModelError;

/// Reads the tokenizer, and whether it gives the model the types of tokens.
///
/// # Errors
/// Names the file that is not right.
pub(super) fn load(checkpoint: &Checkpoint, lower_case: bool) -> Result<(Tokenizer, bool), ModelError> {
    let codec::tokenizer::Loaded { mut tokenizer, gives_types, .. } = codec::tokenizer::load(checkpoint)?;
    if lower_case && !tokenizer.get_normalizer().is_some_and(lowers) {
        let mut steps: Vec<NormalizerWrapper> = vec![Lowercase.into()];
        steps.extend(tokenizer.get_normalizer().cloned());
        tokenizer.with_normalizer(Some(Sequence::new(steps))).map_err(|error| ModelError::Tokenizer {
            file: checkpoint.source.path_of("tokenizer.json"),
            reason: error.to_string(),
        })?;
    }
    Ok((tokenizer, gives_types))
}

/// As in sentence-transformers, BERT's own normalizer is not considered.
fn lowers(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Lowercase(_) => true,
        NormalizerWrapper::Sequence(steps) => {
            steps.as_ref().iter().any(|step| matches!(step, NormalizerWrapper::Lowercase(_)))
        }
        _ => false,
    }
}

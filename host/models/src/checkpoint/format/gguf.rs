//! GGUF, whose files bring config and tokenizer along ([`crate::gguf`]).

use crate::checkpoint::source::Source;
use crate::checkpoint::tensors::TensorIndex;
use crate::error::ModelError;
use crate::metadata::Warnings;

/// The tensors of a checkpoint that is in GGUF.
pub(super) fn open(source: &Source, _warnings: &Warnings) -> Result<Option<TensorIndex>, ModelError> {
    match source {
        Source::Gguf(files) => files.index().map(Some),
        Source::Folder(_) | Source::Embedded(_) => Ok(None),
    }
}

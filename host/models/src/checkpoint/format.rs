//! Weight formats. To add one, add a file here and a row to [`FORMATS`].

mod gguf;
mod safetensors;

use crate::checkpoint::source::Source;
use crate::checkpoint::tensors::TensorIndex;
use crate::error::ModelError;
use crate::metadata::Warnings;

/// A format of weights.
pub(crate) struct Format {
    /// The file that identifies the format, for messages.
    pub(crate) file: &'static str,
    /// Indexes the checkpoint's tensors, or `None` when its files are not of this format.
    pub(crate) open: fn(&Source, &Warnings) -> Result<Option<TensorIndex>, ModelError>,
}

/// Every format, in the order they are tried.
pub(crate) const FORMATS: &[Format] = &[
    Format { file: "a .gguf file", open: gguf::open },
    Format { file: "model.safetensors", open: safetensors::open_single },
    Format { file: "model.safetensors.index.json", open: safetensors::open_sharded },
];

/// Indexes the weights of `source` by the first format whose files exist.
///
/// # Errors
/// The format's own, or `NoWeights`.
pub(crate) fn open(source: &Source, warnings: &Warnings) -> Result<TensorIndex, ModelError> {
    for format in FORMATS {
        if let Some(index) = (format.open)(source, warnings)? {
            return Ok(index);
        }
    }
    let files: Vec<&str> = FORMATS.iter().map(|format| format.file).collect();
    Err(ModelError::NoWeights { folder: source.label(), files: files.join(" or ") })
}

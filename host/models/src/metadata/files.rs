//! Files that are not read but change the meaning of the checkpoint: files of quantized weights, and files that would
//! change the model.

use crate::checkpoint::source::Source;
use crate::error::ModelError;
use crate::metadata::Warnings;

/// Files that describe quantized weights, and the tools that write them.
const QUANTIZED: [(&str, &str); 3] = [
    ("hf_quant_config.json", "NVIDIA ModelOpt"),
    ("quantize_config.json", "AutoGPTQ"),
    ("quant_config.json", "AutoAWQ"),
];

/// Files that would change the model and are not read.
const IGNORED: [(&str, &str); 2] = [
    ("adapter_config.json", "the adapter (LoRA) of this folder is not applied; merge it into the weights first"),
    ("custom_generate", "the checkpoint's own code for generation is not run"),
];

/// Checks for these files.
///
/// # Errors
/// `Quantized` if the weights are quantized.
pub(crate) fn check(source: &Source, warnings: &Warnings) -> Result<(), ModelError> {
    if let Some((file, tool)) = QUANTIZED.iter().find(|(file, _)| source.has(file)) {
        return Err(ModelError::Quantized { file: source.path_of(file), how: (*tool).to_owned() });
    }
    for (file, about) in IGNORED.iter().filter(|(file, _)| source.has(file)) {
        warnings.add(format!("\"{}\": {about}", source.path_of(file)));
    }
    Ok(())
}

//! Architectures. To add one: a file here and a line in [`ARCHITECTURES`] (or [`ENCODERS`]).

mod batch;
mod bert;
mod block;
mod cache;
mod config;
mod decoder;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod rotary;
mod steps;

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

pub(crate) use bert::{BertConfig, BertEncoder};
pub(crate) use config::DecoderConfig;
pub(crate) use decoder::{Decoder, DecoderOptions, panic_text};

/// A decoder: the name in `config.json` and what its config means.
pub(crate) struct Architecture {
    pub(crate) name: &'static str,
    pub(crate) config: fn(&JsonFile) -> Result<DecoderConfig, ModelError>,
}

/// Every decoder that can run.
pub(crate) const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "LlamaForCausalLM", config: llama::config },
    Architecture { name: "MistralForCausalLM", config: mistral::config },
    Architecture { name: "Qwen2ForCausalLM", config: qwen2::config },
    Architecture { name: "Qwen3ForCausalLM", config: qwen3::config },
];

/// Every text encoder that can run.
pub(crate) const ENCODERS: &[&str] = &["BertModel"];

/// `architectures[0]` of the config.
///
/// # Errors
/// `Config` when it is missing.
pub(crate) fn name_of(config: &JsonFile) -> Result<&str, ModelError> {
    let first = config.get("architectures").and_then(|list| list.get(0)).and_then(|name| name.as_str());
    first.ok_or_else(|| config.wrong("architectures", "is missing, expected a list with one name"))
}

/// The decoder of this name.
///
/// # Errors
/// `Architecture`, with the names that are supported.
pub(crate) fn decoder(name: &str) -> Result<&'static Architecture, ModelError> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| unknown(name))
}

/// The error for a name that is in neither table.
pub(crate) fn unknown(name: &str) -> ModelError {
    let decoders = ARCHITECTURES.iter().map(|architecture| architecture.name);
    let supported: Vec<&str> = decoders.chain(ENCODERS.iter().copied()).collect();
    ModelError::Architecture { found: name.chars().take(80).collect(), supported: supported.join(", ") }
}

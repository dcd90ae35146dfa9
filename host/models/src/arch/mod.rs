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

use firebox_contract::TokenId;

use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

pub(crate) use bert::{BertConfig, BertEncoder};
pub(crate) use config::DecoderConfig;
pub(crate) use decoder::{Decoder, DecoderOptions};

/// A decoder: its names in `config.json` and what its config means.
pub(crate) struct Architecture {
    pub(crate) name: &'static str,
    /// `model_type` of its config.
    pub(crate) model_type: &'static str,
    /// `eos_token_id` of its config class.
    pub(crate) end: Option<TokenId>,
    pub(crate) config: fn(&JsonFile) -> Result<DecoderConfig, ModelError>,
}

/// Every decoder that can run.
pub(crate) const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "LlamaForCausalLM", model_type: "llama", end: Some(2), config: llama::config },
    Architecture { name: "MistralForCausalLM", model_type: "mistral", end: Some(2), config: mistral::config },
    Architecture { name: "Qwen2ForCausalLM", model_type: "qwen2", end: None, config: qwen2::config },
    Architecture { name: "Qwen3ForCausalLM", model_type: "qwen3", end: None, config: qwen3::config },
];

/// Every text encoder that can run. Those after the first have weights for their training beside it.
pub(crate) const ENCODERS: &[&str] = &["BertModel", "BertForMaskedLM", "BertForPreTraining"];

/// `model_type` of each of them.
const ENCODER_TYPES: &[&str] = &["bert", "bert", "bert"];

/// The class of the model: `architectures[0]`, else what its `model_type` stands for.
///
/// # Errors
/// `Config` when both are missing, or contradict each other. `Quantized` when the weights are.
pub(crate) fn name_of(config: &JsonFile) -> Result<&str, ModelError> {
    check_quantization(config)?;
    let model_type = config.optional_text("model_type")?;
    let decoders = ARCHITECTURES.iter().map(|known| (known.name, known.model_type));
    let encoders = ENCODERS.iter().copied().zip(ENCODER_TYPES.iter().copied());
    let mut known = decoders.chain(encoders);
    let Some(list) = config.get("architectures") else {
        let class = model_type.and_then(|model_type| known.find(|(_, known)| *known == model_type));
        let missing = "is missing, expected a list with one name";
        return class.map(|(name, _)| name).ok_or_else(|| config.wrong("architectures", missing));
    };
    let first = list.get(0).and_then(|name| name.as_str());
    let name = first.ok_or_else(|| config.wrong("architectures", "is missing, expected a list with one name"))?;
    let expected = known.find(|(known, _)| *known == name).map(|(_, model_type)| model_type);
    match (model_type, expected) {
        (Some(found), Some(expected)) if found != expected => {
            let found: String = found.chars().take(40).collect();
            Err(config.wrong("model_type", format!("is {found:?}, but {name} in \"architectures\" is \"{expected}\"")))
        }
        _ => Ok(name),
    }
}

/// How configs say that weights are quantized: transformers, older compressed-tensors, MLX.
const QUANTIZATION_KEYS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];

fn check_quantization(config: &JsonFile) -> Result<(), ModelError> {
    let Some((key, value)) = QUANTIZATION_KEYS.iter().find_map(|key| Some((*key, config.get(key)?))) else {
        return Ok(());
    };
    let method = value.get("quant_method").and_then(|method| method.as_str());
    let how = method.map_or_else(|| key.to_owned(), |method| format!("{key}: {}", shorten(&method.into())));
    Err(ModelError::Quantized { file: config.file.clone(), how })
}

/// The decoder of this name.
///
/// # Errors
/// `Architecture`, with the names that are supported.
pub(crate) fn decoder(name: &str) -> Result<&'static Architecture, ModelError> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| unknown(name))
}

/// The token that ends an answer of this class where neither config says so.
pub(crate) fn end_of(name: &str) -> Option<TokenId> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)?.end
}

/// The error for a name that is in neither table.
pub(crate) fn unknown(name: &str) -> ModelError {
    let decoders = ARCHITECTURES.iter().map(|architecture| architecture.name);
    let supported: Vec<&str> = decoders.chain(ENCODERS.iter().copied()).collect();
    ModelError::Architecture { found: name.chars().take(80).collect(), supported: supported.join(", ") }
}

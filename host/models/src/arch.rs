//! Architectures: what the weights of a checkpoint mean.
//!
//! ```text
//! decoders  the table of language models, a file for each   decoder  the model that all of them configure
//! encoders  the table of text encoders, a file for each     encoder  the model that all of them configure
//! ```
//!
//! To add an architecture, add a file to `decoders/` or `encoders/` and a row to the table there.

mod decoder;
mod decoders;
mod encoder;
mod encoders;

use firebox_contract::TokenId;

use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

pub(crate) use decoder::{
    Decoder, DecoderConfig, DecoderEncoder, DecoderOptions, Rotary, RotaryDefaults, cache_token_bytes,
};
pub(crate) use decoders::{DECODERS, DecoderArchitecture, IMAGE_TENSORS};
pub(crate) use encoder::classifier::{CLASS_END, ClassifierConfig, check_labels};
pub(crate) use encoder::{EncoderModel, TextTokens, TransformerEncoder};
pub(crate) use encoders::{ENCODERS, EncoderArchitecture};

/// A row of either table.
enum Known {
    Decoder(&'static DecoderArchitecture),
    Encoder(&'static EncoderArchitecture),
}

impl Known {
    fn all() -> impl Iterator<Item = Self> {
        DECODERS.iter().map(Self::Decoder).chain(ENCODERS.iter().map(Self::Encoder))
    }

    fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Decoder(row) => row.names,
            Self::Encoder(row) => row.names,
        }
    }

    fn family(&self) -> &'static str {
        match self {
            Self::Decoder(row) => row.family,
            Self::Encoder(row) => row.family,
        }
    }

    fn keys(&self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Decoder(row) => row.keys,
            Self::Encoder(row) => row.keys,
        }
    }
}

/// The class of the model: `architectures[0]`, else the class that `model_type` stands for.
///
/// # Errors
/// `Config` when both are missing or contradict each other. `Quantized` when the weights are quantized.
pub(crate) fn name_of(config: &JsonFile) -> Result<&str, ModelError> {
    check_quantization(config)?;
    let model_type = config.optional_text("model_type")?;
    let missing = || config.wrong("architectures", "is missing, expected a list with one name");
    let Some(list) = config.get("architectures") else {
        let known = model_type.and_then(|family| Known::all().find(|known| known.family() == family));
        return known.and_then(|known| known.names().first().copied()).ok_or_else(missing);
    };
    let name = list.get(0).and_then(|name| name.as_str()).ok_or_else(missing)?;
    let expected = Known::all().find(|known| known.names().contains(&name)).map(|known| known.family());
    match (model_type, expected) {
        (Some(found), Some(expected)) if found != expected => {
            let found: String = found.chars().take(40).collect();
            Err(config.wrong("model_type", format!("is {found:?}, but {name} in \"architectures\" is \"{expected}\"")))
        }
        _ => Ok(name),
    }
}

/// The keys by which configs declare that weights are quantized: transformers, older compressed-tensors, MLX.
const QUANTIZATION_KEYS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];

fn check_quantization(config: &JsonFile) -> Result<(), ModelError> {
    let Some((key, value)) = QUANTIZATION_KEYS.iter().find_map(|key| Some((*key, config.get(key)?))) else {
        return Ok(());
    };
    let method = value.get("quant_method").and_then(|method| method.as_str());
    let how = method.map_or_else(|| key.to_owned(), |method| format!("{key}: {}", shorten(&method.into())));
    Err(ModelError::Quantized { file: config.file.clone(), how })
}

/// The decoder architecture of this class.
///
/// # Errors
/// `Architecture`, with the names that are supported; `OtherKind` for an encoder.
pub(crate) fn decoder(name: &str) -> Result<&'static DecoderArchitecture, ModelError> {
    let found = DECODERS.iter().find(|row| row.names.contains(&name));
    found.ok_or_else(|| match ENCODERS.iter().any(|row| row.names.contains(&name)) {
        true => ModelError::OtherKind { found: name.to_owned(), is: IS_ENCODER },
        false => unknown(name),
    })
}

/// The encoder architecture of this class.
///
/// # Errors
/// As [`decoder`], with `OtherKind` for a decoder.
pub(crate) fn encoder(name: &str) -> Result<&'static EncoderArchitecture, ModelError> {
    let found = ENCODERS.iter().find(|row| row.names.contains(&name));
    found.ok_or_else(|| match DECODERS.iter().any(|row| row.names.contains(&name)) {
        true => ModelError::OtherKind { found: name.to_owned(), is: IS_DECODER },
        false => unknown(name),
    })
}

const IS_ENCODER: &str =
    "is an encoder and writes no text; use it with firebox embed or rerank, or give a model that writes text";
const IS_DECODER: &str = "writes text and is no encoder; use it with firebox run, chat or serve, or give an encoder, such as all-MiniLM-L6-v2";

/// The decoder architecture of a class whose vectors of tokens can be pooled: that of a language model, or the same without
/// its head.
pub(crate) fn embedder(name: &str) -> Option<&'static DecoderArchitecture> {
    let is_so = |known: &&str| {
        let bare = known.strip_suffix("ForCausalLM");
        *known == name || bare.is_some_and(|bare| name.strip_suffix("Model") == Some(bare))
    };
    DECODERS.iter().find(|row| row.names.iter().any(&is_so))
}

/// The default end token of this class, for a checkpoint whose configs name none.
pub(crate) fn end_of(name: &str) -> Option<TokenId> {
    DECODERS.iter().find(|row| row.names.contains(&name))?.end
}

/// Whether this class reads `key` of `config.json` beyond the keys of all architectures; without a class, whether any
/// class does.
pub(crate) fn reads_key(key: &str, class: Option<&str>) -> bool {
    let is_class = |known: &Known| class.is_none_or(|class| known.names().contains(&class));
    Known::all().filter(is_class).any(|known| known.keys().iter().any(|keys| keys.contains(&key)))
}

/// Every key that [`reads_key`] knows.
#[cfg(test)]
pub(crate) fn architecture_keys() -> impl Iterator<Item = &'static str> {
    Known::all().flat_map(|known| known.keys()).flat_map(|keys| keys.iter().copied())
}

fn unknown(name: &str) -> ModelError {
    let supported: Vec<&str> = Known::all().flat_map(|known| known.names()).copied().collect();
    ModelError::Architecture { found: name.chars().take(80).collect(), supported: supported.join(", ") }
}

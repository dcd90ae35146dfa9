//! From a checkpoint and a device to a running model.

use std::sync::Arc;

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use firebox_contract::{Encoder, LanguageModel, ModelInfo, TextCodec, limits};

use crate::arch::{self, BertConfig, BertEncoder, Decoder, DecoderOptions};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::weights::Weights;
use crate::codec::{Codec, CodecOptions};
use crate::encoder::TextEncoder;
use crate::error::ModelError;
use crate::sentence::{Head, Intake, Modules, Settings};

/// What a caller may decide about a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The name it is asked for by; the folder's name if there is none.
    pub name: Option<String>,
    /// Tokens a sequence may have; the least of this (or the host's default) and what the checkpoint allows.
    pub context_tokens: Option<usize>,
    /// Bytes of keys and values of all sequences together; the host's default if there is none.
    pub cache_bytes: Option<u64>,
    /// What messages call the device; its kind if there is none.
    pub device_name: Option<String>,
}

/// A decoder and what turns text into its tokens and back.
pub type LanguageModelParts = (Box<dyn LanguageModel>, Arc<dyn TextCodec>);

/// Loads a decoder and its codec.
///
/// # Errors
/// Names the file, key or tensor that is not right, or the architecture and all that are supported.
pub fn load_language_model(
    checkpoint: &Checkpoint,
    device: &Device,
    options: LoadOptions,
) -> Result<LanguageModelParts, ModelError> {
    let codec = Codec::load(checkpoint, CodecOptions::default())?;
    Ok((load_decoder(checkpoint, device, options)?, Arc::new(codec)))
}

/// Loads a codec alone: text to token ids and back.
///
/// # Errors
/// Names the tokenizer or template file that is not right.
pub fn load_codec(checkpoint: &Checkpoint) -> Result<Arc<dyn TextCodec>, ModelError> {
    load_codec_with(checkpoint, CodecOptions::default())
}

/// As [`load_codec`], with options.
///
/// # Errors
/// As [`load_codec`].
pub fn load_codec_with(checkpoint: &Checkpoint, options: CodecOptions) -> Result<Arc<dyn TextCodec>, ModelError> {
    Ok(Arc::new(Codec::load(checkpoint, options)?))
}

/// Loads a decoder alone: token ids in, logits out.
///
/// # Errors
/// As [`load_language_model`].
pub fn load_decoder(
    checkpoint: &Checkpoint,
    device: &Device,
    options: LoadOptions,
) -> Result<Box<dyn LanguageModel>, ModelError> {
    let file = checkpoint.config()?;
    let architecture = arch::decoder(arch::name_of(&file)?)?;
    let config = (architecture.config)(&file)?;
    file.warn_unknown(Some(architecture.name));
    let context = options.context_tokens.unwrap_or(limits::CONTEXT_TOKENS_DEFAULT).min(config.positions).max(1);
    let options = DecoderOptions {
        name: options.name.unwrap_or_else(|| checkpoint.name()),
        architecture: architecture.name,
        device_name: options.device_name.unwrap_or_else(|| device_name(device)),
        context_tokens: context,
        cache_bytes: options.cache_bytes.unwrap_or(limits::KV_CACHE_BYTES_DEFAULT),
    };
    let weights = Weights::new(checkpoint, device, "model.");
    let model = guarded(device, || Decoder::load(&weights, config, options))?;
    weights.warn_unused();
    Ok(Box::new(model))
}

/// Whether the checkpoint's own config names a text encoder, and not a language model.
///
/// # Errors
/// Names what is not right about `config.json`.
pub fn is_encoder(checkpoint: &Checkpoint) -> Result<bool, ModelError> {
    let file = checkpoint.config()?;
    let name = arch::name_of(&file)?;
    Ok(arch::ENCODERS.contains(&name))
}

/// Loads a text encoder.
///
/// # Errors
/// As [`load_language_model`].
pub fn load_encoder(
    checkpoint: &Checkpoint,
    device: &Device,
    options: LoadOptions,
) -> Result<Box<dyn Encoder>, ModelError> {
    let file = checkpoint.config()?;
    let name = arch::name_of(&file)?;
    let name = arch::ENCODERS.iter().find(|known| **known == name).ok_or_else(|| arch::unknown(name))?;
    let config = BertConfig::read(&file)?;
    file.warn_unknown(Some(name));
    let modules = Modules::read(checkpoint)?;
    let modules = modules.as_ref();
    let intake = Intake::read(checkpoint, modules, config.positions)?;
    let settings = Settings::read(checkpoint, modules)?;
    let tokenizer = intake.tokenizer(checkpoint)?;
    let head = guarded(device, || Head::read(checkpoint, modules, config.hidden, device))?;
    let weights = Weights::new(checkpoint, device, "bert.");
    let model = guarded(device, || BertEncoder::load(&weights, config))?;
    weights.warn_unused();
    let info = ModelInfo {
        name: options.name.unwrap_or_else(|| checkpoint.name()),
        architecture: (*name).to_owned(),
        parameters: weights.parameters(),
        context_tokens: options.context_tokens.unwrap_or(intake.max_tokens).min(intake.max_tokens),
        vocabulary: model.config().vocabulary,
        device: options.device_name.unwrap_or_else(|| device_name(device)),
        dtype: "f32",
        weights_bytes: weights.bytes(),
    };
    if let Some(name) = settings.default_prompt() {
        checkpoint
            .warnings()
            .add(format!("the model's default prompt {name:?} goes before each text that names no other"));
    }
    let profile = settings.profile(head.width, intake.truncates_left);
    let tokenizer_file = checkpoint.source.path_of("tokenizer.json");
    let pad_shapes = !is_cpu(device);
    Ok(Box::new(TextEncoder { info, profile, model, head, tokenizer, tokenizer_file, pad_shapes }))
}

/// Uploads run kernels and allocate, and burn panics when a device refuses.
fn guarded<T>(device: &Device, load: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(load));
    result.unwrap_or_else(|panic| {
        Err(ModelError::Device {
            device: device_name(device),
            reason: firebox_contract::panic_text(&*panic).to_owned(),
        })
    })
}

/// Whether tensors of this device are plain memory.
pub(crate) fn is_cpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

fn device_name(device: &Device) -> String {
    if is_cpu(device) { "cpu".to_owned() } else { format!("{device:?}") }
}

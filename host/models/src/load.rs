//! Loads a running model from a checkpoint onto a device.

mod progress;

use firebox_kernels::attention::KvCacheType;
use std::sync::Arc;

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use firebox_contract::{Encoder, LanguageModel, ModelInfo, TextCodec, limits};

use crate::arch::{
    self, Decoder, DecoderArchitecture, DecoderEncoder, DecoderOptions, EncoderModel, IMAGE_TENSORS, TransformerEncoder,
};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::weights::Weights;
use crate::codec::{Codec, CodecOptions};
use crate::error::ModelError;
use crate::sentence::{ClassifierHead, EmbeddingHead, EncoderSettings, InputSettings, Modules, TextEncoder};
pub use progress::{LoadProgress, LoadState};

/// Options of a model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The name of the model in requests. Default: the folder's name.
    pub name: Option<String>,
    /// The longest context of a sequence, in tokens: at most what the checkpoint allows. Default:
    /// [`limits::CONTEXT_TOKENS_DEFAULT`].
    pub context_tokens: Option<usize>,
    /// Bytes of the KV caches of all sequences together. Default: [`limits::KV_CACHE_BYTES_DEFAULT`].
    pub cache_bytes: Option<u64>,
    /// The name of the device in messages. Default: its kind.
    pub device_name: Option<String>,
    /// Threads that compute on the CPU, the thread that calls the model included. Default: the number of cores. If
    /// several models are called from one thread, the first of them decides.
    pub threads: Option<usize>,
    /// The type of keys and values in the KV caches of the CPU. A GPU keeps them in f32, and refuses `Q8_0`.
    pub kv_cache: KvCacheType,
    /// Receives the state of the load of a decoder.
    pub progress: LoadProgress,
}

/// The names of the types, for settings.
pub const KV_CACHE_TYPES: &[(&str, KvCacheType)] =
    &[("f16", KvCacheType::F16), ("q8_0", KvCacheType::Q8_0), ("f32", KvCacheType::F32)];

impl LoadOptions {
    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(cores).max(1)
    }
}

/// A decoder, and the codec that turns text into its tokens and back.
pub type LanguageModelParts = (Box<dyn LanguageModel>, Arc<dyn TextCodec>);

/// Loads a decoder and its codec.
///
/// # Errors
/// Names the file, key or tensor that is not right, or the architecture and the supported ones.
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
    let mut config = (architecture.config)(&file)?;
    file.warn_unknown(architecture.names.first().copied());
    let default = || limits::CONTEXT_TOKENS_DEFAULT.min(config.positions_default());
    let context = options.context_tokens.unwrap_or_else(default).min(config.positions).max(1);
    config.fit_context(context);
    let progress = options.progress.clone();
    let options = DecoderOptions {
        threads: options.threads(),
        name: options.name.unwrap_or_else(|| checkpoint.name()),
        device_name: options.device_name.unwrap_or_else(|| device_name(device)),
        context_tokens: context,
        cache_bytes: options.cache_bytes.unwrap_or(limits::KV_CACHE_BYTES_DEFAULT),
        kv_cache: options.kv_cache,
    };
    let weights = Weights::new(checkpoint, device, architecture.tensors.base, IMAGE_TENSORS).with_progress(progress);
    let model = guarded(device, || Decoder::load(&weights, architecture, config, options))?;
    weights.warn_unused();
    weights.report_end();
    Ok(Box::new(model))
}

/// Whether the checkpoint is a text encoder: its config names one, or sentence-transformers' files say so.
///
/// # Errors
/// Names the key of `config.json` or of `modules.json` that is not right.
pub fn is_encoder(checkpoint: &Checkpoint) -> Result<bool, ModelError> {
    let file = checkpoint.config()?;
    let name = arch::name_of(&file)?;
    Ok(arch::encoder(name).is_ok() || (arch::embedder(name).is_some() && Modules::read(checkpoint)?.is_some()))
}

/// Loads a text encoder: one that embeds texts, or a cross-encoder that scores pairs of texts.
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
    let modules = Modules::read(checkpoint)?;
    let modules = modules.as_ref();
    if let (Some(architecture), Some(_)) = (arch::embedder(name), modules) {
        return load_embedder(checkpoint, device, options, (name, architecture), modules);
    }
    let architecture = arch::encoder(name)?;
    // Before the weights, which take time.
    let head = ClassifierHead::read(checkpoint, modules, &file, name, architecture)?;
    let config = (architecture.config)(&file)?;
    let unused = if head.is_some() { &[] } else { architecture.unused };
    let weights = Weights::new(checkpoint, device, architecture.base, unused);
    let model = guarded(device, || TransformerEncoder::load(&weights, architecture.tensors, config))?;
    file.warn_unknown(Some(name));
    let head = guarded(device, || match head {
        Some(head) => EmbeddingHead::of_classifier(&weights, &head, model.hidden()),
        None => EmbeddingHead::read(checkpoint, modules, model.hidden(), device),
    })?;
    weights.warn_unused();
    let loaded = LoadedEncoder { name, model: Box::new(model), head, weights: (weights.parameters(), weights.bytes()) };
    loaded.finish(checkpoint, modules, device, options)
}

/// Loads a decoder whose token vectors sentence-transformers pools, such as those with a last token that stands for the text.
fn load_embedder(
    checkpoint: &Checkpoint,
    device: &Device,
    options: LoadOptions,
    (name, architecture): (&str, &'static DecoderArchitecture),
    modules: Option<&Modules>,
) -> Result<Box<dyn Encoder>, ModelError> {
    let file = checkpoint.config()?;
    if !is_cpu(device) {
        let reason = format!("text vectors of {name} are computed on the CPU only; use the device \"cpu\"");
        return Err(ModelError::Device { device: device_name(device), reason });
    }
    let context = options.context_tokens.unwrap_or(limits::CONTEXT_TOKENS_DEFAULT);
    let options = LoadOptions { context_tokens: Some(context), ..options };
    let config = (architecture.config)(&file)?;
    file.warn_unknown(architecture.names.first().copied());
    let weights = Weights::new(checkpoint, device, architecture.tensors.base, &["lm_head."]);
    let decoder = DecoderOptions {
        threads: options.threads(),
        name: options.name.clone().unwrap_or_else(|| checkpoint.name()),
        device_name: options.device_name.clone().unwrap_or_else(|| device_name(device)),
        context_tokens: config.positions,
        cache_bytes: 0,
        // The cache lives as long as one text is computed.
        kv_cache: KvCacheType::F32,
    };
    let model = guarded(device, || DecoderEncoder::load(&weights, architecture, config, decoder))?;
    let head = guarded(device, || EmbeddingHead::read(checkpoint, modules, model.hidden(), device))?;
    weights.warn_unused();
    let loaded = LoadedEncoder { name, model: Box::new(model), head, weights: (weights.parameters(), weights.bytes()) };
    loaded.finish(checkpoint, modules, device, options)
}

/// A text encoder without its tokenizer.
struct LoadedEncoder<'a> {
    /// The class.
    name: &'a str,
    model: Box<dyn EncoderModel>,
    head: EmbeddingHead,
    /// Numbers and bytes of the weights.
    weights: (u64, u64),
}

impl LoadedEncoder<'_> {
    /// Reads the other files.
    fn finish(
        self,
        checkpoint: &Checkpoint,
        modules: Option<&Modules>,
        device: &Device,
        options: LoadOptions,
    ) -> Result<Box<dyn Encoder>, ModelError> {
        let Self { name, model, head, weights: (parameters, weights_bytes) } = self;
        let task = head.task;
        let input = InputSettings::read(checkpoint, modules, model.positions(), task)?;
        let settings = EncoderSettings::read(checkpoint, modules, task)?;
        let (tokenizer, reads_types) = input.tokenizer(checkpoint)?;
        let threads = options.threads();
        let info = ModelInfo {
            name: options.name.unwrap_or_else(|| checkpoint.name()),
            architecture: name.to_owned(),
            parameters,
            context_tokens: options.context_tokens.unwrap_or(input.max_tokens).min(input.max_tokens),
            vocabulary: model.vocabulary(),
            device: options.device_name.unwrap_or_else(|| device_name(device)),
            dtype: "f32",
            weights_bytes,
        };
        if let Some(name) = settings.default_prompt() {
            checkpoint
                .warnings()
                .add(format!("the model's default prompt {name:?} is put before each text that names no other prompt"));
        }
        let profile = settings.profile(task, head.width, input.truncates_left);
        let tokenizer_file = checkpoint.source.path_of("tokenizer.json");
        // The kernels of a GPU are compiled for each shape.
        let pad_shapes = !is_cpu(device);
        Ok(Box::new(TextEncoder {
            info,
            profile,
            model,
            head,
            tokenizer,
            tokenizer_file,
            pad_shapes,
            reads_types,
            threads,
        }))
    }
}

/// Runs a load and turns panics into errors: uploads run kernels and allocate, and burn panics if a device refuses.
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

//! Devices, checkpoints and models on burn.
//!
//! ```text
//! checkpoint  files of a model, bounded and indexed       arch      what the weights mean: the tables of architectures
//! codec       tokenizer, chat template, decoding of text  layers    linear layers, norms, activation functions
//! metadata    the keys that are read of each file         sentence  the files of sentence-transformers
//! device      the devices of the machine                  kernel    compute kernels for the CPU and for GPUs
//! ```
//!
//! Nothing in a checkpoint is trusted: not its header, its index, its config, its tokenizer or its template. The family
//! of a model is never guessed from a name: `config.json` decides, and an unknown architecture is an error that lists
//! the supported ones.
//!
//! This is the only crate that names burn, cubecl or wgpu (invariant I2). Its public functions return the object-safe
//! traits of the contract.

mod arch;
mod checkpoint;
mod codec;
mod describe;
pub mod device;
mod error;
mod gguf;
mod kernel;
mod layers;
mod load;
mod metadata;
mod sentence;

pub use checkpoint::{Checkpoint, EmbeddedFiles};
pub use codec::CodecOptions;
pub use describe::{CheckpointDescription, ModelKind, TokenizerDescription, TypeShare, describe};
pub use error::ModelError;
pub use firebox_kernels::attention::KvCacheType;
pub use gguf::quantize::{Mixture, QuantizeOptions, QuantizePlan, QuantizeProgress, QuantizedCache, mixtures};
pub use load::{
    KV_CACHE_TYPES, LanguageModelParts, LoadOptions, LoadProgress, LoadState, is_encoder, load_codec, load_codec_with,
    load_decoder, load_encoder, load_language_model,
};
pub use metadata::Warnings;

/// The architectures of language models, by their names in `config.json`.
#[must_use]
pub fn language_models() -> Vec<&'static str> {
    arch::DECODERS.iter().flat_map(|architecture| architecture.names).copied().collect()
}

/// The architectures of text encoders, by their names in `config.json`.
#[must_use]
pub fn encoders() -> Vec<&'static str> {
    arch::ENCODERS.iter().flat_map(|architecture| architecture.names).copied().collect()
}

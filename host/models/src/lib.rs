//! Devices, checkpoints and models on burn.
//!
//! ```text
//! checkpoint  files of a model, bounded and indexed      format   how weights are stored
//! codec       tokenizer, chat template, streams of text  arch     what the weights mean
//! load        checkpoint + device = model                device   what there is to run on
//! metadata    which keys of which file are read
//! ```
//!
//! Nothing in a checkpoint is trusted: not its header, its index, its config, its tokenizer or its template. Nothing
//! guesses a model family from a name: `config.json` decides, and what is unknown is an error that lists what is not.
//!
//! This is the only crate that names burn, cubecl or wgpu (invariant I2); what it gives out are the object-safe traits
//! of the contract.

mod arch;
mod checkpoint;
mod codec;
pub mod device;
mod error;
mod kernel;
mod layers;
mod load;
mod metadata;
mod sentence;

pub use checkpoint::{Checkpoint, EmbeddedFiles};
pub use codec::CodecOptions;
pub use error::ModelError;
pub use load::{
    LanguageModelParts, LoadOptions, is_encoder, load_codec, load_codec_with, load_decoder, load_encoder,
    load_language_model,
};
pub use metadata::Warnings;

/// Architectures of language models, as `config.json` names them.
#[must_use]
pub fn language_models() -> Vec<&'static str> {
    arch::DECODERS.iter().flat_map(|architecture| architecture.names).copied().collect()
}

/// Architectures of text encoders, as `config.json` names them.
#[must_use]
pub fn encoders() -> Vec<&'static str> {
    arch::ENCODERS.iter().flat_map(|architecture| architecture.names).copied().collect()
}

//! The table of decoders.

mod llama;
mod mistral;
mod phi3;
mod qwen2;
mod qwen3;

use firebox_contract::TokenId;

use crate::arch::decoder::{CONFIG_KEYS, DecoderConfig, DecoderTensors, ROTARY_KEYS};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// An architecture of decoders.
pub(crate) struct DecoderArchitecture {
    /// The classes in `architectures` of `config.json` that have it. Messages use the first.
    pub(crate) names: &'static [&'static str],
    /// Its family: `model_type` of `config.json`.
    pub(crate) family: &'static str,
    /// The keys of `config.json` that it reads, beyond those that every architecture reads.
    pub(crate) keys: &'static [&'static [&'static str]],
    /// The names of its tensors.
    pub(crate) tensors: &'static DecoderTensors,
    /// Reads `config.json`.
    pub(crate) config: fn(&JsonFile) -> Result<DecoderConfig, ModelError>,
    /// `eos_token_id` of its config class in transformers.
    pub(crate) end: Option<TokenId>,
}

/// Every decoder that can run.
pub(crate) const DECODERS: &[DecoderArchitecture] = &[
    DecoderArchitecture {
        names: &["LlamaForCausalLM"],
        family: "llama",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, &["attention_bias", "mlp_bias"]],
        tensors: &llama::TENSORS,
        config: llama::config,
        end: Some(2),
    },
    DecoderArchitecture {
        names: &["MistralForCausalLM"],
        family: "mistral",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, &["sliding_window"]],
        tensors: &llama::TENSORS,
        config: mistral::config,
        end: Some(2),
    },
    DecoderArchitecture {
        names: &["Phi3ForCausalLM"],
        family: "phi3",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, &["sliding_window"]],
        tensors: &phi3::TENSORS,
        config: phi3::config,
        end: Some(32_000),
    },
    DecoderArchitecture {
        names: &["Qwen2ForCausalLM"],
        family: "qwen2",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, qwen2::WINDOW_KEYS],
        tensors: &llama::TENSORS,
        config: qwen2::config,
        end: None,
    },
    DecoderArchitecture {
        names: &["Qwen3ForCausalLM"],
        family: "qwen3",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, qwen2::WINDOW_KEYS, &["attention_bias"]],
        tensors: &llama::TENSORS,
        config: qwen3::config,
        end: None,
    },
];

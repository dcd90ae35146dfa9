//! The table of decoders.

mod gemma2;
mod gemma3;
mod granite;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod smollm3;

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

/// The beginnings of names of tensors for images, which models for text and images have beside those for text.
pub(crate) const IMAGE_TENSORS: &[&str] = &["vision_tower.", "multi_modal_projector."];

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
        names: &["Gemma2ForCausalLM"],
        family: "gemma2",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, gemma2::KEYS],
        tensors: &gemma2::TENSORS,
        config: gemma2::config,
        end: Some(1),
    },
    DecoderArchitecture {
        names: &["Gemma3ForCausalLM"],
        family: "gemma3_text",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, gemma2::KEYS, gemma3::KEYS],
        tensors: &gemma2::TENSORS,
        config: gemma3::config,
        end: Some(1),
    },
    DecoderArchitecture {
        names: &["Gemma3ForConditionalGeneration"],
        family: "gemma3",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, gemma2::KEYS, gemma3::KEYS, &["text_config"]],
        tensors: &gemma2::TENSORS,
        config: gemma3::text_part,
        end: Some(1),
    },
    DecoderArchitecture {
        names: &["GraniteForCausalLM"],
        family: "granite",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, granite::KEYS],
        tensors: &llama::TENSORS,
        config: granite::config,
        end: Some(2),
    },
    DecoderArchitecture {
        names: &["MinistralForCausalLM"],
        family: "ministral",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, mistral::MINISTRAL_KEYS],
        tensors: &llama::TENSORS,
        config: mistral::ministral,
        end: Some(2),
    },
    DecoderArchitecture {
        names: &["Ministral3ForCausalLM"],
        family: "ministral3",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, &["sliding_window"]],
        tensors: &llama::TENSORS,
        config: mistral::ministral3,
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
        names: &["MixtralForCausalLM"],
        family: "mixtral",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, mixtral::EXPERT_KEYS, &["sliding_window"]],
        tensors: &mixtral::TENSORS,
        config: mixtral::config,
        end: Some(2),
    },
    DecoderArchitecture {
        names: &["Olmo2ForCausalLM"],
        family: "olmo2",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, &["attention_bias"]],
        tensors: &olmo2::TENSORS,
        config: olmo2::config,
        end: Some(50_279),
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
    DecoderArchitecture {
        names: &["Qwen3MoeForCausalLM"],
        family: "qwen3_moe",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, mixtral::EXPERT_KEYS, qwen3_moe::KEYS],
        tensors: &llama::TENSORS,
        config: qwen3_moe::config,
        end: None,
    },
    DecoderArchitecture {
        names: &["SmolLM3ForCausalLM"],
        family: "smollm3",
        keys: &[CONFIG_KEYS, ROTARY_KEYS, smollm3::KEYS],
        tensors: &llama::TENSORS,
        config: smollm3::config,
        end: Some(128_001),
    },
];

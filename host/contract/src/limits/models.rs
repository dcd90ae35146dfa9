//! Limits of checkpoints, devices and encoders.

mod hub;

use std::time::Duration;

pub use self::hub::*;

use super::{GIB, KIB, MIB, PROMPT_BYTES_MAX};

// ---- Checkpoints ----------------------------------------------------------------------------------------------

/// Bytes of a safetensors header, as the format itself limits it.
pub const SAFETENSORS_HEADER_BYTES_MAX: usize = 100 * 1_000 * 1_000;
/// Bytes of `config.json`, of `generation_config.json` and of a safetensors index.
pub const CONFIG_JSON_BYTES_MAX: u64 = 16 * MIB as u64;
/// Bytes of `tokenizer.json`.
pub const TOKENIZER_JSON_BYTES_MAX: u64 = 256 * MIB as u64;
/// Files of one folder of a checkpoint that are read, for example of the folder of named chat templates.
pub const CHECKPOINT_FOLDER_FILES_MAX: usize = 64;
/// Files of a sharded checkpoint.
pub const SHARDS_MAX: usize = 1_024;
/// Warnings about one checkpoint.
pub const CHECKPOINT_WARNINGS_MAX: usize = 16;
/// Names of keys or tensors in one warning about a checkpoint.
pub const CHECKPOINT_WARNING_NAMES_MAX: usize = 8;
/// Characters of one name in a warning about a checkpoint.
pub const CHECKPOINT_WARNING_NAME_CHARACTERS_MAX: usize = 80;

// ---- Chat templates -------------------------------------------------------------------------------------------

/// Bytes of one chat template.
pub const CHAT_TEMPLATE_BYTES_MAX: usize = MIB;
/// Steps of the template engine for one rendering.
pub const CHAT_TEMPLATE_STEPS_MAX: u64 = 4_000_000;
/// Bytes of one rendered chat template.
pub const CHAT_TEMPLATE_OUTPUT_BYTES_MAX: usize = 4 * PROMPT_BYTES_MAX;

// ---- Shape of a model -----------------------------------------------------------------------------------------

/// Layers of a model.
pub const MODEL_LAYERS_MAX: usize = 1_024;
/// Hidden size and intermediate size of a model, in elements.
pub const MODEL_HIDDEN_MAX: usize = 1 << 18;
/// Attention heads of one layer.
pub const MODEL_HEADS_MAX: usize = 1_024;
/// Elements of one attention head.
pub const MODEL_HEAD_DIM_MAX: usize = 1_024;
/// Experts of a layer of a mixture.
pub const MODEL_EXPERTS_MAX: usize = 1_024;
/// Tokens of a vocabulary.
pub const MODEL_VOCABULARY_TOKENS_MAX: usize = 1 << 22;
/// Bytes of one tensor on a device.
pub const TENSOR_BYTES_MAX: u64 = 4 * GIB;

// ---- Devices --------------------------------------------------------------------------------------------------

/// Bytes of weights up to which `device = "auto"` chooses the CPU for a language model, because it is faster there.
pub const AUTO_CPU_WEIGHTS_BYTES_MAX: u64 = 64 * MIB as u64;
/// Time of the child process that tests a new device.
pub const DEVICE_TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of each output stream of the child process that tests a new device.
pub const DEVICE_TEST_OUTPUT_BYTES_MAX: u64 = 64 * KIB as u64;
/// Threads of a model that compute on the CPU.
pub const COMPUTE_THREADS_MAX: usize = 1_024;
/// Time that a compute thread waits for another compute thread before it sleeps.
pub const COMPUTE_SPIN_TIME: Duration = Duration::from_micros(200);
/// Time that an idle compute thread waits for work before it sleeps. Waking a thread takes half a step of a small model.
pub const COMPUTE_IDLE_SPIN: Duration = Duration::from_millis(1);

// ---- Encoders -------------------------------------------------------------------------------------------------

/// Named prompts in the files of one encoder.
pub const EMBED_PROMPTS_MAX: usize = 256;
/// Bytes of text for each token of an encoder's context. A longer text is refused without tokenizing it.
pub const EMBED_TOKEN_BYTES_MAX: usize = 64;
/// Bytes of an encoder's F32 matrices, without those of embeddings, up to which the CPU keeps them packed in memory of its own.
pub const ENCODER_PACKED_BYTES_MAX: usize = 512 * MIB;

// ---- GGUF files -----------------------------------------------------------------------------------------------

/// Metadata keys of one GGUF file.
pub const GGUF_KEYS_MAX: usize = 4_096;
/// Tensors of one GGUF file.
pub const GGUF_TENSORS_MAX: usize = 65_536;
/// Bytes of one token of a SentencePiece vocabulary in a GGUF file. The merges of a token take time with its square.
pub const GGUF_TOKEN_BYTES_MAX: usize = 512;
/// Steps to make the merges of a SentencePiece vocabulary in a GGUF file: the squares of the lengths of its tokens, added up.
pub const GGUF_MERGE_STEPS_MAX: u64 = 1 << 31;
/// Levels of nested lists in the metadata of a GGUF file.
pub const GGUF_LIST_DEPTH_MAX: usize = 2;
/// Bytes of the table of characters that a Unigram tokenizer in a GGUF file replaces.
pub const GGUF_CHARSMAP_BYTES_MAX: usize = 4 * MIB;

// ---- Quantized weights ----------------------------------------------------------------------------------------

/// Bytes of the cache of weights that were quantized or repacked when their model was loaded.
pub const QUANTIZED_CACHE_BYTES_MAX: u64 = 64 * GIB;
/// Time that a load waits for another process that quantizes the same weights.
pub const QUANTIZED_LOCK_WAIT_MAX: Duration = Duration::from_secs(1_800);
/// Age from which an unfinished file in the cache of quantized weights is removed.
pub const QUANTIZED_PARTIAL_AGE_MAX: Duration = Duration::from_secs(86_400);
/// Bytes of matrices from which repacking them is worth a file. Smaller ones stay in the caches of a processor.
pub const REPACKED_BYTES_MIN: u64 = 32 * MIB as u64;

//! Of checkpoints, devices and embedding.

use std::time::Duration;

use super::{GIB, KIB, MIB, PROMPT_BYTES_MAX};

// ---- Checkpoints ----------------------------------------------------------------------------------------------

/// Bytes of a safetensors header (the format's own limit).
pub const SAFETENSORS_HEADER_BYTES_MAX: usize = 100 * 1_000 * 1_000;
/// Bytes of `config.json`, `generation_config.json` or an index.
pub const CONFIG_JSON_BYTES_MAX: u64 = 16 * MIB as u64;
/// Warnings about one checkpoint, each about one file or matter (a number of warnings).
pub const CHECKPOINT_WARNINGS_MAX: usize = 16;
/// Keys or tensors that one warning about a checkpoint names (a number of names).
pub const CHECKPOINT_WARNING_NAMES_MAX: usize = 8;
/// Length of a key or tensor in a warning about a checkpoint, in characters.
pub const CHECKPOINT_WARNING_NAME_CHARS_MAX: usize = 80;
/// Bytes of `tokenizer.json`.
pub const TOKENIZER_JSON_BYTES_MAX: u64 = 256 * MIB as u64;
/// Bytes of a chat template.
pub const CHAT_TEMPLATE_BYTES_MAX: usize = MIB;
/// Steps a chat template may take per rendering.
pub const CHAT_TEMPLATE_FUEL: u64 = 4_000_000;
/// Bytes a chat template may render.
pub const CHAT_TEMPLATE_OUTPUT_BYTES_MAX: usize = 4 * PROMPT_BYTES_MAX;
/// Files of a folder inside a checkpoint, such as that of named chat templates, that are looked at.
pub const CHECKPOINT_FOLDER_FILES_MAX: usize = 64;
/// Files of a sharded checkpoint.
pub const SHARDS_MAX: usize = 1_024;
/// Layers of a model.
pub const MODEL_LAYERS_MAX: usize = 1_024;
/// Width of a layer: hidden or intermediate size of a model.
pub const MODEL_HIDDEN_MAX: usize = 1 << 18;
/// Attention heads of one layer.
pub const MODEL_HEADS_MAX: usize = 1_024;
/// Elements of one attention head.
pub const MODEL_HEAD_DIM_MAX: usize = 1_024;
/// Token ids of a vocabulary.
pub const MODEL_VOCABULARY_MAX: usize = 1 << 22;
/// Tokens of a context, whatever a config claims.
pub const CONTEXT_TOKENS_MAX: usize = 1 << 24;
/// Bytes of keys and values of all sequences of one model together, when nobody says otherwise.
pub const KV_CACHE_BYTES_DEFAULT: u64 = 4 * GIB;
/// Bytes of one tensor on a device.
pub const TENSOR_BYTES_MAX: u64 = 4 * GIB;

// ---- Devices --------------------------------------------------------------------------------------------------

/// Bytes of weights up to which `auto` leaves a language model on the CPU: it reads so much in the time that a GPU needs for the
/// launches of a step, and has nothing to compile.
pub const CPU_WEIGHTS_BYTES_MAX: u64 = 64 * MIB as u64;
/// Time a child process has to prove that an adapter works.
pub const DEVICE_TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes kept of what that process prints, per stream.
pub const DEVICE_TEST_OUTPUT_BYTES_MAX: u64 = 64 * KIB as u64;

// ---- Embedding ------------------------------------------------------------------------------------------------

/// Texts sorted by length together; bounds the memory of `embed` whatever the size of the input.
pub const EMBED_WINDOW_TEXTS: usize = 2_048;
/// Texts of one forward pass when nobody says otherwise.
pub const EMBED_BATCH_DEFAULT: usize = 32;
/// Prompts that an encoder's files may name.
pub const EMBED_PROMPTS_MAX: usize = 256;
/// Bytes of text that one token of an encoder's context may stand for: a longer text does not fit, and is not tokenized.
pub const EMBED_TOKEN_BYTES_MAX: usize = 64;
/// Time of one step of an encoder that serves: whoever comes while it runs waits for its end.
pub const EMBED_STEP_TIME: Duration = Duration::from_millis(25);
/// Tokens of such a step, padding included, until it is known how long the device takes.
pub const EMBED_STEP_TOKENS_FIRST: usize = 512;
/// Tokens of such a step at least, however slow the device; a single longer text is a step of its own.
pub const EMBED_STEP_TOKENS_MIN: usize = 128;
/// Tokens of such a step at most, however fast the device.
pub const EMBED_STEP_TOKENS_MAX: usize = EMBED_BATCH_DEFAULT * 512;
/// Length in tokens up to which texts count as equally long: in one step no text is more than twice as long as another.
pub const EMBED_STEP_PAD_TOKENS: usize = 16;
/// Bytes of text whose tokens are counted between two steps.
pub const EMBED_COUNTED_BYTES_MAX: usize = 64 * KIB;
/// Bytes that the count of one text costs beside its own.
pub const EMBED_COUNTED_BYTES_EXTRA: usize = 256;
/// Fuel of all guest calls of one embedding request, which calls its plugins once for each text.
pub const EMBED_PLUGIN_FUEL_MAX: u64 = 100_000_000_000;
/// Bytes by which plugins may lengthen the texts of one embedding request, all together.
pub const EMBED_PLUGIN_GROWTH_BYTES_MAX: usize = MIB;
/// Bytes of one line of input.
pub const EMBED_LINE_BYTES_MAX: usize = 8 * MIB;
/// Bytes of text after which a window is full, however few its texts are.
pub const EMBED_WINDOW_BYTES_MAX: usize = 64 * MIB;
/// Texts of one forward pass at most.
pub const EMBED_BATCH_MAX: usize = 1_024;
/// Bytes of one Parquet row group, which is held in memory until it is full.
pub const EMBED_ROW_GROUP_BYTES: usize = 64 * MIB;
/// Time an interrupted run has to end by itself before it is cut off.
pub const EMBED_INTERRUPT_GRACE: Duration = Duration::from_secs(2);

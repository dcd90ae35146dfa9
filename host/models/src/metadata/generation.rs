//! `generation_config.json`.

use crate::metadata::{Row, Table, harmless, harmless_as, honoured};

const SEARCH: &str = "beam search, which is not offered; an answer is one sequence";
const OUTPUTS: &str = "which outputs a call of the library returns";
const RUNTIME: &str = "how a library computes, not what";
const ASSISTED: &str = "drafts of another model, which change no answer";
const TOKENIZER: &str = "the files of the tokenizer say this";

/// The keys of the file.
pub(crate) const GENERATION: Table = Table { name: "generation_config.json", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("do_sample", "codec::defaults"),
    honoured("temperature", "codec::defaults"),
    honoured("top_k", "codec::defaults"),
    honoured("top_p", "codec::defaults"),
    honoured("min_p", "codec::defaults"),
    honoured("repetition_penalty", "codec::defaults"),
    honoured("max_new_tokens", "codec::defaults"),
    honoured("stop_strings", "codec::defaults"),
    honoured("eos_token_id", "codec::ends"),
    harmless("bos_token_id", TOKENIZER),
    harmless("pad_token_id", "padding is never computed with"),
    harmless("decoder_start_token_id", "a model of two halves"),
    harmless("max_length", "an answer may fill the context"),
    harmless("trust_remote_code", "code of a checkpoint is never run"),
    harmless("_from_model_config", "a record of how the file was made"),
    harmless("transformers_version", "a record of how the file was made"),
    harmless("use_cache", RUNTIME),
    harmless("cache_implementation", RUNTIME),
    harmless("cache_config", RUNTIME),
    harmless("compile_config", RUNTIME),
    harmless("continuous_batching_config", RUNTIME),
    harmless("disable_compile", RUNTIME),
    harmless("low_memory", RUNTIME),
    harmless("max_cache_len", RUNTIME),
    harmless("prefill_chunk_size", RUNTIME),
    harmless("output_attentions", OUTPUTS),
    harmless("output_hidden_states", OUTPUTS),
    harmless("output_logits", OUTPUTS),
    harmless("output_scores", OUTPUTS),
    harmless("return_dict_in_generate", OUTPUTS),
    harmless("num_return_sequences", OUTPUTS),
    harmless("is_assistant", ASSISTED),
    harmless("num_assistant_tokens", ASSISTED),
    harmless("num_assistant_tokens_schedule", ASSISTED),
    harmless("assistant_confidence_threshold", ASSISTED),
    harmless("assistant_early_exit", ASSISTED),
    harmless("assistant_ensemble_weight", ASSISTED),
    harmless("assistant_lookbehind", ASSISTED),
    harmless("target_lookbehind", ASSISTED),
    harmless("prompt_lookup_num_tokens", ASSISTED),
    harmless("max_matching_ngram_size", ASSISTED),
    harmless("speculation_type", ASSISTED),
    harmless("use_mtp", ASSISTED),
    harmless("early_stopping", SEARCH),
    harmless("length_penalty", SEARCH),
    harmless("diversity_penalty", SEARCH),
    harmless_as("num_beams", &["1"], SEARCH),
    harmless_as("num_beam_groups", &["1"], SEARCH),
    harmless_as("min_length", &["0"], "off"),
    harmless_as("min_new_tokens", &["0"], "off"),
    harmless_as("typical_p", &["1", "1.0"], "off"),
    harmless_as("no_repeat_ngram_size", &["0"], "off"),
    harmless_as("encoder_no_repeat_ngram_size", &["0"], "off"),
    harmless_as("encoder_repetition_penalty", &["1", "1.0"], "off"),
    harmless_as("epsilon_cutoff", &["0", "0.0"], "off"),
    harmless_as("eta_cutoff", &["0", "0.0"], "off"),
    harmless_as("penalty_alpha", &["0", "0.0"], "off"),
    harmless_as("guidance_scale", &["1", "1.0"], "off"),
    harmless_as("remove_invalid_values", &["false"], "off"),
    harmless_as("renormalize_logits", &["false"], "off"),
    harmless_as("token_healing", &["false"], "off"),
    harmless_as("bad_words_ids", &["[]"], "off"),
    harmless_as("suppress_tokens", &["[]"], "off"),
    harmless_as("begin_suppress_tokens", &["[]"], "off"),
];

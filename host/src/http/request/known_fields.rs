//! The table of known request fields: those of OpenAI's API, vLLM, llama.cpp's server, TGI, SGLang and their clients. A
//! field that changes an answer is either honoured or refused by its name. It is never ignored.

use serde_json::Value;

use super::CompletionKind;
use super::fields::Fields;
use crate::http::Failure;

/// What happens to a field.
pub(super) enum FieldUse {
    /// The endpoint reads it.
    Honoured,
    /// It does not change the answer.
    NoEffect,
    /// It is refused for this reason, unless the function accepts its value as harmless: the value asks for the behavior
    /// that Firebox has anyway.
    Refused(fn(&Value) -> bool, &'static str),
}

use FieldUse::{Honoured, NoEffect, Refused};

type KnownField = (&'static str, FieldUse);

/// The fields that both kinds of requests read.
const HONOURED: &[&str] = &[
    "firebox",
    "frequency_penalty",
    "ignore_eos",
    "include_stop_str_in_output",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_new_tokens",
    "max_tokens",
    "min_p",
    "min_tokens",
    "model",
    "n",
    "n_cmpl",
    "n_predict",
    "presence_penalty",
    "random_seed",
    "repeat_last_n",
    "repetition_penalty",
    "response_format",
    "seed",
    "skip_special_tokens",
    "stop",
    "stop_token_ids",
    "stream",
    "stream_options",
    "temperature",
    "top_k",
    "top_p",
];

/// The fields without effect on an answer: accounting, scheduling and speed of other servers, and fields that only matter
/// together with a refused one.
const NO_EFFECT: &[&str] = &[
    "adaptive_decay",
    "backend_sampling",
    "cache_prompt",
    "dry_allowed_length",
    "dry_base",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "early_stopping",
    "extra_headers",
    "extra_query",
    "grammar_lazy",
    "grammar_triggers",
    "guided_decoding_backend",
    "guided_whitespace_pattern",
    "id_slot",
    "keep_alive",
    "length_penalty",
    "media_io_kwargs",
    "metadata",
    "mirostat_eta",
    "mirostat_tau",
    "mm_processor_kwargs",
    "n_cache_reuse",
    "n_discard",
    "n_keep",
    "parallel_tool_calls",
    "post_sampling_probs",
    "prediction",
    "preserved_tokens",
    "priority",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "request_id",
    "return_progress",
    "rid",
    "safety_identifier",
    "service_tier",
    "session_id",
    "slot_id",
    "spaces_between_special_tokens",
    "sse_ping_interval",
    "store",
    "stream_interval",
    "stream_reasoning",
    "timeout",
    "timings_per_token",
    "truncation_side",
    "user",
    "verbose",
    "xtc_threshold",
];

const FORMAT: &str = "use \"response_format\"";
const SAMPLER: &str = "this sampling method is not supported";
const ONE_ANSWER: &str = "answers are not ranked; use \"n\"";
const PROBABILITIES: &str = "token probabilities come with \"logprobs\", and only for tokens of the answer";
const IDS: &str = "token ids are not returned";
const ADAPTER: &str = "adapters are not supported";
const NO_REASONING: &str = "plain text has no reasoning; use /v1/chat/completions";
const MEDIA: &str = "only text is supported";
const TOOLS: &str = "use \"tools\"";
const PROMPT: &str = "the prompt is used as it is written";
const OTHER_API: &str = "it belongs to another API";

/// The fields that both kinds of requests refuse.
const REFUSED: &[KnownField] = &[
    ("adapter_id", Refused(is_off, ADAPTER)),
    ("adaptive_target", Refused(is_negative, SAMPLER)),
    ("allowed_token_ids", Refused(is_off, "use \"logit_bias\"")),
    ("audio", Refused(is_off, MEDIA)),
    ("bad_words", Refused(is_off, "use \"logit_bias\" to exclude tokens")),
    ("best_of", Refused(is_one, ONE_ANSWER)),
    ("cache_salt", Refused(is_off, "each tenant has a cache of its own")),
    ("chat_template", Refused(is_off, "only the model's own chat template is used")),
    ("custom_logit_processor", Refused(is_off, SAMPLER)),
    ("custom_params", Refused(is_off, SAMPLER)),
    ("decoder_input_details", Refused(is_off, PROBABILITIES)),
    ("details", Refused(is_off, PROBABILITIES)),
    ("do_sample", Refused(is_true, "use \"temperature\": 0 for greedy sampling")),
    ("dry_multiplier", Refused(is_off, SAMPLER)),
    ("dynatemp_range", Refused(is_off, SAMPLER)),
    ("ebnf", Refused(is_blank, FORMAT)),
    ("ec_transfer_params", Refused(is_off, OTHER_API)),
    ("echo", Refused(is_off, "the prompt is not repeated")),
    ("extra_body", Refused(is_off, "it is a parameter of client libraries; put its fields into the request")),
    ("format", Refused(is_blank, FORMAT)),
    ("function_call", Refused(is_auto, TOOLS)),
    ("functions", Refused(is_off, TOOLS)),
    ("grammar", Refused(is_blank, FORMAT)),
    ("guided_choice", Refused(is_off, FORMAT)),
    ("guided_grammar", Refused(is_blank, FORMAT)),
    ("guided_json", Refused(is_blank, FORMAT)),
    ("guided_json_object", Refused(is_off, FORMAT)),
    ("guided_regex", Refused(is_blank, FORMAT)),
    ("guideline", Refused(is_off, PROMPT)),
    ("image_data", Refused(is_off, MEDIA)),
    ("include_reasoning", Refused(is_true, NO_REASONING)),
    ("input", Refused(is_off, OTHER_API)),
    ("input_extra", Refused(is_off, OTHER_API)),
    ("input_ids", Refused(is_off, PROMPT)),
    ("input_prefix", Refused(is_off, OTHER_API)),
    ("input_suffix", Refused(is_off, OTHER_API)),
    ("inputs", Refused(is_off, OTHER_API)),
    ("instructions", Refused(is_off, OTHER_API)),
    ("json_schema", Refused(is_blank, FORMAT)),
    ("kv_transfer_params", Refused(is_off, OTHER_API)),
    ("logits_processors", Refused(is_off, SAMPLER)),
    ("logprob_token_ids", Refused(is_off, PROBABILITIES)),
    ("lora", Refused(is_off, ADAPTER)),
    ("lora_path", Refused(is_off, ADAPTER)),
    ("max_output_tokens", Refused(is_off, "use \"max_tokens\"")),
    ("min_keep", Refused(is_off, SAMPLER)),
    ("mirostat", Refused(is_off, SAMPLER)),
    ("modalities", Refused(is_text, MEDIA)),
    ("moderation", Refused(is_off, "moderation is not supported")),
    ("n_indent", Refused(is_off, SAMPLER)),
    ("n_probs", Refused(is_off, PROBABILITIES)),
    ("no_stop_trim", Refused(is_off, "use \"include_stop_str_in_output\"")),
    ("num_beams", Refused(is_one, SAMPLER)),
    ("num_ctx", Refused(is_off, "the operator sets the context size")),
    ("num_predict", Refused(is_off, "use \"max_tokens\"")),
    ("options", Refused(is_off, "put its fields into the request")),
    ("parameters", Refused(is_off, "put its fields into the request")),
    ("penalty_alpha", Refused(is_off, SAMPLER)),
    ("prompt_embeds", Refused(is_off, PROMPT)),
    ("prompt_logprobs", Refused(is_false, PROBABILITIES)),
    ("reasoning", Refused(is_off, NO_REASONING)),
    ("reasoning_budget", Refused(is_negative, NO_REASONING)),
    ("reasoning_format", Refused(is_none_word, NO_REASONING)),
    ("reasoning_max_tokens", Refused(is_negative, NO_REASONING)),
    ("regex", Refused(is_blank, FORMAT)),
    ("repeat_penalty", Refused(is_one, "use \"repetition_penalty\"")),
    ("repetition_detection", Refused(is_off, SAMPLER)),
    ("response_fields", Refused(is_off, "an answer always has all of its fields")),
    ("return_full_text", Refused(is_off, "the prompt is not repeated")),
    ("return_hidden_states", Refused(is_off, IDS)),
    ("return_prompt_text", Refused(is_off, "the prompt is not repeated")),
    ("return_token_ids", Refused(is_off, IDS)),
    ("return_tokens", Refused(is_off, IDS)),
    ("return_tokens_as_token_ids", Refused(is_off, IDS)),
    ("samplers", Refused(is_off, "the order of sampling is fixed: penalties, temperature, top-k, top-p, min-p")),
    ("separate_reasoning", Refused(is_false, NO_REASONING)),
    ("session_params", Refused(is_off, OTHER_API)),
    ("stop_regex", Refused(is_off, "use \"stop\"")),
    ("stop_sequences", Refused(is_off, "use \"stop\"")),
    ("structural_tag", Refused(is_blank, FORMAT)),
    ("structured_outputs", Refused(is_blank, FORMAT)),
    ("suffix", Refused(is_off, "text is only continued at the end")),
    ("system", Refused(is_off, "use a message with the role system")),
    ("system_prompt", Refused(is_off, "use a message with the role system")),
    ("t_max_predict_ms", Refused(is_unlimited, "use \"firebox.timeout_ms\"")),
    ("t_max_prompt_ms", Refused(is_unlimited, "use \"firebox.timeout_ms\"")),
    ("template", Refused(is_off, "only the model's own chat template is used")),
    ("tfs_z", Refused(is_one, SAMPLER)),
    ("think", Refused(never, NO_REASONING)),
    ("thinking", Refused(never, NO_REASONING)),
    ("thinking_budget", Refused(is_negative, NO_REASONING)),
    ("thinking_token_budget", Refused(is_negative, NO_REASONING)),
    ("tool_prompt", Refused(is_off, PROMPT)),
    ("top_a", Refused(is_off, SAMPLER)),
    ("top_logprobs", Refused(is_off, "use \"logprobs\" with a number")),
    ("top_n_sigma", Refused(is_unlimited, SAMPLER)),
    ("top_n_tokens", Refused(is_off, PROBABILITIES)),
    ("transforms", Refused(is_off, PROMPT)),
    ("truncate", Refused(is_off, PROMPT)),
    ("truncate_prompt_tokens", Refused(never, PROMPT)),
    ("truncation", Refused(is_off, PROMPT)),
    ("typical_p", Refused(is_one, SAMPLER)),
    ("use_beam_search", Refused(is_off, SAMPLER)),
    ("verbosity", Refused(is_medium, "ask for it in a message")),
    ("vllm_xargs", Refused(is_off, OTHER_API)),
    ("watermark", Refused(is_off, SAMPLER)),
    ("watermarking", Refused(is_off, SAMPLER)),
    ("web_search_options", Refused(is_off, TOOLS)),
    ("xtc_probability", Refused(is_off, SAMPLER)),
];

/// The fields that only chat requests have, or that differ there.
const CHAT: &[KnownField] = &[
    ("add_generation_prompt", Honoured),
    ("add_special_tokens", Refused(is_false, "the template writes the special tokens")),
    ("chat_template_kwargs", Honoured),
    ("continue_final_message", Honoured),
    ("documents", Honoured),
    ("enable_thinking", Honoured),
    ("include_reasoning", Honoured),
    ("messages", Honoured),
    ("parallel_tool_calls", Honoured),
    ("parse_tool_calls", Refused(is_true, "tool calls are always parsed")),
    ("prompt", Refused(is_off, "use \"messages\", or /v1/completions")),
    ("reasoning", Honoured),
    ("reasoning_budget", Honoured),
    ("reasoning_effort", Honoured),
    ("reasoning_format", Honoured),
    ("reasoning_max_tokens", Honoured),
    ("separate_reasoning", Honoured),
    ("think", Honoured),
    ("thinking", Honoured),
    ("thinking_budget", Honoured),
    ("thinking_token_budget", Honoured),
    ("tool_choice", Honoured),
    ("tools", Honoured),
    ("top_logprobs", Honoured),
];

const NO_TEMPLATE: &str = "plain text has no chat template; use /v1/chat/completions";

/// The fields that only requests for plain text have, or that differ there.
const TEXT: &[KnownField] = &[
    ("add_generation_prompt", Refused(is_true, NO_TEMPLATE)),
    ("add_special_tokens", Refused(is_true, "the tokenizer adds its special tokens")),
    ("chat_template_kwargs", Refused(is_off, NO_TEMPLATE)),
    ("continue_final_message", Refused(is_off, NO_TEMPLATE)),
    ("documents", Refused(is_off, NO_TEMPLATE)),
    ("enable_thinking", Refused(is_off, NO_TEMPLATE)),
    ("messages", Refused(is_off, NO_TEMPLATE)),
    ("parse_tool_calls", NoEffect),
    ("prompt", Honoured),
    ("reasoning_effort", Refused(is_none_word, NO_TEMPLATE)),
    ("tool_choice", Refused(is_auto, "plain text has no tools; use /v1/chat/completions")),
    ("tools", Refused(is_off, "plain text has no tools; use /v1/chat/completions")),
];

/// The maximum number of ignored fields that an answer names, and the maximum length of a name in characters.
pub(super) const REPORTED_FIELDS_MAX: usize = 16;
const REPORTED_FIELD_CHARACTERS_MAX: usize = 64;

/// Refuses fields that are not supported. Returns the names of unknown fields, which the answer reports.
///
/// # Errors
/// 400 for the first field that is not supported.
pub(super) fn check(fields: &Fields<'_>, kind: CompletionKind) -> Result<Vec<String>, Failure> {
    let mut unknown = Vec::new();
    for (name, value) in fields.entries().filter(|(_, value)| !value.is_null()) {
        match use_of(kind, name) {
            Some(Honoured | NoEffect) => {}
            Some(Refused(harmless, _)) if harmless(value) => {}
            Some(Refused(_, why)) => {
                return Err(Failure::unsupported(name, format!("\"{name}\" is not supported: {why}")));
            }
            None if unknown.len() < REPORTED_FIELDS_MAX => {
                unknown.push(name.chars().take(REPORTED_FIELD_CHARACTERS_MAX).collect())
            }
            None => {}
        }
    }
    Ok(unknown)
}

/// What happens to the field `name`; `None` for an unknown field.
pub(super) fn use_of(kind: CompletionKind, name: &str) -> Option<&'static FieldUse> {
    let own = if kind == CompletionKind::Chat { CHAT } else { TEXT };
    let row = own.iter().chain(REFUSED).find(|(field, _)| *field == name);
    if let Some((_, field_use)) = row {
        return Some(field_use);
    }
    let listed = |names: &[&str]| names.contains(&name);
    match (listed(HONOURED), listed(NO_EFFECT) || name.starts_with("speculative.")) {
        (true, _) => Some(&Honoured),
        (_, true) => Some(&NoEffect),
        _ => None,
    }
}

fn never(_: &Value) -> bool {
    false
}

/// Whether the value switches a feature off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Whether the grammar is empty. An empty JSON schema allows any JSON.
fn is_blank(value: &Value) -> bool {
    *value == ""
}

fn is_false(value: &Value) -> bool {
    *value == false
}

fn is_true(value: &Value) -> bool {
    *value == true
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

fn is_negative(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number < 0.0)
}

fn is_unlimited(value: &Value) -> bool {
    is_off(value) || is_negative(value)
}

fn is_auto(value: &Value) -> bool {
    *value == "auto" || *value == "none"
}

fn is_none_word(value: &Value) -> bool {
    *value == "none"
}

fn is_medium(value: &Value) -> bool {
    *value == "medium"
}

fn is_text(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(|kind| kind == "text"))
}

#[cfg(test)]
mod tests;

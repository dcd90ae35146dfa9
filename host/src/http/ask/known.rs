//! Every field that requests are known to have (of OpenAI's API, vLLM, llama.cpp's server, TGI, SGLang and the clients of
//! these), and what becomes of it. A field that changes an answer is honoured or refused by its name, never passed over.

use serde_json::Value;

use crate::http::failure::Failure;
use crate::http::fields::Fields;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Endpoint {
    /// An answer to a conversation.
    Chat,
    /// Bare text that goes on.
    Text,
}

/// What becomes of a field.
pub(super) enum Use {
    /// The reader of the endpoint honours it.
    Honoured,
    /// It changes nothing of the answer.
    NoEffect,
    /// It is refused for this reason, unless its value is one that asks for what holds anyway.
    Refused(fn(&Value) -> bool, &'static str),
}

use Use::{Honoured, NoEffect, Refused};

type Row = (&'static str, Use);

/// Fields that both endpoints read.
const HONOURED: &[&str] = &[
    "firebox",
    "frequency_penalty",
    "ignore_eos",
    "include_stop_str_in_output",
    "logit_bias",
    "max_completion_tokens",
    "max_new_tokens",
    "max_tokens",
    "min_p",
    "min_tokens",
    "model",
    "n_predict",
    "presence_penalty",
    "random_seed",
    "repeat_last_n",
    "repetition_penalty",
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

/// Fields without effect on an answer: what others keep books with, how they share a machine, words about speed, and what
/// only counts beside a field that is refused.
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

const FORMAT: &str = "answers are not held to a format";
const SAMPLER: &str = "tokens are not chosen in this way";
const ONE: &str = "a request has one answer; send a request for each";
const PROBABILITIES: &str = "probabilities of tokens are not told";
const IDS: &str = "answers are text, and not token ids";
const ADAPTER: &str = "a model is served as it is";
const THOUGHTS: &str = "thoughts are not told apart from the answer";
const BUDGET: &str = "thoughts have no length of their own; \"chat_template_kwargs\" reaches the model's template";
const MEDIA: &str = "only text is taken and given";
const TOOLS: &str = "it is not done here; write \"tools\"";
const PROMPT: &str = "the prompt is taken as it is written";
const ELSEWHERE: &str = "it is a field of another API";

/// Fields of both endpoints that are refused.
const REFUSED: &[Row] = &[
    ("adapter_id", Refused(is_off, ADAPTER)),
    ("adaptive_target", Refused(is_negative, SAMPLER)),
    ("allowed_token_ids", Refused(is_off, "write \"logit_bias\"")),
    ("audio", Refused(is_off, MEDIA)),
    ("bad_words", Refused(is_off, "write \"logit_bias\" for tokens that may not come")),
    ("best_of", Refused(is_one, ONE)),
    ("cache_salt", Refused(is_off, "what is cached is each tenant's own")),
    ("chat_template", Refused(is_off, "a conversation is written by the model's own template")),
    ("custom_logit_processor", Refused(is_off, SAMPLER)),
    ("custom_params", Refused(is_off, SAMPLER)),
    ("decoder_input_details", Refused(is_off, PROBABILITIES)),
    ("details", Refused(is_off, PROBABILITIES)),
    ("do_sample", Refused(is_true, "write \"temperature\": 0 for the most likely token")),
    ("dry_multiplier", Refused(is_off, SAMPLER)),
    ("dynatemp_range", Refused(is_off, SAMPLER)),
    ("ebnf", Refused(is_blank, FORMAT)),
    ("ec_transfer_params", Refused(is_off, ELSEWHERE)),
    ("echo", Refused(is_off, "the prompt is not repeated")),
    ("extra_body", Refused(is_off, "it is a word of client libraries; its fields belong into the request itself")),
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
    ("include_reasoning", Refused(is_true, THOUGHTS)),
    ("input", Refused(is_off, ELSEWHERE)),
    ("input_extra", Refused(is_off, ELSEWHERE)),
    ("input_ids", Refused(is_off, PROMPT)),
    ("input_prefix", Refused(is_off, ELSEWHERE)),
    ("input_suffix", Refused(is_off, ELSEWHERE)),
    ("inputs", Refused(is_off, ELSEWHERE)),
    ("instructions", Refused(is_off, ELSEWHERE)),
    ("json_schema", Refused(is_blank, FORMAT)),
    ("kv_transfer_params", Refused(is_off, ELSEWHERE)),
    ("logits_processors", Refused(is_off, SAMPLER)),
    ("logprob_token_ids", Refused(is_off, PROBABILITIES)),
    ("logprobs", Refused(is_false, PROBABILITIES)),
    ("lora", Refused(is_off, ADAPTER)),
    ("lora_path", Refused(is_off, ADAPTER)),
    ("max_output_tokens", Refused(is_off, "write \"max_tokens\"")),
    ("min_keep", Refused(is_off, SAMPLER)),
    ("mirostat", Refused(is_off, SAMPLER)),
    ("modalities", Refused(is_text, MEDIA)),
    ("moderation", Refused(is_off, "nothing is judged beside the answer")),
    ("n", Refused(is_one, ONE)),
    ("n_cmpl", Refused(is_one, ONE)),
    ("n_indent", Refused(is_off, SAMPLER)),
    ("n_probs", Refused(is_off, PROBABILITIES)),
    ("no_stop_trim", Refused(is_off, "write \"include_stop_str_in_output\"")),
    ("num_beams", Refused(is_one, SAMPLER)),
    ("num_ctx", Refused(is_off, "the operator decides how long a context is")),
    ("num_predict", Refused(is_off, "write \"max_tokens\"")),
    ("options", Refused(is_off, "what it holds belongs into the request itself")),
    ("parameters", Refused(is_off, "what it holds belongs into the request itself")),
    ("penalty_alpha", Refused(is_off, SAMPLER)),
    ("prompt_embeds", Refused(is_off, PROMPT)),
    ("prompt_logprobs", Refused(is_false, PROBABILITIES)),
    ("reasoning", Refused(is_off, BUDGET)),
    ("reasoning_budget", Refused(is_negative, BUDGET)),
    ("reasoning_format", Refused(is_none_word, THOUGHTS)),
    ("regex", Refused(is_blank, FORMAT)),
    ("repeat_penalty", Refused(is_one, "write \"repetition_penalty\"")),
    ("repetition_detection", Refused(is_off, SAMPLER)),
    ("response_fields", Refused(is_off, "an answer has all of its fields")),
    ("response_format", Refused(is_text_format, FORMAT)),
    ("return_full_text", Refused(is_off, "the prompt is not repeated")),
    ("return_hidden_states", Refused(is_off, IDS)),
    ("return_prompt_text", Refused(is_off, "the prompt is not repeated")),
    ("return_token_ids", Refused(is_off, IDS)),
    ("return_tokens", Refused(is_off, IDS)),
    ("return_tokens_as_token_ids", Refused(is_off, IDS)),
    ("samplers", Refused(is_off, "the order of sampling is fixed: penalties, temperature, top-k, top-p, min-p")),
    ("separate_reasoning", Refused(is_false, THOUGHTS)),
    ("session_params", Refused(is_off, ELSEWHERE)),
    ("stop_regex", Refused(is_off, "write \"stop\"")),
    ("stop_sequences", Refused(is_off, "write \"stop\"")),
    ("structural_tag", Refused(is_blank, FORMAT)),
    ("structured_outputs", Refused(is_blank, FORMAT)),
    ("suffix", Refused(is_off, "text is only continued at its end")),
    ("system", Refused(is_off, "write a message of the role system")),
    ("system_prompt", Refused(is_off, "write a message of the role system")),
    ("t_max_predict_ms", Refused(is_unlimited, "write \"firebox.timeout_ms\"")),
    ("t_max_prompt_ms", Refused(is_unlimited, "write \"firebox.timeout_ms\"")),
    ("template", Refused(is_off, "a conversation is written by the model's own template")),
    ("tfs_z", Refused(is_one, SAMPLER)),
    ("think", Refused(never, BUDGET)),
    ("thinking", Refused(never, BUDGET)),
    ("thinking_budget", Refused(is_negative, BUDGET)),
    ("thinking_token_budget", Refused(is_negative, BUDGET)),
    ("tool_prompt", Refused(is_off, PROMPT)),
    ("top_a", Refused(is_off, SAMPLER)),
    ("top_logprobs", Refused(is_off, PROBABILITIES)),
    ("top_n_sigma", Refused(is_unlimited, SAMPLER)),
    ("top_n_tokens", Refused(is_off, PROBABILITIES)),
    ("transforms", Refused(is_off, PROMPT)),
    ("truncate", Refused(is_off, PROMPT)),
    ("truncate_prompt_tokens", Refused(never, PROMPT)),
    ("truncation", Refused(is_off, PROMPT)),
    ("typical_p", Refused(is_one, SAMPLER)),
    ("use_beam_search", Refused(is_off, SAMPLER)),
    ("verbosity", Refused(is_medium, "say it in a message")),
    ("vllm_xargs", Refused(is_off, ELSEWHERE)),
    ("watermark", Refused(is_off, SAMPLER)),
    ("watermarking", Refused(is_off, SAMPLER)),
    ("web_search_options", Refused(is_off, TOOLS)),
    ("xtc_probability", Refused(is_off, SAMPLER)),
];

/// Fields that mean something else to a conversation than to bare text.
const CHAT: &[Row] = &[
    ("add_generation_prompt", Honoured),
    ("add_special_tokens", Refused(is_false, "the template writes the special tokens")),
    ("chat_template_kwargs", Honoured),
    ("continue_final_message", Honoured),
    ("documents", Honoured),
    ("enable_thinking", Honoured),
    ("messages", Honoured),
    ("parallel_tool_calls", Honoured),
    ("parse_tool_calls", Refused(is_true, "calls of tools are always told apart from the text")),
    ("prompt", Refused(is_off, "write \"messages\", or ask at /v1/completions")),
    ("reasoning_effort", Honoured),
    ("tool_choice", Honoured),
    ("tools", Honoured),
];

const NO_TEMPLATE: &str = "bare text has no template; ask at /v1/chat/completions";

/// And these to bare text.
const TEXT: &[Row] = &[
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
    ("tool_choice", Refused(is_auto, "bare text has no tools; ask at /v1/chat/completions")),
    ("tools", Refused(is_off, "bare text has no tools; ask at /v1/chat/completions")),
];

/// Most names of unknown fields that an answer tells, and most characters of each.
pub(super) const TOLD_MAX: usize = 16;
const TOLD_CHARACTERS_MAX: usize = 64;

/// Refuses what is asked for and not done. The names of fields that nobody knows, for the answer to tell.
pub(super) fn check(fields: &Fields<'_>, endpoint: Endpoint) -> Result<Vec<String>, Failure> {
    let mut unknown = Vec::new();
    for (name, value) in fields.entries().filter(|(_, value)| !value.is_null()) {
        match of(endpoint, name) {
            Some(Honoured | NoEffect) => {}
            Some(Refused(harmless, _)) if harmless(value) => {}
            Some(Refused(_, why)) => {
                return Err(Failure::unsupported(name, format!("\"{name}\" is not offered: {why}")));
            }
            None if unknown.len() < TOLD_MAX => unknown.push(name.chars().take(TOLD_CHARACTERS_MAX).collect()),
            None => {}
        }
    }
    Ok(unknown)
}

/// What becomes of the field `name`; `None` where nobody knows it.
pub(super) fn of(endpoint: Endpoint, name: &str) -> Option<&'static Use> {
    let own = if endpoint == Endpoint::Chat { CHAT } else { TEXT };
    let row = own.iter().chain(REFUSED).find(|(field, _)| *field == name);
    if let Some((_, what)) = row {
        return Some(what);
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

/// No, none, nothing.
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

/// A grammar that nobody wrote. An empty schema is one: it wants any JSON.
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

fn is_text_format(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == "text")
}

#[cfg(test)]
#[path = "known/tests.rs"]
mod tests;

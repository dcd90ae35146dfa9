use std::collections::HashSet;

use serde_json::json;

use super::super::{chat, text};
use super::*;

/// The fields that the clients and servers send and accept, by their sources.
const OPENAI_CHAT: &[&str] = &[
    "messages",
    "model",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
    "extra_headers",
    "extra_query",
    "extra_body",
    "timeout",
];
const OPENAI_TEXT: &[&str] = &[
    "model",
    "prompt",
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "top_p",
    "user",
];
const VLLM: &[&str] = &[
    "thinking_token_budget",
    "include_reasoning",
    "use_beam_search",
    "top_k",
    "min_p",
    "repetition_penalty",
    "watermarking",
    "length_penalty",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "min_tokens",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "truncate_prompt_tokens",
    "truncation_side",
    "prompt_logprobs",
    "logprob_token_ids",
    "allowed_token_ids",
    "bad_words",
    "echo",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
    "documents",
    "chat_template",
    "chat_template_kwargs",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "guided_decoding_backend",
    "guided_whitespace_pattern",
    "structural_tag",
    "priority",
    "request_id",
    "session_id",
    "return_tokens_as_token_ids",
    "return_token_ids",
    "return_prompt_text",
    "cache_salt",
    "kv_transfer_params",
    "ec_transfer_params",
    "vllm_xargs",
    "repetition_detection",
    "stream_interval",
    "logits_processors",
    "early_stopping",
    "prompt_embeds",
];
const LLAMA_CPP: &[&str] = &[
    "verbose",
    "timings_per_token",
    "cache_prompt",
    "return_tokens",
    "return_progress",
    "sse_ping_interval",
    "n_predict",
    "n_indent",
    "n_keep",
    "n_discard",
    "n_cmpl",
    "n_cache_reuse",
    "t_max_predict_ms",
    "t_max_prompt_ms",
    "response_fields",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "typical_p",
    "dynatemp_range",
    "dynatemp_exponent",
    "repeat_last_n",
    "repeat_penalty",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "adaptive_target",
    "adaptive_decay",
    "n_probs",
    "min_keep",
    "backend_sampling",
    "post_sampling_probs",
    "speculative.n_max",
    "speculative.p_min",
    "lora",
    "json_schema",
    "grammar",
    "grammar_lazy",
    "grammar_triggers",
    "preserved_tokens",
    "reasoning_format",
    "reasoning_budget",
    "parse_tool_calls",
    "samplers",
    "id_slot",
    "image_data",
    "system_prompt",
    "input_prefix",
    "input_suffix",
    "input_extra",
];
const OTHERS: &[&str] = &[
    "tool_prompt",
    "guideline",
    "do_sample",
    "max_new_tokens",
    "return_full_text",
    "top_n_tokens",
    "truncate",
    "watermark",
    "adapter_id",
    "details",
    "decoder_input_details",
    "inputs",
    "parameters",
    "regex",
    "ebnf",
    "separate_reasoning",
    "stream_reasoning",
    "no_stop_trim",
    "stop_regex",
    "lora_path",
    "session_params",
    "rid",
    "return_hidden_states",
    "custom_logit_processor",
    "custom_params",
    "input_ids",
    "keep_alive",
    "options",
    "format",
    "think",
    "template",
    "system",
    "thinking",
    "enable_thinking",
    "thinking_budget",
    "reasoning",
    "top_a",
    "transforms",
    "random_seed",
];

fn body(kind: CompletionKind, field: &str, value: Value) -> Value {
    let mut body = match kind {
        CompletionKind::Chat => json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        CompletionKind::Text => json!({"model": "m", "prompt": "hi"}),
    };
    body[field] = value;
    body
}

fn send(kind: CompletionKind, field: &str, value: Value) -> Result<super::super::CompletionRequest, Failure> {
    let body = body(kind, field, value);
    if kind == CompletionKind::Chat { chat(&body, None) } else { text(&body) }
}

/// The field that the refusal of a request names, and its code; `None` if the request is accepted.
fn refused(kind: CompletionKind, field: &str, value: &Value) -> Option<(String, String)> {
    let failure = send(kind, field, value.clone()).err()?;
    assert_eq!(failure.status(), 400, "{field}: {failure}");
    let error = serde_json::to_value(failure.body_for("r")).expect("JSON");
    let word = |key: &str| error["error"][key].as_str().unwrap_or_default().to_owned();
    Some((word("param"), word("code")))
}

fn names(kind: CompletionKind) -> Vec<&'static str> {
    let own = if kind == CompletionKind::Chat { CHAT } else { TEXT };
    let rows = own.iter().chain(REFUSED).map(|row| row.0);
    rows.chain(HONOURED.iter().copied()).chain(NO_EFFECT.iter().copied()).collect()
}

#[test]
fn every_field_of_the_known_apis_is_in_the_table() {
    for name in [OPENAI_CHAT, OPENAI_TEXT, VLLM, LLAMA_CPP, OTHERS].concat() {
        assert!(use_of(CompletionKind::Chat, name).is_some(), "a chat request ignores \"{name}\"");
    }
    for name in [OPENAI_TEXT, VLLM, LLAMA_CPP, OTHERS].concat() {
        assert!(use_of(CompletionKind::Text, name).is_some(), "a text request ignores \"{name}\"");
    }
    for list in [HONOURED, NO_EFFECT] {
        assert!(list.is_sorted() && REFUSED.is_sorted_by_key(|row| row.0), "in order");
        assert!(list.iter().all(|name| REFUSED.iter().all(|row| row.0 != *name)), "in one place");
    }
    assert!(HONOURED.iter().all(|name| !NO_EFFECT.contains(name)));
}

#[test]
fn every_field_is_used_as_its_row_says() {
    for kind in [CompletionKind::Chat, CompletionKind::Text] {
        let plain = send(kind, "model", json!("m")).unwrap_or_else(|failure| panic!("{failure}"));
        let mut seen = HashSet::new();
        for name in names(kind).into_iter().filter(|name| seen.insert(*name)) {
            match use_of(kind, name).expect("it is in the table") {
                Honoured => {
                    let wrong = [json!([{"x": 1}]), json!({"x": [1]})];
                    let (param, _) = wrong.iter().find_map(|value| refused(kind, name, value)).expect(name);
                    assert!(param.starts_with(name), "\"{name}\" is not read: {param}");
                }
                NoEffect => {
                    let asked = send(kind, name, json!({"x": [1]})).unwrap_or_else(|failure| panic!("{failure}"));
                    assert!(asked.generation == plain.generation && asked.ignored_fields.is_empty(), "{name}");
                }
                Refused(..) => {
                    let values = [json!(true), json!(false), json!(2), json!("x"), json!({"x": 1}), json!(["x"])];
                    let refusals: Vec<_> = values.iter().filter_map(|value| refused(kind, name, value)).collect();
                    assert!(!refusals.is_empty(), "{name}");
                    let expected = (name.to_owned(), "unsupported".to_owned());
                    assert!(refusals.iter().all(|refusal| *refusal == expected), "{name}: {refusals:?}");
                }
            }
            assert!(send(kind, name, Value::Null).is_ok() || ["messages", "model", "prompt"].contains(&name), "{name}");
        }
    }
}

#[test]
fn a_value_that_asks_for_the_usual_behavior_is_accepted() {
    for (field, value) in [
        ("n", json!(1)),
        ("best_of", json!(1)),
        ("top_logprobs", json!(0)),
        ("response_format", json!({"type": "text"})),
        ("modalities", json!(["text"])),
        ("functions", json!([])),
        ("function_call", json!("auto")),
        ("echo", json!(false)),
        ("suffix", json!("")),
        ("verbosity", json!("medium")),
        ("include_reasoning", json!(true)),
        ("separate_reasoning", json!(false)),
        ("typical_p", json!(1.0)),
        ("repeat_penalty", json!(1.0)),
        ("repeat_last_n", json!(64)),
        ("dry_multiplier", json!(0.0)),
        ("xtc_probability", json!(0)),
        ("mirostat", json!(0)),
        ("n_probs", json!(0)),
        ("grammar", json!("")),
        ("bad_words", json!([])),
        ("use_beam_search", json!(false)),
        ("top_n_sigma", json!(-1.0)),
        ("reasoning_format", json!("none")),
        ("extra_body", json!({})),
        ("stop", json!("")),
        ("stop", json!([])),
        ("stop", json!(["", "x"])),
        ("top_p", json!(0)),
        ("top_k", json!(-1)),
        ("top_k", json!(0)),
        ("temperature", json!(2)),
        ("frequency_penalty", json!(0)),
        ("logit_bias", json!({})),
        ("logit_bias", json!([])),
        ("seed", json!(-5)),
        ("seed", json!(1e30)),
        ("max_tokens", json!(64_000)),
        ("max_tokens", json!(1e30)),
        ("n_predict", json!(-1)),
    ] {
        for kind in [CompletionKind::Chat, CompletionKind::Text] {
            assert!(send(kind, field, value.clone()).is_ok(), "{kind:?}: {field} {value}");
        }
    }
    for (field, value) in [
        ("tools", json!([])),
        ("tool_choice", json!("none")),
        ("tool_choice", json!({"type": "auto"})),
        ("parallel_tool_calls", json!(false)),
        ("add_special_tokens", json!(false)),
        ("logprobs", json!(false)),
        ("logprobs", json!(true)),
    ] {
        assert!(send(CompletionKind::Chat, field, value.clone()).is_ok(), "{field} {value}");
    }
}

#[test]
fn an_unsupported_value_is_refused_with_the_name_of_its_field() {
    for (field, value) in [
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-1)),
        ("n_predict", json!(0)),
        ("min_tokens", json!(-1)),
        ("top_k", json!(-2)),
        ("top_p", json!(1.5)),
        ("logprobs", json!("x")),
        ("n", json!(0)),
        ("guided_json", json!({})),
        ("json_schema", json!({})),
        ("reasoning_budget", json!("much")),
        ("extra_body", json!({"guided_json": {}})),
    ] {
        for kind in [CompletionKind::Chat, CompletionKind::Text] {
            assert_eq!(refused(kind, field, &value).expect("refused").0, field, "{kind:?}: {value}");
        }
    }
    let mut window = body(CompletionKind::Text, "repeat_last_n", json!(64));
    window["presence_penalty"] = json!(0.5);
    assert!(text(&window).is_err(), "penalties look at all tokens");
}

#[test]
fn unknown_fields_are_reported_up_to_a_maximum() {
    let mut body = body(CompletionKind::Chat, "zeal", json!(1));
    assert_eq!(chat(&body, None).unwrap_or_else(|failure| panic!("{failure}")).ignored_fields, ["zeal"]);
    for number in 0..100 {
        body[format!("{}{number}", "x".repeat(100))] = json!(1);
    }
    let reported = chat(&body, None).unwrap_or_else(|failure| panic!("{failure}")).ignored_fields;
    assert!(
        reported.len() == REPORTED_FIELDS_MAX
            && reported.iter().all(|name| name.len() <= REPORTED_FIELD_CHARACTERS_MAX),
        "{reported:?}"
    );
}

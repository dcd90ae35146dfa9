use std::collections::HashSet;

use serde_json::json;

use super::super::{chat, text};
use super::*;

/// What the clients and servers of the time send and take, as their own sources have it.
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

fn body(endpoint: Endpoint, field: &str, value: Value) -> Value {
    let mut body = match endpoint {
        Endpoint::Chat => json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        Endpoint::Text => json!({"model": "m", "prompt": "hi"}),
    };
    body[field] = value;
    body
}

fn ask(endpoint: Endpoint, field: &str, value: Value) -> Result<super::super::Ask, Failure> {
    let body = body(endpoint, field, value);
    if endpoint == Endpoint::Chat { chat(&body, None) } else { text(&body) }
}

/// The field that a refusal names, and its code.
fn refused(endpoint: Endpoint, field: &str, value: &Value) -> Option<(String, String)> {
    let failure = ask(endpoint, field, value.clone()).err()?;
    assert_eq!(failure.status(), 400, "{field}: {failure}");
    let error = serde_json::to_value(failure.body_for("r")).expect("JSON");
    let word = |key: &str| error["error"][key].as_str().unwrap_or_default().to_owned();
    Some((word("param"), word("code")))
}

fn names(endpoint: Endpoint) -> Vec<&'static str> {
    let own = if endpoint == Endpoint::Chat { CHAT } else { TEXT };
    let rows = own.iter().chain(REFUSED).map(|row| row.0);
    rows.chain(HONOURED.iter().copied()).chain(NO_EFFECT.iter().copied()).collect()
}

#[test]
fn every_field_of_the_known_apis_is_in_the_table() {
    for name in [OPENAI_CHAT, OPENAI_TEXT, VLLM, LLAMA_CPP, OTHERS].concat() {
        assert!(of(Endpoint::Chat, name).is_some(), "a chat passes over \"{name}\"");
    }
    for name in [OPENAI_TEXT, VLLM, LLAMA_CPP, OTHERS].concat() {
        assert!(of(Endpoint::Text, name).is_some(), "a completion passes over \"{name}\"");
    }
    for list in [HONOURED, NO_EFFECT] {
        assert!(list.is_sorted() && REFUSED.is_sorted_by_key(|row| row.0), "in order");
        assert!(list.iter().all(|name| REFUSED.iter().all(|row| row.0 != *name)), "in one place");
    }
    assert!(HONOURED.iter().all(|name| !NO_EFFECT.contains(name)));
}

#[test]
fn what_the_table_says_is_what_becomes_of_a_field() {
    for endpoint in [Endpoint::Chat, Endpoint::Text] {
        let plain = ask(endpoint, "model", json!("m")).unwrap_or_else(|failure| panic!("{failure}"));
        let mut seen = HashSet::new();
        for name in names(endpoint).into_iter().filter(|name| seen.insert(*name)) {
            match of(endpoint, name).expect("it is in the table") {
                Honoured => {
                    let wrong = [json!([{"x": 1}]), json!({"x": [1]})];
                    let (param, _) = wrong.iter().find_map(|value| refused(endpoint, name, value)).expect(name);
                    assert!(param.starts_with(name), "\"{name}\" is not read: {param}");
                }
                NoEffect => {
                    let asked = ask(endpoint, name, json!({"x": [1]})).unwrap_or_else(|failure| panic!("{failure}"));
                    assert!(asked.request == plain.request && asked.passed_over.is_empty(), "{name}");
                }
                Refused(..) => {
                    let values = [json!(true), json!(false), json!(2), json!("x"), json!({"x": 1}), json!(["x"])];
                    let refusals: Vec<_> = values.iter().filter_map(|value| refused(endpoint, name, value)).collect();
                    assert!(!refusals.is_empty(), "{name}");
                    let expected = (name.to_owned(), "unsupported".to_owned());
                    assert!(refusals.iter().all(|refusal| *refusal == expected), "{name}: {refusals:?}");
                }
            }
            assert!(
                ask(endpoint, name, Value::Null).is_ok() || ["messages", "model", "prompt"].contains(&name),
                "{name}"
            );
        }
    }
}

#[test]
fn what_holds_anyway_may_be_said() {
    for (field, value) in [
        ("n", json!(1)),
        ("best_of", json!(1)),
        ("logprobs", json!(false)),
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
        for endpoint in [Endpoint::Chat, Endpoint::Text] {
            assert!(ask(endpoint, field, value.clone()).is_ok(), "{endpoint:?}: {field} {value}");
        }
    }
    for (field, value) in [
        ("tools", json!([])),
        ("tool_choice", json!("none")),
        ("tool_choice", json!({"type": "auto"})),
        ("parallel_tool_calls", json!(false)),
        ("add_special_tokens", json!(false)),
    ] {
        assert!(ask(Endpoint::Chat, field, value.clone()).is_ok(), "{field} {value}");
    }
}

#[test]
fn what_cannot_be_said_is_refused_by_its_name() {
    for (field, value) in [
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-1)),
        ("n_predict", json!(0)),
        ("min_tokens", json!(-1)),
        ("top_k", json!(-2)),
        ("top_p", json!(1.5)),
        ("logprobs", json!(0)),
        ("n", json!(0)),
        ("think", json!(false)),
        ("guided_json", json!({})),
        ("json_schema", json!({})),
        ("reasoning_budget", json!(0)),
        ("extra_body", json!({"guided_json": {}})),
    ] {
        for endpoint in [Endpoint::Chat, Endpoint::Text] {
            assert_eq!(refused(endpoint, field, &value).expect("refused").0, field, "{endpoint:?}: {value}");
        }
    }
    let mut window = body(Endpoint::Text, "repeat_last_n", json!(64));
    window["presence_penalty"] = json!(0.5);
    assert!(text(&window).is_err(), "penalties look at all tokens");
}

#[test]
fn unknown_fields_are_told_and_bounded() {
    let mut body = body(Endpoint::Chat, "zeal", json!(1));
    assert_eq!(chat(&body, None).unwrap_or_else(|failure| panic!("{failure}")).passed_over, ["zeal"]);
    for number in 0..100 {
        body[format!("{}{number}", "x".repeat(100))] = json!(1);
    }
    let told = chat(&body, None).unwrap_or_else(|failure| panic!("{failure}")).passed_over;
    assert!(told.len() == TOLD_MAX && told.iter().all(|name| name.len() <= TOLD_CHARACTERS_MAX), "{told:?}");
}

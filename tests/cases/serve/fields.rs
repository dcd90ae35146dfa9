//! Request fields of OpenAI's API and other servers: honoured, without effect, or refused by name.

use serde_json::{Value, json};

use super::{QUESTION, chat, config, with};
use crate::harness::server::{Server, tenant};
use crate::harness::{endless_model, model_copy, root};

/// A request to continue plain text.
fn bare(text: &str) -> Value {
    json!({"model": "ember", "temperature": 0, "prompt": text})
}

#[test]
fn an_answer_without_a_maximum_length_may_fill_the_context() {
    let model = endless_model("endless-answers");
    std::fs::write(model.join("generation_config.json"), r#"{"eos_token_id": 256}"#).expect("writable");
    let small = tenant("small", "[tenant.limits]\ncontext_tokens_max = 640");
    let config = format!("[[model]]\nname = \"ember\"\npath = \"{}\"\ndevice = \"cpu\"\n{small}", model.display());
    let server = Server::start(&format!("{config}[sessions]\npath = \"sessions.db\"\n"));
    let session = server.post("/v1/sessions", "small", &json!({"model": "ember"})).json();
    let session = format!("/v1/sessions/{}/generate", session["id"].as_str().expect("an id"));
    for (path, body) in [
        ("/v1/chat/completions", chat("Tell me something.")),
        ("/v1/completions", bare("Tell me something.")),
        (session.as_str(), json!({"messages": [{"role": "user", "content": "Tell me something."}]})),
        // Far above any context size.
        ("/v1/chat/completions", with(chat("Tell me something."), "max_tokens", json!(64_000))),
    ] {
        let done = server.post(path, "small", &body).json();
        assert_eq!(done["usage"]["total_tokens"], 640, "{path}: {done}");
        assert!(done["usage"]["completion_tokens"].as_u64() > Some(512), "{path}: {done}");
        assert_eq!(done["choices"][0]["finish_reason"], "length", "{path}");
    }
}

#[test]
fn empty_and_neutral_values_have_no_effect() {
    let server = Server::start(&config(""));
    let lenient = json!({
        "top_p": 0, "top_k": -1, "min_p": 0, "stop": "", "seed": -1, "n": 1, "stream_options": null, "tools": [],
        "tool_choice": "none", "response_format": {"type": "text"}, "logprobs": false, "user": "u", "metadata": {"a": "b"},
        "store": false, "service_tier": "auto", "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": null,
        "max_completion_tokens": null, "max_tokens": 1, "parallel_tool_calls": true, "cache_prompt": true, "modalities": null,
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "Ann"},
            {"role": "assistant", "content": null, "refusal": "no"},
            {"role": "user", "content": "Again"},
            {"role": "assistant", "content": null, "tool_calls":
                [{"id": "c1", "type": "function", "function": {"name": "ping", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c1", "content": ""},
        ],
    });
    let mut body = chat(QUESTION);
    for (field, value) in lenient.as_object().expect("an object") {
        body[field] = value.clone();
    }
    let done = server.post("/v1/chat/completions", "alpha", &body);
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(done.json()["firebox"]["passed_over"], Value::Null, "{}", done.body);
    for (field, value) in [
        ("guided_json", json!({"type": "object"})),
        ("structured_outputs", json!({"json": {}})),
        ("grammar", json!("root ::= x")),
        ("prompt_logprobs", json!(1)),
        ("return_token_ids", json!(true)),
        ("bad_words", json!(["x"])),
        ("reasoning_effort", json!("high")),
        ("extra_body", json!({"top_k": 1})),
    ] {
        let refused = server.post("/v1/chat/completions", "alpha", &with(chat(QUESTION), field, value));
        assert_eq!((refused.status, refused.code().as_str()), (400, "unsupported"), "{field}: {}", refused.body);
        assert_eq!(refused.json()["error"]["param"], field, "{}", refused.body);
    }
    let unknown = server.post("/v1/chat/completions", "alpha", &with(body, "zeal", json!(7))).json();
    assert_eq!(unknown["firebox"]["passed_over"], json!(["zeal"]));
}

#[test]
fn a_request_can_set_the_variables_of_the_chat_template() {
    let model = model_copy("template-variables");
    let template = "{{ messages[-1].content }}{% if enable_thinking is defined and not enable_thinking %}<quiet>{% endif %}\
                    {% if add_generation_prompt %}A:{% endif %}";
    std::fs::write(model.join("chat_template.jinja"), template).expect("writable");
    let config = format!("[[model]]\nname = \"ember\"\npath = \"{}\"\ndevice = \"cpu\"\n", model.display());
    let server = Server::start(&format!("{config}{}", tenant("alpha", "")));
    let prompt = |field: &str, value: Value| {
        let done = server.post(
            "/v1/chat/completions",
            "alpha",
            &with(with(chat("hello"), "max_tokens", json!(1)), field, value),
        );
        assert_eq!(done.status, 200, "{field}: {}", done.body);
        done.json()
    };
    // The built-in model has one token for each byte.
    for (field, value, tokens) in [
        ("user", json!("u"), "helloA:".len()),
        ("chat_template_kwargs", json!({"enable_thinking": true}), "helloA:".len()),
        ("chat_template_kwargs", json!({"enable_thinking": false}), "hello<quiet>A:".len()),
        ("enable_thinking", json!(false), "hello<quiet>A:".len()),
        ("reasoning_effort", json!("none"), "hello<quiet>A:".len()),
        ("add_generation_prompt", json!(false), "hello".len()),
    ] {
        assert_eq!(prompt(field, value.clone())["usage"]["prompt_tokens"], tokens, "{field}: {value}");
    }
    let idle = prompt("chat_template_kwargs", json!({"zeal": 1}));
    assert_eq!(idle["firebox"]["passed_over"], json!(["chat_template_kwargs.zeal"]));
}

#[test]
fn stop_fields_of_a_request_end_the_answer() {
    let server = Server::start(&config(""));
    let ask = |field: &str, value: Value| {
        let body = with(with(bare("The letter"), "max_tokens", json!(24)), field, value);
        let done = server.post("/v1/completions", "alpha", &body).json();
        let text = done["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned();
        (text, done["choices"][0]["finish_reason"].clone())
    };
    let (whole, _) = ask("user", json!("u"));
    let third = whole.chars().nth(2).expect("some text");
    let before: String = whole.chars().take_while(|c| *c != third).collect();
    let tokenizer = std::fs::read(root().join("host/ember/model/tokenizer.json")).expect("readable");
    let tokenizer: Value = serde_json::from_slice(&tokenizer).expect("JSON");
    let token = json!([tokenizer["model"]["vocab"][third.to_string()]]);
    assert_eq!(ask("stop_token_ids", token.clone()), (before.clone(), json!("stop")), "{whole}");
    assert_eq!(ask("stop", json!(["", third.to_string()])), (before.clone(), json!("stop")), "{whole}");
    let mut kept =
        with(with(bare("The letter"), "stop", json!(third.to_string())), "include_stop_str_in_output", json!(true));
    kept["max_tokens"] = json!(24);
    let kept = server.post("/v1/completions", "alpha", &kept).json();
    assert_eq!(kept["choices"][0]["text"], json!(format!("{before}{third}")), "{whole}");
}

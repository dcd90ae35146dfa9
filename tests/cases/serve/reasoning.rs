//! The reasoning of a model over HTTP. The built-in model does not reason, so its copy gets a template that opens the
//! reasoning, and a budget closes it.

use serde_json::{Value, json};

use super::{chat, content, never_ends, with};
use crate::harness::model_copy;
use crate::harness::server::{Server, events, tenant};

/// A server whose model has this template.
fn server(name: &str, template: &str) -> Server {
    let model = model_copy(name);
    std::fs::write(model.join("chat_template.jinja"), template).expect("writable");
    let config = format!("[[model]]\nname = \"ember\"\npath = \"{}\"\ndevice = \"cpu\"\n", model.display());
    Server::start(&format!("{config}{}\n[sessions]\npath = \"sessions.db\"\n", tenant("alpha", "")))
}

/// A template that opens the reasoning, unless it is switched off.
const SWITCHED: &str = "{{ messages[-1].content }}\n{% if add_generation_prompt %}<think>\
                        {% if enable_thinking is defined and not enable_thinking %}</think>{% endif %}{% endif %}";

/// A chat whose answer has 40 tokens.
fn long(field: &str, value: Value) -> Value {
    let body = with(with(chat("Hello"), "max_tokens", json!(40)), "logit_bias", never_ends());
    with(body, field, value)
}

/// The bytes of the closing mark that a budget forces, up to the end of the mark itself.
const CLOSING: u64 = "\n</think>".len() as u64;

#[test]
fn reasoning_is_a_field_of_its_own() {
    let server = server("reasoning-switched", SWITCHED);
    let answer = |body: &Value| {
        let done = server.post("/v1/chat/completions", "alpha", body);
        assert_eq!(done.status, 200, "{}", done.body);
        let done = done.json();
        let thought = done["choices"][0]["message"]["reasoning_content"].as_str().map(str::to_owned);
        let tokens = done["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().expect("a number");
        (thought, content(&done).to_owned(), tokens)
    };
    let budget = long("reasoning_max_tokens", json!(6));
    let (thought, text, tokens) = answer(&budget);
    let thought = thought.expect("it thinks");
    assert!((1..=6).contains(&thought.chars().count()) && !text.is_empty() && !text.contains("think>"), "{text:?}");
    assert_eq!(tokens, 6 + CLOSING);

    let (all, none, tokens) = answer(&long("seed", json!(1)));
    assert!(
        all.is_some_and(|all| all.starts_with(&thought)) && none.is_empty(),
        "without a budget it goes on thinking"
    );
    assert_eq!(tokens, 40);

    let streamed =
        events(&server.post("/v1/chat/completions", "alpha", &with(budget.clone(), "stream", json!(true))).body);
    let joined = |name: &str| -> String {
        streamed.iter().filter_map(|event| event["choices"][0]["delta"][name].as_str()).collect()
    };
    assert_eq!((joined("reasoning_content"), joined("content")), (thought.clone(), text.clone()));

    assert_eq!(answer(&with(budget.clone(), "include_reasoning", json!(false))), (None, text.clone(), 6 + CLOSING));
    let (none, whole, _) = answer(&with(budget, "separate_reasoning", json!(false)));
    assert!(none.is_none() && whole.starts_with(&thought) && whole.contains("</think>"), "{whole:?}");
    for (field, off) in [
        ("enable_thinking", json!(false)),
        ("reasoning_effort", json!("none")),
        ("thinking", json!({"type": "disabled"})),
        ("chat_template_kwargs", json!({"enable_thinking": false})),
        ("reasoning_max_tokens", json!(0)),
    ] {
        let (thought, text, tokens) = answer(&long(field, off));
        assert!(thought.is_none() && !text.is_empty() && tokens == 0, "{field}: {thought:?} {text:?}");
    }
}

#[test]
fn a_session_stores_the_answer_without_its_reasoning() {
    let server = server("reasoning-session", SWITCHED);
    let session = server.post("/v1/sessions", "alpha", &json!({"model": "ember"})).json();
    let session = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
    let done = server.post(&format!("{session}/generate"), "alpha", &long("reasoning_max_tokens", json!(6)));
    assert!(done.json()["choices"][0]["message"]["reasoning_content"].is_string(), "{}", done.body);
    let stored = server.get(&session, "alpha").json();
    let last = stored["messages"].as_array().and_then(|messages| messages.last()).expect("an answer");
    assert_eq!(last["content"], content(&done.json()), "{stored}");
    assert!(last.get("reasoning_content").is_none(), "{stored}");
    let several = server.post(&format!("{session}/generate"), "alpha", &long("n", json!(2)));
    assert_eq!((several.status, several.json()["error"]["param"].clone()), (400, json!("n")), "{}", several.body);
}

#[test]
fn reasoning_without_a_switch_cannot_be_switched_off() {
    let server = server("reasoning-always", "{{ messages[-1].content }}<think>{# </think> #}");
    let refused = server.post("/v1/chat/completions", "alpha", &long("reasoning_effort", json!("none")));
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("no switch for reasoning"), "{}", refused.body);
    let done = server.post("/v1/chat/completions", "alpha", &long("reasoning_max_tokens", json!(0))).json();
    assert_eq!(done["usage"]["completion_tokens_details"]["reasoning_tokens"], json!(CLOSING), "{done}");
    assert!(!content(&done).is_empty(), "{done}");
}

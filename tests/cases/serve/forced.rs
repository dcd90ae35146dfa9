//! Tool calls that `tool_choice` forces: streaming or not, the call is the same.

use serde_json::{Value, json};

use super::{chat, config, content, with};
use crate::harness::server::{Server, events, text_of};

/// For each tool of the built-in model: a question, the expected arguments, and a part of the answer.
const CALLS: &[(&str, &str, &str, &str)] = &[
    ("calculator", "What is 1234 * 87?", r#"{"expression": "1234 * 87"}"#, "107358"),
    ("count_letter", "How many r in strawberry?", r#"{"text": "strawberry", "letter": "r"}"#, "3"),
    ("count_words", "How many words are in \"the cat sat\"?", r#"{"text": "the cat sat"}"#, "3"),
    ("count_characters", "How many characters are in \"apple pie\"?", r#"{"text": "apple pie"}"#, "9"),
    ("reverse_text", "Reverse the text hello", r#"{"text": "hello"}"#, "olleh"),
    ("change_case", "Make \"good morning\" upper case", r#"{"text": "good morning", "to": "upper"}"#, "GOOD MORNING"),
    ("slugify", "Make a slug of \"Hello World\"", r#"{"text": "Hello World"}"#, "hello-world"),
    ("convert_units", "Convert 12 km to miles", r#"{"value": 12, "from": "km", "to": "miles"}"#, "7.456454"),
];

fn forced(question: &str, choice: Value) -> Value {
    with(chat(question), "tool_choice", choice)
}

fn named(tool: &str) -> Value {
    json!({"type": "function", "function": {"name": tool}})
}

/// Tool, arguments and result of the first call that the server ran.
fn call(firebox: &Value) -> (String, Value, String) {
    let call = &firebox["tool_calls"][0];
    let text = |field: &str| call[field].as_str().unwrap_or_default().to_owned();
    (text("name"), serde_json::from_str(&text("arguments")).unwrap_or(Value::Null), text("result"))
}

#[test]
fn each_tool_is_called_with_the_right_arguments_if_it_is_named() {
    let server = Server::start(&config(""));
    for (tool, question, arguments, expected) in CALLS {
        let arguments: Value = serde_json::from_str(arguments).expect("JSON");
        for choice in [named(tool), json!("required")] {
            let whole = server.post("/v1/chat/completions", "alpha", &forced(question, choice.clone())).json();
            let (name, given, result) = call(&whole["firebox"]);
            assert_eq!((name.as_str(), &given), (*tool, &arguments), "{choice}: {whole}");
            assert!(result.contains(expected) && content(&whole).contains(expected), "{choice}: {whole}");
            // The forced opening is not part of the text and not counted.
            assert!(!content(&whole).contains("tool_call"), "{choice}: {whole}");

            let body = with(forced(question, choice.clone()), "stream", json!(true));
            let streamed = events(&server.post("/v1/chat/completions", "alpha", &body).body);
            assert_eq!(text_of(&streamed), content(&whole), "{choice}: a stream says the same");
        }
        let session = server.post("/v1/sessions", "alpha", &json!({"model": "ember"})).json();
        let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
        let body =
            json!({"temperature": 0, "messages": [{"role": "user", "content": question}], "tool_choice": named(tool)});
        let kept = server.post(&format!("{path}/generate"), "alpha", &body).json();
        assert!(content(&kept).contains(expected), "in a session: {kept}");
        let stored = server.get(&path, "alpha").json();
        let call = stored["messages"][1]["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or_default();
        assert_eq!(serde_json::from_str::<Value>(call).ok(), Some(arguments), "what is kept is the call: {stored}");
    }
}

#[test]
fn the_prefix_cache_and_the_maximum_length_work_with_a_forced_opening() {
    let server = Server::start(&config(""));
    let (tool, question, ..) = CALLS[1];
    let usage = |body: &Value| server.post("/v1/chat/completions", "alpha", body).json();
    let first = usage(&forced(question, named(tool)));
    let again = usage(&forced(question, named(tool)));
    assert_eq!(content(&first), content(&again));
    let cached = |done: &Value| done["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert!(cached(&again) > cached(&first), "{again}");
    assert_eq!(first["usage"]["completion_tokens"], again["usage"]["completion_tokens"]);
    for max in 1..=3 {
        let done = usage(&with(forced(question, named(tool)), "max_tokens", json!(max)));
        assert_eq!(
            (&done["usage"]["completion_tokens"], done["firebox"]["finish_reason"].as_str()),
            (&json!(max), Some("length"))
        );
    }
}

/// A tool that the model was not trained on. Token healing keeps the whole opening.
#[test]
fn a_tool_without_special_tokens_can_be_forced() {
    let server = Server::start(&config(""));
    let tools = json!([{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]);
    let body = with(with(forced("What is 1234 * 87?", named("lookup")), "tools", tools), "max_tokens", json!(40));
    let done = server.post("/v1/chat/completions", "alpha", &body);
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(!content(&done.json()).contains("arguments"), "{}", done.body);
}

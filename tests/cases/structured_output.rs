//! Answers that keep to a JSON Schema, a regular expression or a Lark grammar, of the binary and of the server.

use std::fs;

use serde_json::{Value, json};

use super::devices::environment;
use crate::harness::server::{PLUGINS, Server, events, tenant, text_of};
use crate::harness::{Firebox, scratch};

fn smollm2() -> String {
    let variables = environment("smollm2");
    variables.into_iter().find(|(name, _)| name == "FIREBOX_TEST_SMOLLM2").expect("the tool prints it").1
}

fn schema() -> Value {
    json!({ "type": "object", "properties": { "city": { "type": "string", "maxLength": 20 }, "capital": { "type": "boolean" } },
            "required": ["city", "capital"], "additionalProperties": false })
}

/// Checks a value of `schema`.
fn check(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let members = value.as_object().expect("an object");
    assert!(members.len() == 2 && members["city"].is_string() && members["capital"].is_boolean(), "{text}");
}

fn run(more: &[&str]) -> Firebox {
    Firebox::new(
        ["run", "--device", "cpu", "--no-tools", "--temperature", "0", "--max-tokens", "120"].iter().chain(more),
    )
}

#[test]
fn a_chat_model_answers_by_schema_and_by_regular_expression() {
    let (model, folder) = (smollm2(), scratch("schema"));
    let file = folder.join("city.json");
    fs::write(&file, schema().to_string()).expect("writable");
    let file = file.display().to_string();
    check(
        &run(&["--model", &model, "--json-schema", &file, "Paris is the capital of France."])
            .run()
            .expect_code(0)
            .stdout,
    );
    let answer = run(&["--model", &model, "--regex", "(yes|no)", "Is Paris in France?"]).run().expect_code(0).stdout;
    assert!(["yes", "no"].contains(&answer.trim()), "{answer}");
}

#[test]
fn the_form_can_come_from_standard_input_and_bad_forms_are_named() {
    check(&run(&["--json-schema", "-", "hello"]).input(schema().to_string()).run().expect_code(0).stdout);
    let lark = "start: \"<\" NUMBER \">\"\nNUMBER: /[0-9]{1,3}/\n";
    let answer = run(&["--grammar", "-", "hello"]).input(lark).run().expect_code(0).stdout;
    let number = answer.trim().strip_prefix('<').and_then(|text| text.strip_suffix('>')).expect("in brackets");
    assert!(number.parse::<u16>().is_ok_and(|number| number < 1_000), "{answer}");
    for (form, words) in [
        ("{\"items\": {\"contains\": {}}}", "\"/items/contains\""),
        ("{", "not valid JSON"),
        ("[]", "neither an object"),
    ] {
        let refused = run(&["--json-schema", "-", "hello"]).input(form).run().expect_code(2);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    for (args, words) in [
        (["--regex", "(", "hello"], "the regular expression is not valid"),
        (["--json-schema", "/nonexistent.json", "hello"], "cannot read \"/nonexistent.json\""),
    ] {
        let refused = run(&args).run().expect_code(2);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let both = run(&["--regex", "a", "--grammar", "b", "hello"]).run().expect_code(2);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
}

fn format(schema: &Value) -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "city", "strict": true, "schema": schema } })
}

#[test]
fn the_server_answers_by_schema_whole_streamed_as_text_and_in_a_session() {
    let config = format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{}\n", tenant("alpha", PLUGINS));
    let server = Server::start(&config);
    let ask = |more: Value| {
        let mut body = json!({ "model": "ember", "temperature": 0, "messages": [{ "role": "user", "content": "hello" }],
                               "tool_choice": "none", "max_tokens": 300 });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let post = |path: &str, body: &Value| server.post(path, "alpha", body);
    let whole = post("/v1/chat/completions", &ask(json!({ "response_format": format(&schema()) }))).json();
    check(whole["choices"][0]["message"]["content"].as_str().expect("a text"));
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let streamed = post("/v1/chat/completions", &ask(json!({ "response_format": format(&schema()), "stream": true })));
    let streamed = text_of(&events(&streamed.body));
    assert_eq!(streamed, whole["choices"][0]["message"]["content"].as_str().expect("a text"));
    let text = json!({ "model": "ember", "prompt": "hello", "temperature": 0, "response_format": format(&schema()) });
    check(post("/v1/completions", &text).json()["choices"][0]["text"].as_str().expect("a text"));
    let session = post("/v1/sessions", &json!({ "model": "ember" })).json();
    let path = format!("/v1/sessions/{}/generate", session["id"].as_str().expect("an id"));
    let kept = post(&path, &ask(json!({ "response_format": format(&schema()) }))).json();
    check(kept["choices"][0]["message"]["content"].as_str().expect("a text"));
    let cut =
        post("/v1/chat/completions", &ask(json!({ "response_format": { "type": "json_object" }, "max_tokens": 3 })));
    assert_eq!(cut.json()["choices"][0]["finish_reason"], "length", "{}", cut.body);
    for (format, param) in [
        (
            format(&json!({ "properties": { "a": { "uniqueItems": true } } })),
            "response_format/properties/a/uniqueItems",
        ),
        (format(&json!({ "$ref": "https://example.com" })), "response_format/$ref"),
    ] {
        for stream in [false, true] {
            let refused = post("/v1/chat/completions", &ask(json!({ "response_format": format, "stream": stream })));
            assert_eq!((refused.status, refused.code().as_str()), (400, "schema_unsupported"), "{}", refused.body);
            assert_eq!(refused.json()["error"]["param"], param, "{}", refused.body);
        }
    }
}

#[test]
fn calls_of_strict_and_of_forced_tools_of_the_client_have_valid_arguments() {
    let config = format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{}\n", tenant("alpha", ""));
    let server = Server::start(&config);
    let tool = json!({ "type": "function", "function": { "name": "place", "strict": true, "parameters": schema() } });
    let body = json!({ "model": "ember", "temperature": 0, "tools": [tool], "tool_choice": "required", "max_tokens": 300,
                       "messages": [{ "role": "user", "content": "hello" }] });
    let answer = server.post("/v1/chat/completions", "alpha", &body).json();
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "place", "{answer}");
    check(call["arguments"].as_str().expect("arguments"));
    let odd = json!({ "type": "function", "function": { "name": "odd", "strict": true,
                      "parameters": { "type": "object", "properties": { "a": { "not": {} } } } } });
    let mut refused = body;
    refused["tools"] = json!([odd]);
    let refused = server.post("/v1/chat/completions", "alpha", &refused);
    assert_eq!((refused.status, refused.code().as_str()), (400, "schema_unsupported"), "{}", refused.body);
    assert_eq!(refused.json()["error"]["param"], "tools/properties/a/not", "{}", refused.body);
}

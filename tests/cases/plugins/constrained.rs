//! The plugins `regex` and `json-schema`: whatever a model prefers, its answer is valid.

use serde_json::{Value, json};

use super::folders;
use crate::cases::devices::environment;
use crate::harness::Firebox;
use crate::harness::server::{Server, tenant};

fn smollm2() -> String {
    let variables = environment("smollm2");
    variables.into_iter().find(|(name, _)| name == "FIREBOX_TEST_SMOLLM2").expect("the tool prints it").1
}

fn run(component: &str, config: &str, more: &[&str]) -> Firebox {
    let args =
        ["run", "--device", "cpu", "--no-tools", "--max-tokens", "200", "--plugin", component, "--plugin-config"];
    Firebox::new(args.iter().chain(&[config]).chain(more))
}

/// A date, a colour and a number, or nothing.
const PATTERN: &str = r"(20[0-9]{2}-[01][0-9]: (red|green|blue) [0-9]{1,3}|nothing)\.";

fn check_line(text: &str) {
    let text = text.trim_end_matches('\n');
    let Some(rest) = text.strip_suffix('.') else { panic!("{text:?}") };
    if rest == "nothing" {
        return;
    }
    let (date, rest) = rest.split_once(": ").unwrap_or_else(|| panic!("{text:?}"));
    let (colour, number) = rest.split_once(' ').unwrap_or_else(|| panic!("{text:?}"));
    let (year, month) = date.split_once('-').unwrap_or_else(|| panic!("{text:?}"));
    assert!(year.len() == 4 && year.starts_with("20") && year.parse::<u16>().is_ok(), "{text:?}");
    assert!(month.len() == 2 && month.parse::<u8>().is_ok_and(|month| month < 20), "{text:?}");
    assert!(["red", "green", "blue"].contains(&colour), "{text:?}");
    assert!((1..=3).contains(&number.len()) && number.parse::<u16>().is_ok(), "{text:?}");
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": { "type": "string", "minLength": 1, "maxLength": 12 },
            "inhabitants": { "type": "integer" },
            "kind": { "enum": ["village", "town", "capital"] },
            "founded": { "type": "string", "format": "date" },
            "tags": { "type": "array", "items": { "type": "string", "maxLength": 8 }, "minItems": 1, "maxItems": 2 },
        },
        "required": ["city", "inhabitants", "kind", "tags"],
        "additionalProperties": false,
    })
}

fn check_object(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let members = value.as_object().unwrap_or_else(|| panic!("{text}"));
    let length = |value: &Value| value.as_str().map_or(usize::MAX, |text| text.chars().count());
    for (name, value) in members {
        let fits = match name.as_str() {
            "city" => (1..=12).contains(&length(value)),
            "inhabitants" => value.is_i64(),
            "kind" => ["village", "town", "capital"].contains(&value.as_str().unwrap_or_default()),
            "founded" => length(value) == 10 && value.as_str().is_some_and(|date| date.split('-').count() == 3),
            "tags" => value
                .as_array()
                .is_some_and(|tags| (1..=2).contains(&tags.len()) && tags.iter().all(|tag| length(tag) <= 8)),
            _ => false,
        };
        assert!(fits, "{name} of {text}");
    }
    let required = ["city", "inhabitants", "kind", "tags"];
    assert!(required.iter().all(|name| members.contains_key(*name)), "{text}");
}

#[test]
fn answers_of_two_models_match_the_expression() {
    let (model, config) = (smollm2(), format!("regex={}", json!({ "pattern": PATTERN })));
    for folder in folders() {
        let component = folder.join("regex.wasm").display().to_string();
        for more in [
            &["--temperature", "0", "hello"][..],
            &["--temperature", "1.5", "--seed", "7", "hello"],
            &["--model", &model, "--temperature", "0", "Name a month and a colour."],
            &["--model", &model, "--temperature", "1.5", "--seed", "3", "Name a month and a colour."],
        ] {
            check_line(&run(&component, &config, more).run().expect_code(0).stdout);
        }
    }
}

#[test]
fn answers_of_two_models_are_valid_by_the_schema() {
    let (model, config) = (smollm2(), format!("json-schema={}", json!({ "schema": schema() })));
    for folder in folders() {
        let component = folder.join("json-schema.wasm").display().to_string();
        for more in [
            &["--temperature", "1", "--seed", "7", "hello"][..],
            &["--model", &model, "--temperature", "0", "Describe Paris as JSON."],
            &["--model", &model, "--temperature", "1.2", "--seed", "3", "Describe Oslo as JSON."],
        ] {
            check_object(&run(&component, &config, more).run().expect_code(0).stdout);
        }
    }
}

#[test]
fn each_choice_of_a_request_has_a_session_of_its_own() {
    let plugin =
        "[[plugin]]\nname = \"line\"\nsource = \"regex\"\nconfig = { pattern = '(red|green|blue) [0-9]{6}' }\n";
    let config =
        format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{plugin}{}\n", tenant("alpha", "plugins = [\"line\"]"));
    let server = Server::start(&config);
    let ask = json!({ "model": "ember", "temperature": 2, "seed": 5, "n": 4, "max_tokens": 60, "tool_choice": "none",
                      "messages": [{ "role": "user", "content": "hello" }] });
    let answer = server.post("/v1/chat/completions", "alpha", &ask).json();
    let choices = answer["choices"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(choices.len(), 4);
    let mut texts = std::collections::BTreeSet::new();
    for choice in choices {
        let text = choice["message"]["content"].as_str().expect("a text");
        let (colour, number) = text.split_once(' ').unwrap_or_else(|| panic!("{text:?}"));
        assert!(["red", "green", "blue"].contains(&colour) && number.len() == 6, "{text:?}");
        assert!(number.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
        assert_eq!(choice["finish_reason"], "stop");
        texts.insert(text);
    }
    assert!(texts.len() > 1, "the choices differ, so their sessions are in different states: {texts:?}");
}

#[test]
fn a_pattern_or_a_schema_that_cannot_be_used_is_named() {
    for (name, config, words) in [
        ("regex", r#"regex={"pattern": "("}"#, "character 2: a group has no end"),
        ("regex", "regex={}", "missing configuration key \"pattern\""),
        ("json-schema", r#"json-schema={"schema": {"not": {}}}"#, "at #: \"not\" is not supported here"),
    ] {
        let refused = run(name, config, &["hello"]).run().expect_code(5);
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

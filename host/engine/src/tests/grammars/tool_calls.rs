//! Tool calls of a model that chooses its tokens at random: forced calls and calls of strict tools are valid.

use firebox_contract::{
    Caller, Error, Event, FinishReason, GenerationRequest, Grammar, Message, Prompt, Role, ToolCall, ToolChoice,
    ToolDefinition, ToolEffects, ToolOptions,
};
use serde_json::{Value, json};

use super::super::collect;
use super::random_model::{engine, engine_with};
use super::sampling;
use crate::Engine;

const TEMPLATES: [(&str, &str); 4] = [
    ("hermes", "<tool_call>{\"name\": …}</tool_call>"),
    ("llama 3", "<|python_tag|>"),
    ("mistral", "[TOOL_CALLS]"),
    ("mistral v11", "[TOOL_CALLS][ARGS]"),
];

fn tool(name: &str, schema: &Value) -> ToolDefinition {
    ToolDefinition {
        name: name.to_owned(),
        title: None,
        output_schema_json: None,
        description: String::new(),
        input_schema_json: schema.to_string(),
        as_sent_json: None,
        effects: ToolEffects::default(),
    }
}

fn weather() -> Value {
    json!({ "properties": { "city": { "type": "string", "maxLength": 12 }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } },
            "required": ["city", "days"], "additionalProperties": false })
}

fn request(number: usize, tools: ToolOptions) -> GenerationRequest {
    let prompt = Prompt::Chat(vec![Message::text(Role::User, "q")]);
    GenerationRequest { tools, sampling: sampling(number), ..GenerationRequest::new(prompt) }
}

fn offered(choice: ToolChoice) -> ToolOptions {
    let client = vec![
        tool("weather", &weather()),
        tool("time", &json!({ "properties": { "zone": { "enum": ["UTC", "CET"] } }, "additionalProperties": false })),
    ];
    ToolOptions { client, choice, ..ToolOptions::default() }
}

/// The calls of an answer, and whether it was cut.
async fn calls(engine: &Engine, request: GenerationRequest) -> (Vec<ToolCall>, String, FinishReason) {
    let generation = engine.generate(&Caller::local(), request).await.unwrap_or_else(|error| panic!("{error}"));
    let answer = collect(generation).await.unwrap_or_else(|error| panic!("{error}"));
    let calls = answer.events.into_iter().filter_map(|event| match event {
        Event::ToolCall(call) => Some(call),
        _ => None,
    });
    (calls.collect(), answer.text, answer.finish.reason)
}

fn check(call: &ToolCall) {
    let arguments: Value =
        serde_json::from_str(&call.arguments_json).unwrap_or_else(|error| panic!("{call:?}: {error}"));
    let mut schema = match call.name.as_str() {
        "weather" => weather(),
        "time" => json!({ "properties": { "zone": { "enum": ["UTC", "CET"] } }, "additionalProperties": false }),
        other => panic!("there is no tool {other}"),
    };
    schema["type"] = json!("object");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(validator.is_valid(&arguments), "{call:?}");
}

#[tokio::test]
async fn forced_calls_are_calls_of_offered_tools_with_valid_arguments() {
    for (format, template) in TEMPLATES {
        let engine = engine_with(template).await;
        let mut whole = 0;
        for number in 0..60 {
            let choice = if number % 2 == 0 { ToolChoice::Required } else { ToolChoice::Named("weather".to_owned()) };
            let named = matches!(choice, ToolChoice::Named(_));
            let options = ToolOptions { parallel: number % 3 != 0, ..offered(choice) };
            let one = !options.parallel || named;
            let (calls, text, reason) = calls(&engine, request(number, options)).await;
            if reason == FinishReason::Length {
                continue;
            }
            assert!(text.trim().is_empty() && !calls.is_empty(), "{format}: {text:?} {calls:?}");
            assert!(!one || calls.len() == 1, "{format}: {calls:?}");
            for call in &calls {
                assert!(!named || call.name == "weather", "{format}");
                check(call);
            }
            assert_eq!(reason, FinishReason::ToolCalls, "{format}");
            whole += 1;
        }
        assert!(whole > 40, "{format}: {whole}");
    }
}

#[tokio::test]
async fn calls_of_strict_tools_are_valid_wherever_they_are_in_a_text() {
    let mut called = 0;
    for (_, template) in TEMPLATES {
        let engine = engine_with(template).await;
        for number in 0..120 {
            let strict = vec!["weather".to_owned(), "time".to_owned()];
            let options = ToolOptions { strict, ..offered(ToolChoice::Auto) };
            let (calls, _, reason) = calls(&engine, request(number, options)).await;
            if reason != FinishReason::Length {
                calls.iter().for_each(check);
                called += calls.len();
            }
        }
    }
    assert!(called > 0, "at random there is a call among the texts");
}

#[tokio::test]
async fn with_tools_an_answer_is_a_call_or_has_the_form() {
    let engine = engine().await;
    let (mut called, mut answered) = (0, 0);
    for number in 0..80 {
        let grammar = Some(Grammar::JsonSchema("{\"type\": \"boolean\"}".to_owned()));
        let request = GenerationRequest { grammar, ..request(number, offered(ToolChoice::Auto)) };
        let (calls, text, reason) = calls(&engine, request).await;
        match reason {
            FinishReason::ToolCalls => {
                assert!(calls.iter().all(|call| call.name == "weather" || call.name == "time"), "{calls:?}");
                called += 1;
            }
            FinishReason::Stop => {
                assert!(text == "true" || text == "false", "{text}");
                answered += 1;
            }
            _ => {}
        }
    }
    assert!(called > 0 && answered > 0, "{called} calls, {answered} answers");
}

#[tokio::test]
async fn a_schema_that_is_not_supported_is_refused_for_strict_tools_and_relaxed_for_others() {
    let engine = engine().await;
    let odd = json!({ "type": "object", "properties": { "a": { "type": "array", "uniqueItems": true } } });
    let options = |strict: &[&str]| ToolOptions {
        client: vec![tool("odd", &odd)],
        choice: ToolChoice::Required,
        strict: strict.iter().map(|name| (*name).to_owned()).collect(),
        ..ToolOptions::default()
    };
    let error = engine.generate(&Caller::local(), request(0, options(&["odd"]))).await.err().expect("refused");
    assert!(
        matches!(&error, Error::Schema { tool: Some(tool), pointer, .. } if tool == "odd" && pointer == "/properties/a/uniqueItems"),
        "{error:?}"
    );
    let generation = engine.generate(&Caller::local(), request(0, options(&[]))).await.expect("admitted");
    let answer = collect(generation).await.expect("answered");
    let warned =
        answer.events.iter().any(|event| matches!(event, Event::Log(line) if line.message.contains("uniqueItems")));
    assert!(warned, "{:?}", answer.events);
}

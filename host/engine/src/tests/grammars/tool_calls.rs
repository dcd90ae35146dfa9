//! Tool calls of a model that chooses its tokens at random: forced calls and calls of strict tools are valid.

use firebox_contract::{
    Caller, Error, Event, FinishReason, GenerationRequest, Grammar, GrammarCompiler as _, Message, Prompt, Role,
    ToolCall, ToolChoice, ToolDefinition, ToolEffects, ToolOptions,
};
use serde_json::{Value, json};

use super::super::collect;
use super::random_model::{self, engine, engine_with, engine_with_markers};
use super::sampling;
use crate::Engine;
use crate::toolcall::call_grammar::CallableTool;
use crate::toolcall::format_of;

/// The name of each format, a template that has it, and a turn with two calls as its models write them.
const FORMATS: [(&str, &str, &str); 16] = [
    (
        "hermes",
        "<tool_call>{\"name\": …}</tool_call>",
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\", \"days\": 2}}\n</tool_call>\n\
         <tool_call>\n{\"name\": \"time\", \"arguments\": {}}\n</tool_call>",
    ),
    (
        "llama 3",
        "<|python_tag|>",
        "{\"name\": \"weather\", \"parameters\": {\"city\": \"Ulm\", \"days\": 2}}; {\"name\": \"time\", \"parameters\": {}}",
    ),
    (
        "mistral",
        "[TOOL_CALLS]",
        "[TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]",
    ),
    (
        "mistral v11",
        "[TOOL_CALLS][ARGS]",
        "[TOOL_CALLS]weather[ARGS]{\"city\": \"Ulm\", \"days\": 2}[TOOL_CALLS]time[ARGS]{}",
    ),
    (
        "deepseek v3",
        "<｜tool▁call▁begin｜>```json",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Ulm\", \"days\": 2}\n```<｜tool▁call▁end｜>\n\
         <｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        "deepseek v3.1",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Ulm\", \"days\": 2}<｜tool▁call▁end｜>\
         <｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    (
        "kimi",
        "<|tool_call_begin|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{\"city\": \"Ulm\", \"days\": 2}<|tool_call_end|>\
         <|tool_call_begin|>functions.time:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
    ),
    (
        "harmony",
        "<|channel|>commentary to=functions.",
        "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Ulm\", \"days\": 2}<|call|>",
    ),
    (
        "phi",
        "<|/tool_call|>",
        "<|tool_call|>{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\", \"days\": 2}}<|/tool_call|>\
         <|tool_call|>{\"name\": \"time\", \"arguments\": {}}<|/tool_call|>",
    ),
    (
        "granite",
        "<|tool_call|>",
        "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\", \"days\": 2}}, {\"name\": \"time\", \"arguments\": {}}]",
    ),
    (
        "qwen coder",
        "<tool_call><function=f>",
        "<tool_call>\n<function=weather>\n<parameter=city>\nUlm\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>\n\
         <tool_call>\n<function=time>\n</function>\n</tool_call>",
    ),
    (
        "seed",
        "<seed:tool_call>",
        "<seed:tool_call>\n<function=weather>\n<parameter=city>\nUlm\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</seed:tool_call>\n\
         <seed:tool_call>\n<function=time>\n</function>\n</seed:tool_call>",
    ),
    (
        "glm",
        "<tool_call><arg_key>",
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Ulm</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n\
         <tool_call>time\n</tool_call>",
    ),
    (
        "gemma 4",
        "<|tool_call>call:",
        "<|tool_call>call:weather{city:<|\"|>Ulm<|\"|>,days:2}<tool_call|><|tool_call>call:time{}<tool_call|>",
    ),
    (
        "function gemma",
        "<start_function_call>call:",
        "<start_function_call>call:weather{city:<escape>Ulm<escape>,days:2}<end_function_call><start_function_call>call:time{}<end_function_call>",
    ),
    ("pythonic", "[func_name1(", "[weather(city=\"Ulm\", days=2), time()]"),
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

fn time() -> Value {
    json!({ "properties": { "zone": { "enum": ["UTC", "CET"] } }, "additionalProperties": false })
}

/// Values of every type, with bounds.
fn note() -> Value {
    json!({
        "properties": {
            "text": { "type": "string", "minLength": 2, "maxLength": 6 },
            "code": { "type": "string", "pattern": "^[a-z]{2}$" },
            "day": { "type": "string", "format": "date" },
            "kind": { "enum": ["a b", "c"] },
            "tags": { "type": "array", "items": { "type": "string", "maxLength": 3 }, "minItems": 1, "maxItems": 3 },
            "place": { "type": "object", "properties": { "x": { "type": "integer" }, "on": { "type": "boolean" } },
                       "required": ["x"], "additionalProperties": false },
            "size": { "anyOf": [{ "type": "null" }, { "type": "integer", "minimum": 3, "maximum": 11 }] },
        },
        "required": ["code", "tags", "size"],
        "additionalProperties": false
    })
}

fn request(number: usize, tools: ToolOptions) -> GenerationRequest {
    let prompt = Prompt::Chat(vec![Message::text(Role::User, "q")]);
    GenerationRequest { tools, sampling: sampling(number), ..GenerationRequest::new(prompt) }
}

fn offered(choice: ToolChoice) -> ToolOptions {
    let client = vec![tool("weather", &weather()), tool("time", &time()), tool("note", &note())];
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
        "time" => time(),
        "note" => note(),
        other => panic!("there is no tool {other}"),
    };
    schema["type"] = json!("object");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(validator.is_valid(&arguments), "{call:?}");
}

#[tokio::test]
async fn forced_calls_are_calls_of_offered_tools_with_valid_arguments() {
    for (format, template, _) in FORMATS {
        let markers = format_of(template).expect("it is known").markers;
        // The marks of a family are ordinary text, or control tokens.
        for markers in [&[], markers] {
            let engine = engine_with_markers(template, markers).await;
            forced_calls(format, &engine).await;
        }
    }
}

async fn forced_calls(format: &str, engine: &Engine) {
    let mut whole = 0;
    for number in 0..60 {
        let name = ["weather", "note"][number / 2 % 2];
        let choice = if number % 2 == 0 { ToolChoice::Required } else { ToolChoice::Named(name.to_owned()) };
        let named = matches!(choice, ToolChoice::Named(_));
        let options = ToolOptions { parallel: number % 3 != 0, ..offered(choice) };
        let one = !options.parallel || named;
        let (calls, text, reason) = calls(engine, request(number, options)).await;
        if reason == FinishReason::Length {
            continue;
        }
        assert!(text.trim().is_empty() && !calls.is_empty(), "{format}: {text:?} {calls:?}");
        assert!(!one || calls.len() == 1, "{format}: {calls:?}");
        for call in &calls {
            assert!(!named || call.name == name, "{format}");
            check(call);
        }
        assert_eq!(reason, FinishReason::ToolCalls, "{format}");
        whole += 1;
    }
    assert!(whole > 30, "{format}: {whole}");
}

#[test]
fn the_calls_that_models_of_a_family_write_are_in_its_grammar() {
    for (name, template, written) in FORMATS {
        let format = format_of(template).expect("it is known");
        assert_eq!(format.name, name);
        for markers in [&[], format.markers] {
            let compiler = random_model::compiler(template, markers);
            for schemas in [Some([weather(), time()]), None] {
                let schema = |at: usize| {
                    schemas.as_ref().map(|schemas| {
                        let mut schema = schemas[at].clone();
                        schema["type"] = json!("object");
                        schema.to_string()
                    })
                };
                let tools: Vec<CallableTool> = ["weather", "time"]
                    .into_iter()
                    .enumerate()
                    .map(|(at, name)| CallableTool { name: name.to_owned(), schema: schema(at) })
                    .collect();
                let mut grammars = vec![((format.grammar.only)(&tools, 4), written.to_owned())];
                if let Some(in_text) = format.grammar.in_text {
                    let before = if ["llama 3", "pythonic"].contains(&name) { "" } else { "I look. " };
                    grammars.push((in_text(&tools, 4), format!("{before}{written}")));
                    grammars.push((in_text(&tools, 4), "No call is needed.".to_owned()));
                }
                for (grammar, text) in grammars {
                    let compiled = compiler.compile(&firebox_contract::TenantId::new("t"), &grammar);
                    let mut state = compiled.unwrap_or_else(|error| panic!("{name}: {error}"));
                    let accepted = state.accept_text(&text).expect("a step") && state.may_end().expect("a step");
                    assert!(accepted, "{name}, {} markers, schemas {}: {text}", markers.len(), schemas.is_some());
                }
            }
        }
    }
}

#[tokio::test]
async fn strict_tools_are_refused_where_no_grammar_sees_the_call() {
    let engine = engine_with("<|channel|>commentary to=functions.").await;
    let strict = |choice| ToolOptions { strict: vec!["weather".to_owned()], ..offered(choice) };
    let error = engine.generate(&Caller::local(), request(0, strict(ToolChoice::Auto))).await.err().expect("refused");
    assert!(matches!(&error, Error::Usage(message) if message.contains("\"harmony\"")), "{error:?}");
    let (calls, ..) = calls(&engine, request(0, strict(ToolChoice::Named("weather".to_owned())))).await;
    calls.iter().for_each(check);
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn a_part_that_a_notation_cannot_express_is_refused_with_its_pointer() {
    let engine = engine_with("<tool_call><function=f>").await;
    for (schema, pointer) in [
        (json!({ "properties": { "a b": { "type": "string" } } }), "/properties/a b"),
        (json!({ "properties": { "a": { "type": "string", "oneOf": [{ "maxLength": 3 }] } } }), "/properties/a/oneOf"),
        (json!({ "properties": { "a": {} }, "minProperties": 1 }), "/minProperties"),
        (json!({ "anyOf": [{ "required": ["a"] }] }), "/anyOf"),
        (json!({ "required": ["a"] }), "/required"),
    ] {
        let options = ToolOptions {
            client: vec![tool("odd", &schema)],
            choice: ToolChoice::Required,
            strict: vec!["odd".to_owned()],
            ..ToolOptions::default()
        };
        let error = engine.generate(&Caller::local(), request(0, options)).await.err().expect("refused");
        let refused =
            matches!(&error, Error::Schema { tool: Some(tool), pointer: at, .. } if tool == "odd" && at == pointer);
        assert!(refused, "{schema}: {error:?}");
    }
}

#[tokio::test]
async fn calls_of_strict_tools_are_valid_wherever_they_are_in_a_text() {
    let mut called = 0;
    for (format, template, _) in FORMATS {
        if format == "harmony" {
            continue;
        }
        let engine = engine_with_markers(template, format_of(template).expect("it is known").markers).await;
        for number in 0..120 {
            let strict = ["weather", "time", "note"].map(str::to_owned).to_vec();
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
                assert!(
                    calls.iter().all(|call| ["weather", "time", "note"].contains(&call.name.as_str())),
                    "{calls:?}"
                );
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

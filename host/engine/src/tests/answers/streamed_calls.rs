//! Calls of the client's tools, sent while the model writes them.

use firebox_contract::{
    Event, FinishReason, GenerationRequest, SamplingOverrides, ToolDefinition, ToolEffects, ToolOptions,
};

use super::super::fakes::{Plugins, engine};
use super::super::{CollectedAnswer, answer, ask, ask_with};

fn tool(name: &str, schema: &str) -> ToolDefinition {
    ToolDefinition {
        name: name.to_owned(),
        title: None,
        output_schema_json: None,
        description: String::new(),
        input_schema_json: schema.to_owned(),
        as_sent_json: None,
        effects: ToolEffects::default(),
    }
}

fn request(parallel: bool) -> GenerationRequest {
    let client = vec![tool("f", "{}"), tool("g", r#"{"required": ["x"]}"#)];
    let tools = ToolOptions { client, parallel, stream_calls: true, ..ToolOptions::default() };
    GenerationRequest { tools, ..ask("hi") }
}

/// Each streamed call as its id, its name and its joined parts, in order; and the number of parts.
fn streamed(answer: &CollectedAnswer) -> (Vec<(String, String, String)>, usize) {
    let (mut calls, mut parts): (Vec<(String, String, String)>, usize) = (Vec::new(), 0);
    for event in &answer.events {
        let Event::ToolCallDelta { id, name, arguments } = event else { continue };
        parts += 1;
        match calls.iter_mut().find(|call| call.0 == *id) {
            Some(call) => {
                assert!(name.is_none(), "the name comes once");
                call.2.push_str(arguments);
            }
            None => calls.push((id.clone(), name.clone().expect("the first part has the name"), arguments.clone())),
        }
    }
    (calls, parts)
}

fn whole(answer: &CollectedAnswer) -> Vec<(String, String, String)> {
    let calls = answer.events.iter().filter_map(|event| match event {
        Event::ToolCall(call) => Some((call.id.clone(), call.name.clone(), call.arguments_json.clone())),
        _ => None,
    });
    calls.collect()
}

fn two_calls(_: &str) -> String {
    "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, 2]}}</tool_call>\n\
     <tool_call>{\"arguments\": {\"x\": 1}, \"name\": \"g\"}</tool_call><tool_call>{\"name\": \"f\"}</tool_call>"
        .to_owned()
}

#[tokio::test]
async fn the_parts_of_a_call_are_its_arguments_and_calls_keep_their_order() {
    let (engine, _) = engine(two_calls, Plugins::default()).await;
    let answer = answer(&engine, request(true)).await;
    let (calls, parts) = streamed(&answer);
    assert_eq!(calls, whole(&answer));
    let written: Vec<(&str, &str)> = calls.iter().map(|call| (call.1.as_str(), call.2.as_str())).collect();
    assert_eq!(written, [("f", "{\"a\": [1, 2]}"), ("g", "{\"x\": 1}"), ("f", "{}")]);
    assert!(parts > 10, "the first call came in {parts} parts");
    assert_eq!(answer.finish.reason, FinishReason::ToolCalls);
    let none = GenerationRequest { tools: ToolOptions { stream_calls: false, ..request(true).tools }, ..ask("hi") };
    assert_eq!(streamed(&super::super::answer(&engine, none).await).1, 0);
}

#[tokio::test]
async fn only_calls_that_the_client_gets_are_streamed() {
    let (engine, _) = engine(two_calls, Plugins::default()).await;
    let one = answer(&engine, request(false)).await;
    assert_eq!((streamed(&one).0.len(), whole(&one).len()), (1, 1), "one call at a time");
    fn other(prompt: &str) -> String {
        match prompt.contains("tool: ") {
            true => "done".to_owned(),
            false => "<tool_call>{\"name\": \"h\", \"arguments\": {\"a\": 1}}</tool_call>\
                      <tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>"
                .to_owned(),
        }
    }
    let (engine, _) = super::super::fakes::engine(other, Plugins::default()).await;
    let answer = answer(&engine, request(true)).await;
    assert_eq!(streamed(&answer).1, 0, "an unknown tool, and a call without the arguments that it needs");
    assert_eq!(answer.text, "done");
}

#[tokio::test]
async fn a_streamed_call_that_is_cut_off_ends_the_answer() {
    let (engine, _) = engine(two_calls, Plugins::default()).await;
    let sampling = SamplingOverrides { max_tokens: Some(48), ..SamplingOverrides::default() };
    let answer = answer(&engine, GenerationRequest { tools: request(true).tools, ..ask_with("hi", sampling) }).await;
    let (calls, _) = streamed(&answer);
    assert_eq!(calls.len(), 1);
    assert!("{\"a\": [1, 2]}".starts_with(&calls[0].2) && calls[0].2.len() < 13, "{calls:?}");
    assert_eq!(answer.finish.reason, FinishReason::Length);
}

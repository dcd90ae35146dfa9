//! The tool call stage: plugins see the calls of all tools before they are approved, and their results.

use firebox_contract::{CallVerdict, Event, ToolCall};

use super::super::fakes::engine_changed;
use super::doubles::{FakeToolSource, ScriptedApprover};
use super::*;

/// An engine with a tool of a plugin and tools of a source, whose calls `before` decides about.
async fn guarded(
    source: &Arc<FakeToolSource>,
    before: fn(&ToolCall) -> CallVerdict,
    approver: Option<Arc<ScriptedApprover>>,
) -> Engine {
    let plugins = Plugins { tools: vec!["add"], before: Some(before), ..Plugins::default() };
    let source = Arc::clone(source);
    let (engine, _) = engine_changed(scripted_turn, plugins, 8, 64, |options| {
        options.tools = Some(source);
        options.approver = approver.map(|approver| approver as _);
    })
    .await;
    engine
}

fn rewrite(call: &ToolCall) -> CallVerdict {
    CallVerdict::Run(call.arguments_json.contains("secret").then(|| "{\"a\": \"hidden\"}".to_owned()))
}

#[tokio::test]
async fn rewritten_arguments_are_what_is_shown_run_and_remembered() {
    let source = FakeToolSource::of(&["read_file"]);
    let engine = guarded(&source, rewrite, None).await;
    let calls = format!("{}{}", call("read_file", "{\"a\": \"secret\"}"), call("add", "{\"a\": \"plain\"}"));
    let answer = answer(&engine, ask(&[&calls, "done"])).await;
    let shown: Vec<&str> = answer
        .events
        .iter()
        .filter_map(|event| match event {
            Event::ToolCall(call) => Some(call.arguments_json.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(shown, ["{\"a\": \"hidden\"}", "{\"a\": \"plain\"}"]);
    assert_eq!(
        added(&answer.finish),
        [
            "assistant: <call_0 read_file><call_1 add>",
            "toolcall_0: read_file did {\"a\": \"hidden\"} (seen)",
            "toolcall_1: add ran with {\"a\": \"plain\"} (seen)",
            "assistant: done",
        ]
    );
}

#[tokio::test]
async fn a_refused_call_is_an_error_that_the_model_reads() {
    let source = FakeToolSource::of(&["read_file"]);
    let refuse = |_: &ToolCall| CallVerdict::Refuse { plugin: "guard".to_owned(), message: "not that file".to_owned() };
    let engine = guarded(&source, refuse, None).await;
    let answer = answer(&engine, ask(&[&call("read_file", "{}"), "sorry"])).await;
    assert_eq!(
        tool_events(&answer.events),
        ["call call_0 read_file", "result call_0 error: plugin \"guard\" refused the call: not that file"]
    );
    assert_eq!(answer.text, "sorry");
}

//! Which tools are offered, and which calls are forced or denied.

use firebox_contract::{Error, FinishReason, limits};

use super::doubles::{CodecWithTemplate, FakeToolSource};
use super::*;

/// Answers with the prompt.
fn mirror(prompt: &str) -> String {
    prompt.replace("\nA:", " A ").replace('\n', " ")
}

async fn offered(source: &Arc<FakeToolSource>, options: ToolOptions) -> CollectedAnswer {
    let plugins = Plugins { tools: vec!["add", "mul"], ..Plugins::default() };
    let tools = Arc::clone(source);
    let (engine, _) = engine_changed(mirror, plugins, 8, 64, |options| options.tools = Some(tools)).await;
    answer(&engine, ask_with(&["q"], options)).await
}

async fn refused(options: ToolOptions, template: Option<&'static str>) -> String {
    let engine = engine_with(&FakeToolSource::of(&["read_x"]), |engine| {
        if let Some(template) = template {
            engine.codec = Arc::new(CodecWithTemplate(Arc::clone(&engine.codec), template));
        }
    })
    .await;
    match start(&engine, ask_with(&["q"], options)).await {
        Err(Error::Usage(message)) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[tokio::test]
async fn tools_of_plugins_source_and_client_are_offered_together() {
    let source = FakeToolSource::of(&["read_x", "add", "bad name", "read_y"]);
    let client = vec![tool("mine", "{}")];
    let answer = offered(&source, ToolOptions { client, ..ToolOptions::default() }).await;
    assert!(answer.text.starts_with("[add][mul][read_x][read_y][mine]user"), "{}", answer.text);
    let log = logged(&answer.events);
    assert!(log[0].contains("\"add\" is not offered: a plugin has a tool of that name"), "{log:?}");
    assert!(log[1].contains("\"bad name\" is not offered"), "{log:?}");
    let none = ToolOptions { choice: ToolChoice::None, ..ToolOptions::default() };
    assert!(offered(&source, none).await.text.starts_with("user"));
    let client_only = ToolOptions { rounds: 0, client: vec![tool("mine", "{}")], ..ToolOptions::default() };
    assert!(offered(&source, client_only).await.text.starts_with("[mine]user"));
}

#[tokio::test]
async fn denied_tools_are_neither_offered_nor_run() {
    let source = FakeToolSource::of(&["read_x", "write_x"]);
    let policy = rules(&[("write_*", Permission::Deny)]);
    let tightened = rules(&[("mul", Permission::Deny), ("write_*", Permission::Allow)]);
    let options = ToolOptions { policy, tightened, ..ToolOptions::default() };
    assert!(offered(&source, options.clone()).await.text.starts_with("[add][read_x]user"));
    let engine = engine(&source).await;
    let calls = format!("{}{}", call("write_x", "{}"), call("mul", "{}"));
    let answer = answer(&engine, ask_with(&[&calls, "done"], options)).await;
    assert_eq!(
        added(&answer.finish)[1..3],
        ["toolcall_0: error: policy denies the tool \"write_x\"", "toolcall_1: error: policy denies the tool \"mul\""]
    );
    assert!(source.log().is_empty());
}

#[tokio::test]
async fn contradictory_tool_options_are_refused() {
    let client = |tools: Vec<ToolDefinition>| ToolOptions { client: tools, ..ToolOptions::default() };
    let choose = |choice: ToolChoice| ToolOptions { choice, ..ToolOptions::default() };
    let unknown = Some("no calls here");
    let cases = [
        (client(vec![tool("add", "{}")]), None, "\"add\" has the name of a tool of this host"),
        (client(vec![tool("a", "{}"), tool("a", "{}")]), None, "given twice"),
        (client(vec![tool("a b", "{}")]), None, "a name is"),
        (client(vec![tool("a", "[]")]), None, "not a JSON object"),
        (client(vec![tool("a", "{")]), None, "not JSON"),
        (choose(named("nope")), None, "not among the tools offered"),
        (ToolOptions { rounds: 0, ..choose(ToolChoice::Required) }, None, "none is offered"),
        (client(vec![tool("a", "{}")]), unknown, "hermes, mistral v11, mistral"),
        (choose(ToolChoice::Required), unknown, "(known: "),
    ];
    for (options, template, expected) in cases {
        let message = refused(options, template).await;
        assert!(message.contains(expected), "{message} should contain {expected}");
    }
}

#[tokio::test]
async fn default_tools_are_left_out_if_the_template_has_no_tool_calls() {
    let source = FakeToolSource::of(&["read_x"]);
    let engine = engine_with(&source, |options| {
        options.codec = Arc::new(CodecWithTemplate(Arc::clone(&options.codec), "no calls here"));
    })
    .await;
    let answer = answer(&engine, ask(&["fine"])).await;
    assert_eq!(answer.text, "fine");
    assert!(logged(&answer.events)[0].contains("1 tools are not offered"), "{:?}", logged(&answer.events));
}

#[tokio::test]
async fn a_forced_call_is_opened_for_the_model_once() {
    let source = FakeToolSource::of(&["read_x"]);
    let engine = engine(&source).await;
    let choices = [
        (named("read_x"), "<tool_call> {\"name\": \"read_x\", \"arguments\": {}}</tool_call>"),
        (ToolChoice::Required, "<tool_call> {\"name\": \"read_x\", \"arguments\": {}}</tool_call>"),
    ];
    for (choice, turn) in choices {
        let before = source.log().len();
        let answer = answer(&engine, ask_with(&[turn, "done"], ToolOptions { choice, ..ToolOptions::default() })).await;
        assert_eq!((answer.text.as_str(), answer.finish.reason), ("done", FinishReason::Stop));
        assert_eq!(source.log().len(), before + 2, "it ran");
    }
}

#[tokio::test]
async fn client_calls_end_the_request_after_host_calls_ran() {
    let source = FakeToolSource::of(&["read_x", "write_x"]);
    let engine = engine(&source).await;
    let calls = format!("Wait. {}{}{}", call("mine", "{\"a\": 1}"), call("read_x", "{}"), call("write_x", "{}"));
    let client = vec![tool("mine", "{\"type\": \"object\"}")];
    let options = ToolOptions { client, ..ToolOptions::default() };
    let first = answer(&engine, ask_with(&[&calls, "never"], options.clone())).await;
    assert_eq!(first.finish.reason, FinishReason::ToolCalls);
    assert_eq!(
        tool_events(&first.events),
        [
            "call call_1 read_x",
            "result call_1 read_x did {}",
            "call call_2 write_x",
            "result call_2 write_x did {}",
            "call call_0 mine"
        ]
    );
    assert_eq!(
        added(&first.finish),
        [
            "assistant: Wait. <call_0 mine><call_1 read_x><call_2 write_x>",
            "toolcall_1: read_x did {}",
            "toolcall_2: write_x did {}",
        ]
    );
    // The client answers its own call and continues the conversation. New ids do not repeat old ones.
    let mut request = ask_with(&["", &call("read_x", "{}"), "done"], options);
    if let Prompt::Chat(messages) = &mut request.prompt {
        messages.extend(first.finish.messages.clone());
        messages.push(Message::tool_result(&first.finish.messages[0].tool_calls[0], "mine did it"));
    }
    let second = answer(&engine, request).await;
    assert_eq!(tool_events(&second.events)[0], "call call_3 read_x");
}

#[tokio::test]
async fn one_call_per_turn_if_parallel_calls_are_off() {
    let source = FakeToolSource::of(&["read_x"]);
    let engine = engine(&source).await;
    let client = vec![tool("mine", "{}")];
    let options = ToolOptions { parallel: false, client, ..ToolOptions::default() };
    let host = format!("{}{}", call("read_x", "{}"), call("mine", "{}"));
    let first = answer(&engine, ask_with(&[&host, "done"], options.clone())).await;
    assert_eq!(first.finish.reason, FinishReason::Stop);
    assert!(added(&first.finish)[2].contains("only one call at a time"), "{:?}", added(&first.finish));
    let theirs = format!("{}{}", call("mine", "{}"), call("read_x", "{}"));
    let second = answer(&engine, ask_with(&[&theirs], options)).await;
    assert_eq!(
        (second.finish.reason, added(&second.finish)),
        (FinishReason::ToolCalls, vec!["assistant: <call_0 mine>".to_owned()])
    );
}

#[tokio::test]
async fn f6_all_tool_call_formats_work_in_tool_rounds() {
    let cases = [
        ("'[TOOL_CALLS]' '[ARGS]'", "[TOOL_CALLS]read_x[ARGS]{\"a\": 1}", "call00000", "done[TOOL_CALLS"),
        ("'[TOOL_CALLS]'", "[TOOL_CALLS] [{\"name\": \"read_x\", \"arguments\": {\"a\": 1}}]", "call00000", "done"),
        ("<|python_tag|>", "<|python_tag|>{\"name\": \"read_x\", \"parameters\": {\"a\": 1}}", "call_0", "done"),
        ("<|python_tag|>", "{\"name\": \"read_x\", \"parameters\": {\"a\": 1}}", "call_0", "{\"name\": \"x\"}"),
    ];
    for (template, written, id, last) in cases {
        let source = FakeToolSource::of(&["read_x"]);
        let engine = engine_with(&source, |options| {
            options.codec = Arc::new(CodecWithTemplate(Arc::clone(&options.codec), template));
        })
        .await;
        let answer = answer(&engine, ask(&[written, last])).await;
        assert_eq!(answer.text, last, "{template}");
        assert_eq!(tool_events(&answer.events)[1], format!("result {id} read_x did {{\"a\": 1}}"), "{template}");
    }
}

#[tokio::test]
async fn call_markers_are_removed_without_tools() {
    let engine = engine_with(&FakeToolSource::of(&[]), |options| {
        options.codec = Arc::new(CodecWithTemplate(Arc::clone(&options.codec), "[TOOL_CALLS]"));
    })
    .await;
    let none = ToolOptions { choice: ToolChoice::None, ..ToolOptions::default() };
    assert_eq!(answer(&engine, ask_with(&["a[TOOL_CALLS]b[ARGS]c"], none)).await.text, "abc");
}

#[tokio::test]
async fn too_many_tools_are_refused_or_left_out() {
    let names: Vec<String> = (0..=limits::TOOLS_MAX).map(|n| format!("t{n}")).collect();
    let many: Vec<ToolDefinition> = names.iter().map(|name| tool(name, "{}")).collect();
    let source = FakeToolSource::with(many.clone());
    let answer = offered(&source, ToolOptions::default()).await;
    assert_eq!(logged(&answer.events).len(), 3, "the two plugin tools count too");
    let engine = engine(&FakeToolSource::of(&[])).await;
    let request = ask_with(&["q"], ToolOptions { client: many, ..ToolOptions::default() });
    assert!(matches!(start(&engine, request).await, Err(Error::TooLarge(_))));
}

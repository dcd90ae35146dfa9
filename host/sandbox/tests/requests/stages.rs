//! Each stage: what a plugin receives and returns, and how a chain passes it on.

use firebox_contract::{
    Error, FaultCause, Message, PromptVerdict, Role, Sampling, SamplingOverrides, Stage, TextVerdict, ToolCall,
    ToolEffects, limits,
};
use firebox_sandbox::{OnFault, PluginSpec};

use crate::support::{all_text, bind, chain, fault, guest, guest_with, load, prebuilt, push_once, sandbox, spec, tag};

fn conversation() -> Vec<Message> {
    let call = ToolCall { id: "c1".to_owned(), name: "add".to_owned(), arguments_json: "{\"a\":1}".to_owned() };
    let calling = Message { tool_calls: vec![call.clone()], ..Message::text(Role::Assistant, "") };
    vec![
        Message::text(Role::System, "Be brief."),
        Message::text(Role::User, "1 + 1? Ünïcödé too: 🧀"),
        calling,
        Message::tool_result(&call, "2"),
    ]
}

#[tokio::test]
async fn a_prompt_keeps_every_field_on_its_way_through_a_guest() {
    let echo = load(&sandbox(), "prompt-echo").await;
    let mut hooks = bind(&chain(&[&echo])).await;
    let verdict = hooks.process(conversation()).await.expect("no fault");
    assert_eq!(verdict, PromptVerdict::Continue(conversation().split_off(1)), "it drops the first message");
}

#[tokio::test]
async fn versions_of_the_prompt_stage_work_side_by_side_and_the_new_one_changes_sampling() {
    let sandbox = sandbox();
    let old = load(&sandbox, "prompt-echo").await;
    let new = |config: &str| sandbox.load(prebuilt("scripted-prompt.wasm", "new", config));
    let asked = SamplingOverrides { max_tokens: Some(50), stop: vec!["end".to_owned()], ..Default::default() };
    let asked = asked.resolve(&SamplingOverrides::default(), 1).expect("in range");
    let expected = |change: fn(&mut Sampling)| {
        let mut sampling = asked.clone();
        change(&mut sampling);
        sampling
    };
    for (config, expected) in [
        (r#"{"prompt": "tokens 7"}"#, expected(|sampling| sampling.max_tokens = Some(7))),
        (r#"{"prompt": "temperature 0.5"}"#, expected(|sampling| sampling.temperature = 0.5)),
        (r#"{"prompt": "stop here"}"#, expected(|sampling| sampling.stop.push("here".to_owned()))),
        ("{}", asked.clone()),
    ] {
        let new = new(config).await.expect("loaded");
        let mut hooks = bind(&chain(&[&new, &old])).await;
        let mut sampling = asked.clone();
        let verdict = hooks.process_sampled(conversation(), &mut sampling).await.expect("no fault");
        assert_eq!(verdict, PromptVerdict::Continue(conversation().split_off(1)), "the old one drops a message");
        assert_eq!(sampling, expected, "{config}");
    }
    for (config, expected) in [
        (r#"{"prompt": "tokens 51"}"#, "more than the request's 50"),
        (r#"{"prompt": "temperature -1"}"#, "temperature"),
        (r#"{"prompt": "lose all"}"#, "no message with text"),
    ] {
        let mut hooks = bind(&chain(&[&new(config).await.expect("loaded")])).await;
        let mut sampling = asked.clone();
        let fault = fault(hooks.process_sampled(conversation(), &mut sampling).await);
        assert!(fault.to_string().contains(expected), "{fault}");
        assert_eq!(sampling, asked, "nothing has changed");
    }
}

#[tokio::test]
async fn an_unchanged_prompt_stays_as_it_was() {
    let plugin = load(&sandbox(), "prompt-unchanged").await;
    let mut hooks = bind(&chain(&[&plugin])).await;
    assert_eq!(hooks.process(conversation()).await.expect("no fault"), PromptVerdict::Continue(conversation()));
    assert!(hooks.text_is_idle());
}

#[tokio::test]
async fn the_first_plugin_that_refuses_or_responds_ends_the_stage() {
    let sandbox = sandbox();
    let (echo, refuse) = (load(&sandbox, "prompt-echo").await, load(&sandbox, "prompt-refuse").await);
    let (respond, trap) = (load(&sandbox, "prompt-respond").await, load(&sandbox, "prompt-trap").await);
    let mut hooks = bind(&chain(&[&echo, &refuse, &trap])).await;
    let refused = PromptVerdict::Refuse { plugin: "prompt-refuse".to_owned(), message: "ember".to_owned() };
    assert_eq!(hooks.process(conversation()).await.expect("the trap was not reached"), refused);
    let mut hooks = bind(&chain(&[&echo, &respond, &refuse])).await;
    let answer = hooks.process(conversation()).await.expect("no fault");
    assert_eq!(answer, PromptVerdict::Respond("r-1".to_owned()));
}

#[tokio::test]
async fn messages_that_are_no_conversation_are_a_fault_of_the_plugin() {
    let sandbox = sandbox();
    let asked = || vec![Message::text(Role::User, "hi")];
    for (name, expected) in [
        ("prompt-empty", "no message with text"),
        ("prompt-many", "1000 messages for 1"),
        ("prompt-tool-first", "message 0 is from a tool"),
        ("prompt-bad-call", "arguments that are not one JSON object"),
    ] {
        let plugin = load(&sandbox, name).await;
        let fault = fault(bind(&chain(&[&plugin])).await.process(asked()).await);
        assert_eq!((fault.plugin.as_str(), fault.stage), (name, Stage::Prompt));
        assert!(matches!(&fault.cause, FaultCause::Refused { message } if message.contains(expected)), "{fault}");
        let skip = PluginSpec { on_fault: OnFault::Skip, ..spec("skipped", guest(name)) };
        let mut hooks = bind(&chain(&[&sandbox.load(skip).await.expect("loaded")])).await;
        assert_eq!(hooks.process(asked()).await.expect("skipped"), PromptVerdict::Continue(asked()));
        assert!(hooks.take_log().iter().any(|line| line.message.contains(expected)), "{name}");
    }
}

#[tokio::test]
async fn error_messages_of_a_plugin_are_cut() {
    let sandbox = sandbox();
    let fault = fault(push_once(&load(&sandbox, "long-error").await, "x").await);
    let bytes = limits::PLUGIN_ERROR_BYTES_MAX;
    assert!(
        matches!(&fault.cause, FaultCause::Failed { message } if message.len() == bytes),
        "{:.300}",
        fault.to_string()
    );
    let refuses = load(&sandbox, "prompt-long-refuse").await;
    let verdict = bind(&chain(&[&refuses])).await.process(vec![Message::text(Role::User, "hi")]).await;
    assert!(matches!(&verdict, Ok(PromptVerdict::Refuse { message, .. }) if message.len() == bytes));
}

#[tokio::test]
async fn a_trap_in_the_prompt_stage_ends_the_request_or_is_skipped() {
    let sandbox = sandbox();
    let trap = load(&sandbox, "prompt-trap").await;
    let fault = fault(bind(&chain(&[&trap])).await.process(conversation()).await);
    assert_eq!(fault.stage, Stage::Prompt);
    let skip = PluginSpec { on_fault: OnFault::Skip, ..spec("skipped", guest("prompt-trap")) };
    let skip = sandbox.load(skip).await.expect("loaded");
    let echo = load(&sandbox, "prompt-echo").await;
    let verdict = bind(&chain(&[&skip, &echo])).await.process(conversation()).await.expect("skipped");
    assert_eq!(verdict, PromptVerdict::Continue(conversation().split_off(1)), "the next plugin still ran");
}

#[tokio::test]
async fn a_chunk_goes_through_the_chain_in_order() {
    let sandbox = sandbox();
    let (a, b) = (tag(&sandbox, "a", 'a').await, tag(&sandbox, "b", 'b').await);
    assert_eq!(all_text(&mut *bind(&chain(&[&a, &b])).await, &["x", "y"]).await, "xabyabAbB");
    assert_eq!(all_text(&mut *bind(&chain(&[&b, &a])).await, &["x", "y"]).await, "xbaybaBaA");
}

#[tokio::test]
async fn buffered_text_reaches_the_next_plugin_at_the_end() {
    let sandbox = sandbox();
    let (hold, b) = (load(&sandbox, "hold").await, tag(&sandbox, "b", 'b').await);
    let mut hooks = bind(&chain(&[&hold, &b])).await;
    for chunk in ["x", "y"] {
        assert_eq!(hooks.push(chunk.to_owned()).await.expect("no fault"), TextVerdict::Emit(String::new()));
    }
    assert_eq!(hooks.finish().await.expect("no fault"), "xybB");
    let pushes = hooks.usage().iter().find(|row| row.plugin == "b" && row.stage == Stage::Text).map(|row| row.calls);
    assert_eq!(pushes, Some(2), "it saw one push and its finish");
}

#[tokio::test]
async fn a_second_turn_starts_without_state_of_the_first() {
    let sandbox = sandbox();
    let (hold, stop) = (load(&sandbox, "hold").await, load(&sandbox, "stop").await);
    let mut hooks = bind(&chain(&[&hold])).await;
    assert_eq!(all_text(&mut *hooks, &["one"]).await, "one");
    assert_eq!(all_text(&mut *hooks, &["two"]).await, "two");
    let mut hooks = bind(&chain(&[&stop])).await;
    for _ in 0..2 {
        assert_eq!(hooks.push("x".to_owned()).await.expect("no fault"), TextVerdict::Stop("x".to_owned()));
        assert_eq!(hooks.push("y".to_owned()).await.expect("no fault"), TextVerdict::Stop(String::new()));
        assert_eq!(hooks.finish().await.expect("no fault"), "");
    }
}

#[tokio::test]
async fn after_a_stop_later_plugins_finish_and_earlier_ones_emit_nothing() {
    let sandbox = sandbox();
    let (a, stop, b) = (tag(&sandbox, "a", 'a').await, load(&sandbox, "stop").await, tag(&sandbox, "b", 'b').await);
    let mut hooks = bind(&chain(&[&a, &stop, &b])).await;
    assert_eq!(hooks.push("x".to_owned()).await.expect("no fault"), TextVerdict::Stop("xab".to_owned()));
    assert_eq!(hooks.finish().await.expect("no fault"), "B", "neither the A of a nor the LATE of stop");
    let hold = load(&sandbox, "hold").await;
    let mut hooks = bind(&chain(&[&hold, &stop, &b])).await;
    assert_eq!(hooks.push("x".to_owned()).await.expect("no fault"), TextVerdict::Emit(String::new()));
    assert_eq!(hooks.finish().await.expect("no fault"), "xbB", "a stop during the end counts too");
}

#[tokio::test]
async fn a_tool_is_described_and_called() {
    let sandbox = sandbox();
    let echo = sandbox.load(spec("echo", guest_with("tool-echo", &[("@TOOL@", "echo")]))).await.expect("loaded");
    let hooks = bind(&chain(&[&echo])).await;
    let [tool] = hooks.definitions() else { panic!("one tool") };
    assert_eq!((tool.name.as_str(), tool.description.as_str()), ("echo", "Says it again."));
    assert_eq!(tool.effects, ToolEffects { read_only: true, idempotent: true, ..ToolEffects::default() });
    let call = ToolCall { id: "c".to_owned(), name: "echo".to_owned(), arguments_json: "{\"a\":1}".to_owned() };
    let outcome = hooks.call(&call).await.expect("no fault");
    assert_eq!(outcome.content, "{\"a\":1}\n{\"a\":1}\n[image/png, 3 bytes, not shown]");
    assert_eq!((outcome.is_error, outcome.provider.as_str()), (false, "echo"));
    assert!(outcome.fuel > 0 && outcome.memory_peak_bytes >= 65_536 && !outcome.elapsed.is_zero());
}

#[tokio::test]
async fn a_tools_own_error_is_an_outcome_and_an_unknown_tool_is_not() {
    let sandbox = sandbox();
    let plugin = sandbox.load(spec("err", guest_with("tool-error", &[("@TOOL@", "oops")]))).await.expect("loaded");
    let hooks = bind(&chain(&[&plugin])).await;
    let mut call = ToolCall { id: "c".to_owned(), name: "oops".to_owned(), arguments_json: "{}".to_owned() };
    let outcome = hooks.call(&call).await.expect("an outcome");
    assert!(outcome.is_error && outcome.content == "{}");
    call.name = "nope".to_owned();
    let error = hooks.call(&call).await.expect_err("no such tool");
    assert!(matches!(&error, Error::Usage(text) if text.contains("\"nope\"")), "{error}");
    call.name = "oops".to_owned();
    call.arguments_json = " ".repeat(firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX + 1);
    assert!(matches!(hooks.call(&call).await, Err(Error::TooLarge(_))));
}

#[tokio::test]
async fn a_trapping_tool_is_a_fault_or_if_skipped_an_error_for_the_model() {
    let sandbox = sandbox();
    let component = || guest_with("tool-trap", &[("@TOOL@", "boom")]);
    let call = ToolCall { id: "c".to_owned(), name: "boom".to_owned(), arguments_json: "{}".to_owned() };
    let plugin = sandbox.load(spec("fatal", component())).await.expect("loaded");
    let fault = fault(bind(&chain(&[&plugin])).await.call(&call).await);
    assert_eq!(fault.stage, Stage::Tool);
    assert!(matches!(fault.cause, FaultCause::Trapped { .. }));
    let skip = PluginSpec { on_fault: OnFault::Skip, ..spec("skipped", component()) };
    let plugin = sandbox.load(skip).await.expect("loaded");
    let hooks = bind(&chain(&[&plugin])).await;
    for _ in 0..2 {
        let outcome = hooks.call(&call).await.expect("skipped");
        assert!(outcome.is_error && outcome.content.contains("\"boom\""), "{outcome:?}");
    }
}

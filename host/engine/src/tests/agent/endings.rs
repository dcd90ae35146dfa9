//! How a generation with tools ends, and which messages it adds.

use std::time::Duration;

use firebox_contract::limits::TOOL_REPEATS_MAX;
use firebox_contract::{Error, Event, FinishReason, SamplingOverrides, TextVerdict};

use super::doubles::{FakeToolSource, RecordingGate, UsageRecorder};
use super::*;

#[tokio::test]
async fn f12_all_messages_are_added_in_order() {
    let source = FakeToolSource::of(&["read_x"]);
    let engine = engine(&source).await;
    let first = format!("Let me see.{}{}", call("add", "{\"a\": 1}"), call("nope", "{}"));
    let second = format!("Once more.{}", call("read_x", "{}"));
    let answer = answer(&engine, ask(&[&first, &second, "It is 2."])).await;
    assert_eq!(
        added(&answer.finish),
        [
            "assistant: Let me see.<call_0 add><call_1 nope>",
            "toolcall_0: add ran with {\"a\": 1}",
            "toolcall_1: error: there is no tool \"nope\"; the tools are add, mul, read_x",
            "assistant: Once more.<call_2 read_x>",
            "toolcall_2: read_x did {}",
            "assistant: It is 2.",
        ]
    );
    assert_eq!(answer.finish.messages[0].tool_calls[0].arguments_json, "{\"a\": 1}");
    assert_eq!(answer.finish.messages[1].name.as_deref(), Some("add"));
}

#[tokio::test]
async fn f12_added_text_is_the_output_of_the_text_stage() {
    fn shout(chunk: &str) -> TextVerdict {
        TextVerdict::Emit(chunk.to_uppercase())
    }
    let plugins = Plugins { tools: vec!["add"], text: Some(shout), ..Plugins::default() };
    let (engine, _) = engine_changed(scripted_turn, plugins, 2, 64, |_| {}).await;
    let first = format!("secret{}", call("add", "{}"));
    let answer = answer(&engine, ask(&[&first, "secret"])).await;
    assert_eq!(
        added(&answer.finish),
        ["assistant: SECRET<call_0 add>", "toolcall_0: add ran with {}", "assistant: SECRET"]
    );
}

#[tokio::test]
async fn a_malformed_call_is_not_added() {
    let engine = engine(&FakeToolSource::of(&[])).await;
    let answer = answer(&engine, ask(&["Hm. <tool_call>{oops</tool_call>", &call("add", "{}"), "done"])).await;
    assert_eq!(answer.text, "Hm. done");
    assert_eq!(
        added(&answer.finish),
        ["assistant: Hm. <call_1 add>", "toolcall_1: add ran with {}", "assistant: done"]
    );
}

#[tokio::test]
async fn f13_finish_reason_and_times_are_consistent() {
    let source = FakeToolSource::of(&["read_yields"]);
    let engine = engine(&source).await;
    let answer = answer(&engine, ask(&[&call("read_yields", "{}"), "done"])).await;
    let Finish { reason, usage, timing, .. } = answer.finish;
    assert_eq!(reason, FinishReason::Stop);
    assert_eq!(usage.completion_tokens, call("read_yields", "{}").len() + "done".len());
    assert!(!timing.first_token.is_zero() && !timing.prefill.is_zero() && !timing.decode.is_zero(), "{timing:?}");
    assert!(timing.total >= timing.prefill + timing.decode, "{timing:?}");
    assert_eq!(timing.decode_steps, usage.completion_tokens - 2, "the first token of a turn belongs to its prefill");
}

#[tokio::test]
async fn f13_every_time_between_two_tokens_is_taken_once() {
    let engine = engine(&FakeToolSource::of(&["read_x"])).await;
    let mut generation = start(&engine, ask(&[&call("read_x", "{}"), "done"])).await.expect("admitted");
    let (mut token_gaps, mut finish) = (Vec::new(), None);
    while let Some(event) = generation.next().await.expect("answers") {
        token_gaps.extend(generation.take_token_gaps());
        if let Event::Finished(last) = event {
            finish = Some(last);
        }
    }
    let timing = finish.expect("an end").timing;
    assert_eq!(token_gaps.len(), timing.decode_steps, "tokens of calls are tokens too");
    assert_eq!(token_gaps.iter().sum::<Duration>(), timing.decode);
    assert!(generation.take_token_gaps().is_empty());
}

#[tokio::test]
async fn a_repeated_call_ends_the_request() {
    let source = FakeToolSource::of(&["read_x"]);
    let engine = engine(&source).await;
    // The same arguments in different spellings.
    let written = ["{\"a\": 1, \"b\": 2}", "{\"b\":2,\"a\":1}", "{ \"a\": 1, \"b\": 2 }", "{\"a\": 1, \"b\": 2}"];
    let turns: Vec<String> = written.iter().map(|arguments| call("read_x", arguments)).collect();
    let turns: Vec<&str> = turns.iter().map(String::as_str).collect();
    let answer = answer(&engine, ask(&turns)).await;
    assert_eq!(answer.finish.reason, FinishReason::ToolLoop);
    assert_eq!(source.log().len(), 2 * (TOOL_REPEATS_MAX - 1));
    assert!(added(&answer.finish).last().expect("a result").contains("not run: the same call"));
}

#[tokio::test]
async fn calls_rounds_and_tokens_are_limited() {
    let source = FakeToolSource::of(&["read_x"]);
    let engine = engine(&source).await;
    let many: String = (0..5).map(|n| call("read_x", &format!("{{\"n\": {n}}}"))).collect();
    let few = ToolOptions { calls_max: 3, ..ToolOptions::default() };
    let capped = answer(&engine, ask_with(&[&many, "done"], few)).await;
    assert!(added(&capped.finish)[4].contains("3 tool calls were made"), "{:?}", added(&capped.finish));
    assert_eq!((source.log().len(), capped.text.as_str()), (6, "done"));

    let one = ToolOptions { rounds: 1, ..ToolOptions::default() };
    let turns = [&*call("read_x", "{}"), &call("read_x", "{\"n\": 1}"), "never"];
    let rounds = answer(&engine, ask_with(&turns, one)).await;
    assert_eq!(rounds.finish.reason, FinishReason::ToolRounds);
    assert!(added(&rounds.finish)[3].contains("no tool round is left"), "{:?}", added(&rounds.finish));

    let turn = call("read_x", "{}");
    let sampling = SamplingOverrides { max_tokens: Some(turn.len()), ..SamplingOverrides::default() };
    let length = answer(&engine, GenerationRequest { sampling, ..ask(&[&turn, "never"]) }).await;
    assert_eq!(length.finish.reason, FinishReason::Length);
    assert_eq!(source.log().len(), 8, "no call runs whose result the model could not read");
}

#[tokio::test]
async fn calls_per_turn_are_limited() {
    let source = FakeToolSource::of(&["read_x"]);
    let engine = engine(&source).await;
    let many: String = (0..20).map(|n| call("read_x", &format!("{{\"n\":{n}}}"))).collect();
    let sampling = SamplingOverrides { max_tokens: Some(2_000), ..SamplingOverrides::default() };
    let answer = answer(&engine, GenerationRequest { sampling, ..ask(&[&many, "done"]) }).await;
    assert_eq!(source.log().len(), 32);
    assert!(added(&answer.finish)[17].contains("more than 16 calls at once"), "{:?}", added(&answer.finish));
}

#[tokio::test]
async fn the_deadline_ends_a_turn_and_keeps_its_text() {
    fn endless(_: &str) -> String {
        std::thread::sleep(Duration::from_millis(1));
        "word ".repeat(700)
    }
    let (engine, _) = engine_changed(endless, Plugins::default(), 2, 64, |_| {}).await;
    let sampling = SamplingOverrides { max_tokens: Some(3_000), ..SamplingOverrides::default() };
    let timeout = Some(Duration::from_millis(150));
    let answer = answer(&engine, GenerationRequest { sampling, timeout, ..ask(&["go"]) }).await;
    assert_eq!(answer.finish.reason, FinishReason::Timeout);
    assert!(!answer.text.is_empty() && answer.finish.timing.total < Duration::from_secs(3));
    assert_eq!(answer.finish.messages, [Message::text(Role::Assistant, answer.text)]);
}

#[tokio::test]
async fn the_deadline_cancels_calls_and_reports_which() {
    let source = FakeToolSource::of(&["read_hang", "read_x"]);
    let engine = engine(&source).await;
    let both = format!("{}{}", call("read_hang", "{}"), call("read_x", "{}"));
    let request = GenerationRequest { timeout: Some(Duration::from_millis(150)), ..ask(&[&both]) };
    let answer = answer(&engine, request).await;
    assert_eq!(answer.finish.reason, FinishReason::Timeout);
    assert_eq!(
        added(&answer.finish),
        [
            "assistant: <call_0 read_hang><call_1 read_x>",
            "toolcall_0: error: it was cut off before it ended",
            "toolcall_1: read_x did {}",
        ]
    );
    let results = answer.events.iter().filter(|event| matches!(event, Event::ToolResult { .. })).count();
    assert_eq!((results, source.cancelled.load(std::sync::atomic::Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn the_deadline_covers_the_time_before_the_model() {
    let source = Arc::new(FakeToolSource { silent: true, ..FakeToolSource::default() });
    let recorder = Arc::new(UsageRecorder::default());
    let gate = RecordingGate(Arc::clone(&recorder));
    let engine = engine_with(&source, |options| options.gate = Arc::new(gate)).await;
    let request = GenerationRequest { timeout: Some(Duration::from_millis(50)), ..ask(&["hi"]) };
    let error = start(&engine, request).await.err().expect("refused");
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert_eq!(recorder.settled(), ["settle timeout false false"]);
}

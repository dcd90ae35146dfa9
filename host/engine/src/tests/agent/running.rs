//! How calls run: order, parallelism, failures, approvals, progress, cancellation.

use std::sync::atomic::Ordering;
use std::time::Duration;

use firebox_contract::limits::{TOOL_CALLS_PARALLEL_MAX, TOOL_RESULT_BYTES_MAX};
use firebox_contract::{Approval, Error, Event, FinishReason, ToolCall};

use super::doubles::{FakeToolSource, ScriptedApprover};
use super::*;
use crate::Generation;

const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("it ends in time")
}

/// Reads events until one satisfies `wanted`.
async fn until(generation: &mut Generation, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = soon(generation.next()).await.expect("no error").expect("not over");
        let found = wanted(&event);
        events.push(event);
        if found {
            return events;
        }
    }
}

#[tokio::test]
async fn f6_parallel_calls_keep_their_order_and_ids() {
    let source = FakeToolSource::of(&["read_waits", "read_goes"]);
    let engine = engine(&source).await;
    let both = format!("{}{}", call("read_waits", "{}"), call("read_goes", "{}"));
    let answer = soon(answer(&engine, ask(&[&both, "done"]))).await;
    // The first call ends after the second has started. Events come in order of time, messages in the order of the calls.
    assert_eq!(
        tool_events(&answer.events),
        [
            "call call_0 read_waits",
            "call call_1 read_goes",
            "result call_1 read_goes did {}",
            "result call_0 read_waits did {}"
        ]
    );
    assert_eq!(
        added(&answer.finish),
        [
            "assistant: <call_0 read_waits><call_1 read_goes>",
            "toolcall_0: read_waits did {}",
            "toolcall_1: read_goes did {}",
            "assistant: done",
        ]
    );
}

#[tokio::test]
async fn f16_parallel_calls_are_limited() {
    let source = FakeToolSource::of(&["read_yields"]);
    let engine = engine(&source).await;
    let many: String = (0..10).map(|n| call("read_yields", &format!("{{\"n\": {n}}}"))).collect();
    let answer = soon(answer(&engine, ask(&[&many, "done"]))).await;
    assert_eq!(answer.finish.reason, FinishReason::Stop);
    assert_eq!(source.most.load(Ordering::SeqCst), TOOL_CALLS_PARALLEL_MAX);
    assert_eq!(source.log().len(), 20);
}

#[tokio::test]
async fn f16_calls_that_are_not_read_only_run_alone_and_in_order() {
    let source = FakeToolSource::of(&["read_yields", "write_yields"]);
    let engine = engine(&source).await;
    let mixed = ["read_yields", "write_yields", "read_yields", "write_yields"]
        .iter()
        .enumerate()
        .map(|(n, name)| call(name, &format!("{{\"n\": {n}}}")))
        .collect::<String>();
    soon(answer(&engine, ask(&[&mixed, "done"]))).await;
    let pairs: Vec<String> = source.log().chunks(2).map(|pair| pair.join(", ")).collect();
    let whole = |name: &str| format!("start {name}, end {name}");
    assert_eq!(pairs, ["read_yields", "write_yields", "read_yields", "write_yields"].map(whole));
    assert_eq!(source.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_fails_leaves_the_others_their_results() {
    let source = FakeToolSource::of(&["read_error", "read_gone", "read_hang", "read_fine"]);
    let engine = engine(&source).await;
    let all: String =
        ["read_error", "read_gone", "read_hang", "read_fine"].iter().map(|name| call(name, "{}")).collect();
    let answer = soon(answer(&engine, ask(&[&all, "done"]))).await;
    assert_eq!(
        added(&answer.finish)[1..],
        [
            "toolcall_0: it went wrong",
            "toolcall_1: error: the tool \"read_gone\" is gone",
            "toolcall_2: error: the tool did not answer within 300 ms",
            "toolcall_3: read_fine did {}",
            "assistant: done",
        ]
    );
    assert_eq!(source.cancelled.load(Ordering::SeqCst), 1, "the call that hangs is cancelled");
}

#[tokio::test]
async fn an_error_of_the_tool_source_ends_the_request_after_earlier_events() {
    let source = FakeToolSource::of(&["read_broken"]);
    let engine = engine(&source).await;
    let mut generation = start(&engine, ask(&[&call("read_broken", "{}")])).await.expect("admitted");
    until(&mut generation, |event| matches!(event, Event::ToolCall(_))).await;
    assert_eq!(soon(generation.next()).await, Err(Error::Internal("the source broke".to_owned())));
    assert_eq!(soon(generation.next()).await, Ok(None));
}

#[tokio::test]
async fn a_long_result_is_cut_at_a_character_boundary() {
    let source = FakeToolSource::of(&["read_huge"]);
    let (engine, prompt) = (engine(&source).await, [&*call("read_huge", "{}")]);
    let mut generation = start(&engine, ask(&prompt)).await.expect("admitted");
    let events = until(&mut generation, |event| matches!(event, Event::ToolResult { .. })).await;
    let Some(Event::ToolResult { outcome, .. }) = events.last() else { panic!("a result") };
    assert!(
        outcome.content.ends_with("[cut: 200000 bytes in total]") && outcome.content.len() < TOOL_RESULT_BYTES_MAX + 40
    );
    // The cut result still exceeds the small context. The messages so far are kept.
    let rest = soon(collect(generation)).await.expect("no error");
    assert_eq!((rest.finish.reason, rest.finish.messages.len()), (FinishReason::ContextFull, 2));
}

#[tokio::test]
async fn f15_calls_with_arguments_that_do_not_fit_are_refused_with_a_reason() {
    let schema = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#;
    let source = FakeToolSource::with(vec![tool("read_n", schema), tool("read_bad", r##"{"$ref":"https://x/y"}"##)]);
    let engine = engine(&source).await;
    let deep = format!("{}1{}", "{\"n\": [".repeat(40), "]}".repeat(40));
    let calls = [
        call("read_n", "{\"n\": \"seven\"}"),
        call("read_n", "{}"),
        call("read_bad", "{}"),
        call("read_n", &deep),
        call("read_n", "{\"n\": 7}"),
    ];
    let answer = soon(answer(&engine, ask(&[&calls.concat(), "done"]))).await;
    let results = added(&answer.finish);
    let expected = [
        "at \"/n\": \"seven\" is not of type \"integer\"",
        "\"n\" is a required property",
        "references outside are not fetched",
        "nested deeper",
        "read_n did",
    ];
    for (line, expected) in results[1..].iter().zip(expected) {
        assert!(line.contains(expected), "{line} should contain {expected}");
    }
    assert_eq!(source.log(), ["start read_n", "end read_n"], "only the fitting call ran");
    assert!(logged(&answer.events)[0].contains("\"read_bad\" cannot be called"), "{:?}", logged(&answer.events));
    assert_eq!(answer.text, "done");
}

#[tokio::test]
async fn events_come_before_the_action_they_announce() {
    let source = FakeToolSource::of(&["read_progress"]);
    let approver = ScriptedApprover::that_answers(Approval::Approve);
    let shared = Arc::clone(&approver);
    let engine = engine_with(&source, |options| options.approver = Some(shared)).await;
    let policy = rules(&[("read_*", Permission::Ask)]);
    let request = ask_with(&[&call("read_progress", "{}"), "done"], ToolOptions { policy, ..ToolOptions::default() });
    let mut generation = start(&engine, request).await.expect("admitted");
    let events = until(&mut generation, |event| matches!(event, Event::ApprovalNeeded { .. })).await;
    assert_eq!(tool_events(&events), ["call call_0 read_progress", "approve call_0"]);
    assert_eq!(approver.asked.load(Ordering::SeqCst), 0, "the reader gets the event before the approver is asked");
    approver.go.notify_one();
    let events = until(&mut generation, |event| matches!(event, Event::ToolProgress { .. })).await;
    assert_eq!(tool_events(&events), ["progress call_0 1"]);
    assert_eq!(source.log(), ["start read_progress"], "still running");
    // A reader that drops its future loses no event.
    for _ in 0..3 {
        let none = tokio::time::timeout(Duration::from_millis(5), generation.next()).await;
        assert!(none.is_err(), "{none:?}");
    }
    source.go.notify_one();
    let rest = soon(collect(generation)).await.expect("no error");
    assert_eq!(tool_events(&rest.events), ["result call_0 read_progress did {}"]);
    assert_eq!((rest.text.as_str(), source.log().len()), ("done", 2));
}

#[tokio::test]
async fn f10_dropping_a_generation_cancels_its_tools() {
    let source = FakeToolSource::of(&["read_hang"]);
    let engine = engine(&source).await;
    let both = format!("{}{}", call("read_hang", "{}"), call("read_hang", "{\"n\": 1}"));
    let mut generation = start(&engine, ask(&[&both])).await.expect("admitted");
    until(&mut generation, |event| matches!(event, Event::ToolCall(call) if call.id == "call_1")).await;
    assert!(tokio::time::timeout(Duration::from_millis(5), generation.next()).await.is_err());
    assert_eq!(source.running.load(Ordering::SeqCst), 2);
    let so_far = generation.so_far(FinishReason::Interrupted);
    assert_eq!(added(&so_far)[1], "toolcall_0: error: it was cut off before it ended");
    drop(generation);
    assert_eq!((source.running.load(Ordering::SeqCst), source.cancelled.load(Ordering::SeqCst)), (0, 2));
}

#[tokio::test]
async fn a_call_without_approval_does_not_run() {
    let cases = [
        (None, "there is nobody to ask"),
        (Some(Approval::Decline("not today".to_owned())), "the call was declined: not today"),
    ];
    for (approval, expected) in cases {
        let source = FakeToolSource::of(&["write_file"]);
        let approver = approval.map(ScriptedApprover::that_answers);
        if let Some(approver) = &approver {
            approver.go.notify_one();
        }
        let shared = approver.clone().map(|approver| approver as Arc<dyn firebox_contract::Approver>);
        let engine = engine_with(&source, |options| options.approver = shared).await;
        let tightened = rules(&[("write_*", Permission::Ask)]);
        let options = ToolOptions { tightened, ..ToolOptions::default() };
        let answer = soon(answer(&engine, ask_with(&[&call("write_file", "{}"), "done"], options))).await;
        assert!(added(&answer.finish)[1].contains(expected), "{:?}", added(&answer.finish));
        assert!(source.log().is_empty());
        assert_eq!(tool_events(&answer.events).iter().any(|line| line == "approve call_0"), approver.is_some());
    }
}

#[tokio::test]
async fn a_client_tool_with_required_arguments_is_never_called_without_any() {
    let source = FakeToolSource::of(&[]);
    let engine = engine(&source).await;
    let schema = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#;
    let client = vec![tool("needs", schema), tool("may", "{}")];
    let options = || ToolOptions { rounds: 8, client: client.clone(), ..ToolOptions::default() };
    for arguments in ["{}", "\"\"", "null"] {
        let turns = [&*call("needs", arguments), &*call("needs", "{\"n\": 7}")];
        let answer = soon(answer(&engine, ask_with(&turns, options()))).await;
        assert_eq!(answer.finish.reason, FinishReason::ToolCalls);
        let last = answer.finish.messages.last().expect("the call");
        assert_eq!(last.tool_calls[0].arguments_json, "{\"n\": 7}", "{arguments}");
        assert!(added(&answer.finish)[1].contains("needs \"n\""), "{:?}", added(&answer.finish));
        let answer = soon(super::answer(&engine, ask_with(&[&call("may", arguments)], options()))).await;
        assert_eq!(
            (answer.finish.reason, tool_events(&answer.events)),
            (FinishReason::ToolCalls, vec!["call call_0 may".to_owned()])
        );
    }
}

#[tokio::test]
async fn calls_of_the_request_itself_run_before_the_first_turn() {
    let source = FakeToolSource::of(&["read_yields"]);
    let engine = engine(&source).await;
    let with = |calls: &[(&str, &str)]| {
        let first = calls.iter().map(|(name, arguments)| ToolCall {
            id: String::new(),
            name: (*name).to_owned(),
            arguments_json: (*arguments).to_owned(),
        });
        ask_with(&["never", "done"], ToolOptions { first: first.collect(), rounds: 8, ..ToolOptions::default() })
    };
    let answer = soon(answer(&engine, with(&[("read_yields", "{\"n\": 1}")]))).await;
    assert_eq!(tool_events(&answer.events), ["call call_0 read_yields", "result call_0 read_yields did {\"n\": 1}"]);
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("done", FinishReason::Stop));
    assert_eq!(
        added(&answer.finish),
        ["assistant: <call_0 read_yields>", "toolcall_0: read_yields did {\"n\": 1}", "assistant: done"]
    );
    for (call, words) in [
        (("nothing", "{}"), "there is no tool \"nothing\"; the tools are add"),
        (("read_yields", "[1]"), "the arguments of \"read_yields\" do not fit: the arguments are not a JSON object"),
    ] {
        let error = start(&engine, with(&[call])).await.err().expect("refused");
        assert!(matches!(&error, Error::Usage(reason) if reason.contains(words)), "{error}");
    }
}

//! The engine over fake models, plugins and clocks.

mod admission;
mod agent;
mod answers;
mod batching;
mod fakes;
mod fixture_model;
mod grammars;
mod input_limits;
mod model_failures;
mod prefix_cache;
mod token_healing;
mod warm_up;

use std::sync::atomic::Ordering;
use std::time::Duration;

use firebox_contract::{
    Caller, Error, Event, Finish, FinishReason, GenerationRequest, Message, Prompt, PromptVerdict, Role,
    SamplingOverrides, TextVerdict, ToolOptions,
};

use crate::{Engine, Generation};
use fakes::{Plugins, engine, engine_with};

fn ask(text: &str) -> GenerationRequest {
    let tools = ToolOptions { rounds: 3, ..ToolOptions::default() };
    GenerationRequest { tools, ..GenerationRequest::new(Prompt::Chat(vec![Message::text(Role::User, text)])) }
}

fn ask_with(text: &str, sampling: SamplingOverrides) -> GenerationRequest {
    GenerationRequest { sampling, ..ask(text) }
}

async fn start(engine: &Engine, request: GenerationRequest) -> Result<Generation, Error> {
    engine.generate(&Caller::local(), request).await
}

struct CollectedAnswer {
    text: String,
    events: Vec<Event>,
    finish: Finish,
}

async fn collect(mut generation: Generation) -> Result<CollectedAnswer, Error> {
    let (mut text, mut events, mut last) = (String::new(), Vec::new(), None);
    while let Some(event) = generation.next().await? {
        match &event {
            Event::Text(piece) => text.push_str(piece),
            Event::Finished(finish) => last = Some(finish.clone()),
            _ => {}
        }
        events.push(event);
    }
    Ok(CollectedAnswer { text, events, finish: last.expect("a finished event") })
}

async fn answer(engine: &Engine, request: GenerationRequest) -> CollectedAnswer {
    collect(start(engine, request).await.expect("admitted")).await.expect("answered")
}

fn echo(prompt: &str) -> String {
    format!("echo of {} bytes", prompt.len())
}

fn long(_: &str) -> String {
    "0123456789".repeat(100)
}

#[tokio::test]
async fn the_answer_arrives_with_its_usage() {
    let (engine, _) = engine(|_| "hello".to_owned(), Plugins::default()).await;
    let answer = answer(&engine, ask("hi")).await;
    assert_eq!(answer.text, "hello");
    assert_eq!(answer.finish.reason, FinishReason::Stop);
    assert_eq!(answer.finish.usage.prompt_tokens, "user: hi\n\nA:".len());
    assert_eq!(answer.finish.usage.completion_tokens, 5);
    assert_eq!(answer.finish.timing.decode_steps, 4);
}

#[tokio::test]
async fn f7_max_tokens_counts_the_answer_exactly() {
    let (engine, _) = engine(long, Plugins::default()).await;
    for max in [1, 2, 17] {
        let request = ask_with(&"x".repeat(500), SamplingOverrides { max_tokens: Some(max), ..Default::default() });
        let answer = answer(&engine, request).await;
        assert_eq!(answer.text.len(), max);
        assert_eq!((answer.finish.reason, answer.finish.usage.completion_tokens), (FinishReason::Length, max));
    }
}

#[tokio::test]
async fn f8_long_prompts_are_prefilled_in_chunks() {
    let (engine, seen) = engine(echo, Plugins::default()).await;
    let answer = answer(&engine, ask(&"y".repeat(41))).await;
    let prompt = "user: \n\nA:".len() + 41;
    assert_eq!(answer.text, format!("echo of {prompt} bytes"));
    let spans = seen.spans.lock().expect("lock").clone();
    assert_eq!(spans[..4], [(16, false), (16, false), (16, false), (prompt - 48, true)]);
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let (engine, _) = engine(echo, Plugins::default()).await;
    let error = start(&engine, ask(&"z".repeat(5_000))).await.err().expect("refused").to_string();
    assert!(error.contains("5010 tokens") && error.contains("4096"), "{error}");
}

#[tokio::test]
async fn the_context_ends_an_endless_answer() {
    let (engine, _) = engine(|_| "w".repeat(10_000), Plugins::default()).await;
    let request = ask_with(&"z".repeat(4_076), SamplingOverrides { max_tokens: Some(9_999), ..Default::default() });
    let answer = answer(&engine, request).await;
    assert_eq!(answer.finish.reason, FinishReason::ContextFull);
    assert_eq!(answer.text.len(), 4_096 - 4_086 + 1, "the last token needs no room");
}

#[tokio::test]
async fn stop_strings_are_trimmed() {
    let (engine, _) = engine(|_| "one two three".to_owned(), Plugins::default()).await;
    let stop = SamplingOverrides { stop: vec![" thr".to_owned()], ..Default::default() };
    let answer = answer(&engine, ask_with("q", stop)).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("one two", FinishReason::StopString));
}

#[tokio::test]
async fn f9_a_slow_reader_pauses_only_its_own_sequence() {
    let (engine, _) = engine(long, Plugins::default()).await;
    let limit = || SamplingOverrides { max_tokens: Some(1_000), ..Default::default() };
    let slow = start(&engine, ask_with("slow", limit())).await.expect("admitted");
    let quick = answer(&engine, ask_with("quick", limit())).await;
    assert_eq!(quick.text.len(), 1_000);
    let slow = collect(slow).await.expect("complete");
    assert_eq!(slow.text, quick.text);
}

#[tokio::test]
async fn f10_dropping_a_generation_stops_its_work() {
    let (engine, seen) = engine(long, Plugins::default()).await;
    let mut generation = start(&engine, ask("q")).await.expect("admitted");
    generation.next().await.expect("an event");
    drop(generation);
    for _ in 0..1_000 {
        if seen.alive.lock().expect("lock").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(seen.alive.lock().expect("lock").is_empty(), "the cache is freed");
    let before = seen.forwards.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(seen.forwards.load(Ordering::SeqCst), before, "no step runs for a dropped generation");
}

#[tokio::test]
async fn many_requests_each_get_their_own_answer() {
    let (engine, _) = engine_with(echo, Plugins::default(), 8, 4).await;
    let mut running = Vec::new();
    for n in 0..8 {
        running.push((n, start(&engine, ask(&"a".repeat(n * 10 + 1))).await.expect("admitted")));
    }
    for (n, generation) in running {
        let answer = collect(generation).await.expect("answered");
        assert_eq!(answer.text, format!("echo of {} bytes", n * 10 + 11));
    }
}

#[tokio::test]
async fn a_tenant_is_refused_above_its_maximum_and_dropping_a_request_makes_room() {
    let (engine, _) = engine_with(long, Plugins::default(), 1, 16).await;
    let caller = Caller { in_flight_max: 1, ..Caller::local() };
    let first = engine.generate(&caller, ask("one")).await.expect("admitted");
    let refused = engine.generate(&caller, ask("two")).await.err().expect("refused");
    assert!(matches!(&refused, Error::Limited { message: text, .. } if text.contains("1 requests")), "{refused}");
    drop(first);
    let third = engine.generate(&caller, ask("three")).await.expect("admitted");
    assert_eq!(collect(third).await.expect("answered").text, long(""));
}

#[tokio::test]
async fn one_sequence_that_fails_leaves_the_batch_running() {
    let (engine, _) = engine_with(echo, Plugins::default(), 4, 64).await;
    let good = start(&engine, ask("fine")).await.expect("admitted");
    let bad = start(&engine, ask("no room")).await.expect("admitted");
    let error = collect(bad).await.err().expect("fails");
    assert_eq!(error, Error::Refused("no room".to_owned()));
    assert_eq!(collect(good).await.expect("answered").text, "echo of 14 bytes");
}

#[tokio::test]
async fn a_panic_in_the_model_ends_one_request() {
    fn brittle(prompt: &str) -> String {
        assert!(!prompt.contains("boom"), "scripted failure");
        "fine".to_owned()
    }
    let (engine, _) = engine(brittle, Plugins::default()).await;
    let failed = collect(start(&engine, ask("boom")).await.expect("admitted")).await.err().expect("fails");
    assert!(failed.to_string().contains("scripted failure"), "{failed}");
    assert_eq!(answer(&engine, ask("calm")).await.text, "fine");
}

fn calling(prompt: &str) -> String {
    let results = prompt.matches("\ntool: ").count();
    match (results, prompt.contains("unknown"), prompt.contains("broken")) {
        (0, true, _) => "<tool_call>{\"name\": \"nope\", \"arguments\": {}}</tool_call>".to_owned(),
        (0, _, true) => "<tool_call>{oops</tool_call>".to_owned(),
        (0, ..) => "Wait.\n<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1.10}}</tool_call>\n\
                    <tool_call>{\"name\": \"mul\", \"arguments\": {}}</tool_call>"
            .to_owned(),
        _ => format!("It said {}", prompt.rsplit("\ntool: ").next().unwrap_or_default().replace(['\n', 'A', ':'], "")),
    }
}

fn with_tools() -> Plugins {
    Plugins { tools: vec!["add", "mul"], ..Plugins::default() }
}

#[tokio::test]
async fn tools_run_in_order_and_feed_the_answer() {
    let (engine, _) = engine(calling, with_tools()).await;
    let answer = answer(&engine, ask("sum")).await;
    assert_eq!(answer.text, "Wait.It said mul ran with {}");
    let kinds: Vec<String> = answer
        .events
        .iter()
        .filter_map(|event| match event {
            Event::ToolCall(call) => Some(format!("{} {} {}", call.id, call.name, call.arguments_json)),
            Event::ToolResult { id, outcome } => Some(format!("{id} {}", outcome.content)),
            _ => None,
        })
        .collect();
    assert_eq!(
        kinds,
        ["call_0 add {\"a\": 1.10}", "call_0 add ran with {\"a\": 1.10}", "call_1 mul {}", "call_1 mul ran with {}"]
    );
}

#[tokio::test]
async fn f15_bad_calls_go_back_to_the_model_as_errors() {
    let (engine, _) = engine(calling, with_tools()).await;
    let unknown = answer(&engine, ask("unknown")).await;
    assert!(unknown.text.contains("there is no tool \"nope\"; the tools are add, mul"), "{}", unknown.text);
    let broken = answer(&engine, ask("broken")).await;
    assert!(broken.text.contains("not JSON"), "{}", broken.text);
}

#[tokio::test]
async fn tool_rounds_are_limited() {
    fn always(prompt: &str) -> String {
        let round = prompt.matches("\ntool: ").count();
        format!("<tool_call>{{\"name\": \"add\", \"arguments\": {{\"round\": {round}}}}}</tool_call>")
    }
    let (engine, _) = engine(always, with_tools()).await;
    let answer = answer(&engine, ask("go")).await;
    assert_eq!(answer.finish.reason, FinishReason::ToolRounds);
    let results = answer.events.iter().filter(|event| matches!(event, Event::ToolResult { .. })).count();
    assert_eq!(results, 3);
}

#[tokio::test]
async fn without_tools_a_call_stays_text() {
    let (engine, _) = engine(calling, Plugins::default()).await;
    assert!(answer(&engine, ask("sum")).await.text.contains("<tool_call>"));
}

#[tokio::test]
async fn the_prompt_stage_can_refuse_or_answer() {
    let refuse = PromptVerdict::Refuse { plugin: "guard".to_owned(), message: "no".to_owned() };
    let (guarded, seen) = engine(echo, Plugins { prompt: Some(refuse), ..Plugins::default() }).await;
    let error = start(&guarded, ask("q")).await.err().expect("refused").to_string();
    assert_eq!(error, "plugin \"guard\" refused the prompt: no");
    assert_eq!(seen.forwards.load(Ordering::SeqCst), 0);
    let respond = PromptVerdict::Respond("cached".to_owned());
    let (cached, _) = engine(echo, Plugins { prompt: Some(respond), ..Plugins::default() }).await;
    let answer = answer(&cached, ask("q")).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("cached", FinishReason::Plugin));
}

#[tokio::test]
async fn the_text_stage_can_rewrite_hold_back_and_stop() {
    fn shout(chunk: &str) -> TextVerdict {
        match chunk {
            "!" => TextVerdict::Stop("<cut>".to_owned()),
            "b" => TextVerdict::Emit(String::new()),
            other => TextVerdict::Emit(other.to_uppercase()),
        }
    }
    let plugins = Plugins { text: Some(shout), tail: "(tail)", ..Plugins::default() };
    let (engine, _) = engine(|prompt| if prompt.contains("stop") { "ab!c" } else { "abc" }.to_owned(), plugins).await;
    assert_eq!(answer(&engine, ask("go")).await.text, "AC(tail)");
    let stopped = answer(&engine, ask("stop")).await;
    assert_eq!((stopped.text.as_str(), stopped.finish.reason), ("A<cut>(tail)", FinishReason::Plugin));
}

#[tokio::test]
async fn a_text_prompt_has_no_template_and_no_tools() {
    let (engine, seen) = engine(|_| "more".to_owned(), with_tools()).await;
    let request = GenerationRequest { prompt: Prompt::Text("once\nA:".to_owned()), ..ask("") };
    assert_eq!(answer(&engine, request).await.text, "more");
    assert_eq!(seen.spans.lock().expect("lock")[0], (7, true));
}

#[tokio::test]
async fn an_empty_prompt_is_refused() {
    let (engine, _) = engine(echo, Plugins::default()).await;
    let error = start(&engine, ask("")).await.err().expect("refused");
    assert!(matches!(error, Error::Usage(_)), "{error}");
}

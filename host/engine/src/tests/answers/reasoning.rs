//! The reasoning of an answer: events, usage, budget, switch, stop strings, plugins and tools.

use std::sync::Arc;

use firebox_contract::{
    Error, Event, FinishReason, GenerationRequest, Prompt, ReasoningOptions, SamplingOverrides, TextVerdict,
    ToolChoice, ToolOptions,
};

use super::super::fakes::{ByteCodec, Plugins, engine_changed};
use super::super::{CollectedAnswer, answer, ask, ask_with, start};
use crate::Engine;

/// A template of a reasoning model with tools and without a switch.
const MARKS: &str = "</think> <tool_call>{\"name\": …}";
/// A template that opens the reasoning at the end of the prompt.
const OPENED: &str = "opens with <think> </think> <tool_call>{\"name\": …}";
/// A template with a switch.
const SWITCHED: &str = "</think> enable_thinking <tool_call>{\"name\": …}";

async fn engine_of(template: &'static str, script: fn(&str) -> String, plugins: Plugins) -> Engine {
    engine_changed(script, plugins, 4, 64, |options| options.codec = Arc::new(ByteCodec::of(template))).await.0
}

fn reasoning(answer: &CollectedAnswer) -> String {
    let texts = answer.events.iter().filter_map(|event| match event {
        Event::Reasoning(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn with(reasoning: ReasoningOptions) -> GenerationRequest {
    GenerationRequest { reasoning, ..ask("hi") }
}

fn thinks(_: &str) -> String {
    "<think>\nSo END, a.\n</think>\n\nIt is 4.".to_owned()
}

#[tokio::test]
async fn reasoning_has_events_and_tokens_of_its_own() {
    let engine = engine_of(MARKS, thinks, Plugins::default()).await;
    let answer = answer(&engine, ask("hi")).await;
    assert_eq!((reasoning(&answer).as_str(), answer.text.as_str()), ("So END, a.", "It is 4."));
    let usage = answer.finish.usage;
    assert_eq!(usage.completion_tokens, thinks("").len());
    assert_eq!(usage.reasoning_tokens, "<think>\nSo END, a.\n</think>".len() - "<think".len());
    assert_eq!(answer.finish.messages.len(), 1);
    assert_eq!(answer.finish.messages[0].content, "It is 4.", "a session stores the answer only");
    let raw = ReasoningOptions { separate: false, ..ReasoningOptions::default() };
    let whole = super::super::answer(&engine, with(raw)).await;
    assert_eq!(whole.text, "<think>\nSo END, a.\n</think>\n\nIt is 4.");
}

#[tokio::test]
async fn a_text_prompt_has_no_reasoning() {
    let engine = engine_of(MARKS, thinks, Plugins::default()).await;
    let request = GenerationRequest { prompt: Prompt::Text("once\nA:".to_owned()), ..ask("") };
    assert!(answer(&engine, request).await.text.starts_with("<think>"));
}

#[tokio::test]
async fn stop_strings_are_searched_in_the_content_only() {
    let engine = engine_of(MARKS, thinks, Plugins::default()).await;
    let stop = SamplingOverrides { stop: vec!["END".to_owned(), " 4".to_owned()], ..SamplingOverrides::default() };
    let answer = answer(&engine, ask_with("hi", stop)).await;
    assert_eq!((answer.text.as_str(), answer.finish.reason), ("It is", FinishReason::StopString));
}

#[tokio::test]
async fn plugins_of_the_text_stage_get_the_content_and_hide_the_reasoning() {
    let plugins = Plugins { text: Some(|text| TextVerdict::Emit(text.to_uppercase())), ..Plugins::default() };
    let engine = engine_of(MARKS, thinks, plugins).await;
    let answer = answer(&engine, ask("hi")).await;
    assert_eq!((reasoning(&answer).as_str(), answer.text.as_str()), ("", "IT IS 4."));
    assert!(answer.finish.usage.reasoning_tokens > 0);
}

#[tokio::test]
async fn a_budget_closes_the_reasoning() {
    fn endless(prompt: &str) -> String {
        let opened = prompt.contains("<think>");
        format!("{}{}", if opened { "" } else { "<think>" }, "hm ".repeat(500))
    }
    let engine = engine_of(MARKS, endless, Plugins::default()).await;
    for budget in [0, 1, 10] {
        let options = ReasoningOptions { max_tokens: Some(budget), ..ReasoningOptions::default() };
        let sampling = SamplingOverrides { max_tokens: Some(60), ..SamplingOverrides::default() };
        let answer = answer(&engine, GenerationRequest { sampling, ..with(options) }).await;
        // The token that completes the opening mark is the first reasoning token.
        assert_eq!(reasoning(&answer), "hm ".repeat(9)[..budget.saturating_sub(1)].trim_end(), "budget {budget}");
        assert!(answer.text.len() > 20, "the answer goes on: {:?}", answer.text);
        let closing = "\n</think>".len();
        assert_eq!(answer.finish.usage.reasoning_tokens, budget.max(1) + closing, "budget {budget}");
    }
}

#[tokio::test]
async fn reasoning_is_switched_off_by_the_template_or_refused() {
    fn quiet(prompt: &str) -> String {
        if prompt.starts_with("quiet") { "4".to_owned() } else { "<think>a</think>4".to_owned() }
    }
    let off = || ReasoningOptions { enabled: Some(false), ..ReasoningOptions::default() };
    let engine = engine_of(SWITCHED, quiet, Plugins::default()).await;
    assert!(engine.switches_reasoning());
    let answer_off = answer(&engine, with(off())).await;
    assert_eq!((reasoning(&answer_off).as_str(), answer_off.text.as_str()), ("", "4"));
    assert_eq!(reasoning(&answer(&engine, ask("hi")).await), "a");
    let none = ReasoningOptions { max_tokens: Some(0), ..ReasoningOptions::default() };
    assert_eq!(reasoning(&answer(&engine, with(none)).await), "", "a budget of 0 uses the switch");

    let without = engine_of(MARKS, quiet, Plugins::default()).await;
    let error = start(&without, with(off())).await.err().expect("refused");
    assert!(matches!(&error, Error::Usage(text) if text.contains("no switch for reasoning")), "{error}");
    let plain = engine_of("{{ messages }}", quiet, Plugins::default()).await;
    assert_eq!(answer(&plain, with(off())).await.text, "<think>a</think>4", "a model without reasoning");
}

#[tokio::test]
async fn the_reasoning_before_a_call_reaches_the_template_and_no_history() {
    fn calls(prompt: &str) -> String {
        match prompt.contains("tool: ") {
            true => format!("<think>b</think>saw {}", prompt.contains("\"reasoning_content\":\"use add\"")),
            false => "<think>use add</think><tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>".to_owned(),
        }
    }
    let plugins = Plugins { tools: vec!["add"], ..Plugins::default() };
    let engine = engine_of(MARKS, calls, plugins).await;
    let request = GenerationRequest { tools: ToolOptions { rounds: 2, ..ToolOptions::default() }, ..ask("hi") };
    let answer = answer(&engine, request).await;
    assert_eq!((reasoning(&answer).as_str(), answer.text.as_str()), ("use addb", "saw true"));
    assert!(answer.finish.messages.iter().all(|message| message.as_sent_json.is_none()));
}

#[tokio::test]
async fn a_template_may_open_the_reasoning() {
    let script = |_: &str| "<think>\nSo.\n</think>\n4".to_owned();
    let engine = engine_of(OPENED, script, Plugins::default()).await;
    let answer = answer(&engine, ask("about <think>")).await;
    assert_eq!((reasoning(&answer).as_str(), answer.text.as_str()), ("So.", "4"));
    assert_eq!(answer.finish.usage.reasoning_tokens, "So.\n</think>".len());
}

#[tokio::test]
async fn a_forced_call_closes_the_reasoning_that_the_template_opened() {
    let script = |_: &str| {
        "<think>\n\n</think>\n\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>".to_owned()
    };
    let plugins = Plugins { tools: vec!["add"], ..Plugins::default() };
    let engine = engine_of(OPENED, script, plugins).await;
    let choice = ToolChoice::Named("add".to_owned());
    let tools = ToolOptions { rounds: 1, choice, ..ToolOptions::default() };
    let answer = answer(&engine, GenerationRequest { tools, ..ask("hi") }).await;
    let calls = answer.events.iter().filter_map(|event| match event {
        Event::ToolCall(call) => Some(call.arguments_json.as_str()),
        _ => None,
    });
    assert_eq!(calls.collect::<Vec<_>>(), ["{\"a\": 1}"]);
    assert_eq!(reasoning(&answer), "");
}

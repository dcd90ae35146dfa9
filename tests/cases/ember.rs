//! The built-in model, asked through the library with the real components: `host/ember/eval` says what counts.

use std::sync::Arc;

use firebox::contract::{Caller, Event, GenerationRequest, Message, Prompt, Role, SamplingOverrides};
use firebox::{Host, plugins};
use serde_json::Value;

use crate::harness::root;

struct Asked {
    answer: String,
    /// `(tool, result)` of the first call.
    call: Option<(String, String)>,
}

async fn ask(host: &Host, prompt: &str) -> Asked {
    let request = GenerationRequest {
        prompt: Prompt::Chat(vec![Message::text(Role::User, prompt)]),
        sampling: SamplingOverrides::default(),
        tool_rounds: 3,
    };
    let mut generation = host.generate(&Caller::local(), request).await.expect("admitted");
    let mut asked = Asked { answer: String::new(), call: None };
    let mut name = None;
    while let Some(event) = generation.next().await.expect("answered") {
        match event {
            Event::Text(text) => asked.answer.push_str(&text),
            Event::ToolCall(call) => name = Some(call.name),
            Event::ToolResult { outcome, .. } if asked.call.is_none() => {
                asked.call = Some((name.take().unwrap_or_default(), outcome.content));
            }
            _ => {}
        }
    }
    asked
}

fn is_exact(row: &Value, asked: &Asked) -> bool {
    let answer = asked.answer.trim();
    match row["kind"].as_str() {
        Some("call") => {
            let result = row["result"].as_str().expect("a call has a result");
            let called = asked.call.as_ref().is_some_and(|(name, got)| row["tool"] == name.as_str() && got == result);
            called && holds_whole(answer, result)
        }
        Some("refuse") => asked.call.is_none() && (answer.contains("can't") || answer.contains("cannot")) && no_digits(answer),
        _ => asked.call.is_none() && !answer.is_empty() && no_digits(answer),
    }
}

fn no_digits(text: &str) -> bool {
    !text.chars().any(|c| c.is_ascii_digit())
}

/// `part` stands in `text`, not as a piece of a longer word or number.
fn holds_whole(text: &str, part: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(part).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + part.len()..].chars().next());
        let (first, last) = (part.chars().next(), part.chars().next_back());
        !(joins(before) && joins(first)) && !(joins(after) && joins(last))
    })
}

/// Percent of the rows answered exactly; the misses are printed.
async fn accuracy(file: &str) -> f64 {
    let text = std::fs::read_to_string(root().join("host/ember/eval").join(file)).expect("readable");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let options = plugins_of_run();
    let device = "cpu".parse().expect("a device");
    let builder = Host::builder().device(device).plugins(plugins::resolve(&options, true).expect("built in"));
    let host = Arc::new(builder.build().await.expect("builds"));
    let mut exact = 0;
    for row in &rows {
        let asked = ask(&host, row["prompt"].as_str().expect("a prompt")).await;
        if is_exact(row, &asked) {
            exact += 1;
        } else {
            println!("miss {}: {} -> {:?} {}", row["id"], row["prompt"], asked.call, asked.answer);
        }
    }
    let percent = 100.0 * f64::from(exact) / rows.len() as f64;
    println!("{file}: {exact} of {} exact ({percent:.1} %)", rows.len());
    percent
}

fn plugins_of_run() -> firebox::cli::options::PluginOptions {
    firebox::cli::options::PluginOptions {
        plugins: Vec::new(),
        configs: Vec::new(),
        fuel: None,
        plugin_memory: None,
        plugin_timeout: None,
        no_tools: false,
        tool_rounds: 3,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn held_out_prompts_are_answered_exactly() {
    let percent = accuracy("held_out.jsonl").await;
    assert!(percent >= 98.0, "{percent:.1} % exact");
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_written_by_hand_are_answered_exactly() {
    let percent = accuracy("handwritten.jsonl").await;
    assert!(percent >= 90.0, "{percent:.1} % exact");
}

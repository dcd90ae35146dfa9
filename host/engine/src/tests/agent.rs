//! Tool rounds over fakes: which tools are offered, how calls run, what is reserved and how a request ends.

mod doubles;
mod endings;
mod guarded_calls;
mod offered_tools;
mod permissions;
mod plugin_model;
mod reservation;
mod running;

use std::sync::Arc;

use firebox_contract::{
    Event, Finish, GenerationRequest, Message, Permission, Prompt, Role, SamplingOverrides, ToolChoice, ToolDefinition,
    ToolEffects, ToolOptions, ToolPolicy,
};

use super::fakes::{Plugins, engine_changed};
use super::{CollectedAnswer, answer, collect, start};
use crate::{Engine, EngineOptions};
use doubles::FakeToolSource;

/// Separates the model's turns, which the user message contains in order.
const NEXT: &str = " || ";

/// The n-th turn of the script, where n is the number of assistant messages so far.
fn scripted_turn(prompt: &str) -> String {
    let said = prompt.rfind("user: ").map_or("", |at| &prompt[at + "user: ".len()..]);
    let script = said.lines().next().unwrap_or_default();
    let turn = prompt.matches("\nassistant: ").count();
    script.split(NEXT).nth(turn).unwrap_or("nothing more").to_owned()
}

/// A request whose model writes these turns.
fn ask(scripted_turn: &[&str]) -> GenerationRequest {
    ask_with(scripted_turn, ToolOptions { rounds: 8, ..ToolOptions::default() })
}

fn ask_with(scripted_turn: &[&str], tools: ToolOptions) -> GenerationRequest {
    let message = Message::text(Role::User, scripted_turn.join(NEXT));
    let sampling = SamplingOverrides { max_tokens: Some(3_000), ..SamplingOverrides::default() };
    GenerationRequest { tools, sampling, ..GenerationRequest::new(Prompt::Chat(vec![message])) }
}

/// A tool call in the format of the fake model.
fn call(name: &str, arguments: &str) -> String {
    format!("<tool_call>{{\"name\": \"{name}\", \"arguments\": {arguments}}}</tool_call>")
}

/// A tool of a client or a source. Tools whose name begins with `read` are read-only.
fn tool(name: &str, schema: &str) -> ToolDefinition {
    ToolDefinition {
        name: name.to_owned(),
        title: None,
        output_schema_json: None,
        description: String::new(),
        input_schema_json: schema.to_owned(),
        as_sent_json: None,
        effects: ToolEffects { read_only: name.starts_with("read"), ..ToolEffects::default() },
    }
}

fn rules(rules: &[(&str, Permission)]) -> ToolPolicy {
    let rules = rules.iter().map(|(glob, permission)| ((*glob).to_owned(), *permission)).collect();
    ToolPolicy { rules, otherwise: Permission::Allow }
}

/// An engine with the plugin tools `add` and `mul` and the tools of `source`.
async fn engine(source: &Arc<FakeToolSource>) -> Engine {
    engine_with(source, |_| {}).await
}

async fn engine_with(source: &Arc<FakeToolSource>, change: impl FnOnce(&mut EngineOptions)) -> Engine {
    let plugins = Plugins { tools: vec!["add", "mul"], ..Plugins::default() };
    let source = Arc::clone(source);
    let (engine, _) = engine_changed(scripted_turn, plugins, 8, 64, |options| {
        options.tools = Some(source);
        change(options);
    })
    .await;
    engine
}

/// The tool events in order, one line each.
fn tool_events(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::ToolCall(call) => Some(format!("call {} {}", call.id, call.name)),
        Event::ApprovalNeeded { id } => Some(format!("approve {id}")),
        Event::ToolProgress { id, done, .. } => Some(format!("progress {id} {done}")),
        Event::ToolResult { id, outcome } => Some(format!("result {id} {}", outcome.content)),
        Event::ToolCallDelta { id, name, arguments } => {
            Some(format!("part {id} {}{arguments}", name.as_deref().unwrap_or_default()))
        }
        Event::Reasoning(_) | Event::Logprobs(_) | Event::Text(_) | Event::Log(_) | Event::Finished(_) => None,
    };
    events.iter().filter_map(line).collect()
}

fn logged(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match event {
        Event::Log(line) => Some(line.message.clone()),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

/// The messages that a generation added, one line each.
fn added(finish: &Finish) -> Vec<String> {
    let line = |message: &Message| {
        let calls: Vec<String> = message.tool_calls.iter().map(|call| format!("<{} {}>", call.id, call.name)).collect();
        let of = message.tool_call_id.as_deref().unwrap_or_default();
        format!("{}{of}: {}{}", message.role.as_str(), message.content, calls.concat())
    };
    finish.messages.iter().map(line).collect()
}

fn named(name: &str) -> ToolChoice {
    ToolChoice::Named(name.to_owned())
}

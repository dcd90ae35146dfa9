//! One round of tool calls: run them in the order they were made, and turn every answer, good or bad, into a
//! message the model can read.

use firebox_contract::limits::{TOOL_ARGUMENTS_BYTES_MAX, TOOL_CALLS_PER_ROUND_MAX, TOOL_RESULT_BYTES_MAX};
use firebox_contract::{Error, Event, Hooks, Message, Role, ToolCall, ToolOutcome};

use crate::round::Transcript;
use crate::toolcall::Piece;

/// What a round of calls became.
pub(crate) struct Answered {
    /// For the conversation: the assistant's message, then the results in order.
    pub(crate) messages: Vec<Message>,
    /// For the reader.
    pub(crate) events: Vec<Event>,
}

/// Runs the calls of `transcript`. `first_id` numbers them within the request.
pub(crate) async fn answer(transcript: Transcript, first_id: usize, hooks: &mut dyn Hooks) -> Result<Answered, Error> {
    let mut said = Message::text(Role::Assistant, transcript.text);
    let mut results = Vec::new();
    let mut events = Vec::new();
    for (index, piece) in transcript.calls.into_iter().enumerate() {
        let id = format!("call_{}", first_id + index);
        let (call, refused) = match piece {
            Piece::Text(_) => continue,
            Piece::Call { name, arguments_json } => {
                let call = ToolCall { id: id.clone(), name, arguments_json };
                let refused = refuse(&call, index, hooks);
                (call, refused)
            }
            Piece::Malformed { written, reason } => {
                // What the model wrote stays visible to it as plain text, so that it can see its own mistake.
                said.content.push_str(&written);
                let outcome = ToolOutcome { provider: "firebox".to_owned(), ..error(&reason) };
                let result = Message { name: None, ..result_of(&id, "", &outcome) };
                results.push(result);
                events.push(Event::ToolResult { id, outcome });
                continue;
            }
        };
        events.push(Event::ToolCall(call.clone()));
        let outcome = match refused {
            Some(reason) => error(&reason),
            None => cut(hooks.call(&call).await?),
        };
        results.push(result_of(&id, &call.name, &outcome));
        events.push(Event::ToolResult { id, outcome });
        said.tool_calls.push(call);
    }
    let mut messages = vec![said];
    messages.append(&mut results);
    Ok(Answered { messages, events })
}

/// Why a call must not run, if so.
fn refuse(call: &ToolCall, index: usize, hooks: &dyn Hooks) -> Option<String> {
    let known = hooks.definitions();
    if index >= TOOL_CALLS_PER_ROUND_MAX {
        return Some(format!("more than {TOOL_CALLS_PER_ROUND_MAX} calls at once; make fewer"));
    }
    if !known.iter().any(|tool| tool.name == call.name) {
        let names: Vec<&str> = known.iter().map(|tool| tool.name.as_str()).collect();
        return Some(format!("there is no tool \"{}\"; the tools are {}", call.name, names.join(", ")));
    }
    if call.arguments_json.len() > TOOL_ARGUMENTS_BYTES_MAX {
        return Some(format!("the arguments are longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes"));
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&call.arguments_json) {
        Ok(_) => None,
        Err(problem) => Some(format!("the arguments are not a JSON object ({problem})")),
    }
}

fn error(reason: &str) -> ToolOutcome {
    ToolOutcome {
        content: format!("error: {reason}"),
        blocks: Vec::new(),
        is_error: true,
        provider: "firebox".to_owned(),
        fuel: 0,
        memory_peak_bytes: 0,
        elapsed: std::time::Duration::ZERO,
    }
}

fn result_of(id: &str, name: &str, outcome: &ToolOutcome) -> Message {
    let call = ToolCall { id: id.to_owned(), name: name.to_owned(), arguments_json: String::new() };
    Message::tool_result(&call, outcome.content.clone())
}

/// Cuts a result that is too long for a prompt, and says so where the model reads it.
fn cut(mut outcome: ToolOutcome) -> ToolOutcome {
    let length = outcome.content.len();
    if length > TOOL_RESULT_BYTES_MAX {
        let end = (0..=TOOL_RESULT_BYTES_MAX).rev().find(|at| outcome.content.is_char_boundary(*at)).unwrap_or(0);
        outcome.content.truncate(end);
        outcome.content.push_str(&format!("\n[cut: {length} bytes in all]"));
    }
    outcome
}

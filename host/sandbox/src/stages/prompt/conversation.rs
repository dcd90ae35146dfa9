//! Whether what a plugin makes of a conversation still is one. A chat template would fail on what is not, or write something
//! nobody meant, and the person would be told that the model is broken.

use std::collections::HashSet;

use firebox_contract::{Message, Role, ToolCall, limits};

/// Checks what a plugin put in the place of `given`. What was wrong already is not held against it.
///
/// # Errors
/// What is wrong, as a sentence about the plugin's answer.
pub(super) fn check(given: &[Message], new: &[Message]) -> Result<(), String> {
    check_size(given, new)?;
    check_order(given, new)?;
    let mut made: HashSet<&str> = given.iter().filter_map(|message| message.tool_call_id.as_deref()).collect();
    for (at, message) in new.iter().enumerate() {
        check_calls(message, at, &mut made)?;
        check_result(given, message, at, &made)?;
    }
    Ok(())
}

fn check_size(given: &[Message], new: &[Message]) -> Result<(), String> {
    let most = given.len().saturating_add(limits::PLUGIN_MESSAGES_ADDED_MAX).min(limits::MESSAGES_MAX.max(given.len()));
    if new.len() > most {
        return Err(format!("it made {} messages of {}, where {most} are allowed", new.len(), given.len()));
    }
    let bytes = |messages: &[Message]| messages.iter().map(size).sum::<usize>();
    let most = bytes(given).saturating_add(limits::PLUGIN_MESSAGE_BYTES_ADDED_MAX).min(limits::PROMPT_BYTES_MAX);
    let found = bytes(new);
    if found > most.max(bytes(given)) {
        return Err(format!("it made {found} bytes of messages of {}, where {most} are allowed", bytes(given)));
    }
    if new.iter().all(|message| message.content.is_empty() && message.tool_calls.is_empty()) {
        return Err("it left nothing of the messages; refuse them instead, or answer".to_owned());
    }
    Ok(())
}

fn size(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments_json.len());
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    message.content.len() + calls.sum::<usize>() + optional(&message.tool_call_id) + optional(&message.name)
}

/// Who speaks where: a conversation that asked for an answer still does, and instructions come first.
fn check_order(given: &[Message], new: &[Message]) -> Result<(), String> {
    let asks = |messages: &[Message]| messages.last().is_some_and(|last| matches!(last.role, Role::User | Role::Tool));
    if asks(given) && !asks(new) {
        return Err("the last of its messages is neither a user's nor a tool's".to_owned());
    }
    let has_user = |messages: &[Message]| messages.iter().any(|message| message.role == Role::User);
    if has_user(given) && !has_user(new) {
        return Err("none of its messages is a user's".to_owned());
    }
    let late_system = |messages: &[Message]| {
        let after = messages.iter().skip_while(|message| message.role == Role::System);
        after.filter(|message| message.role == Role::System).count()
    };
    if late_system(new) > late_system(given) {
        return Err("one of its system messages is not among the first".to_owned());
    }
    Ok(())
}

fn check_calls<'a>(message: &'a Message, at: usize, made: &mut HashSet<&'a str>) -> Result<(), String> {
    let calls = &message.tool_calls;
    if !calls.is_empty() && message.role != Role::Assistant {
        return Err(format!("message {at} calls tools and is not the assistant's"));
    }
    if calls.len() > limits::TOOL_CALLS_MAX {
        return Err(format!("message {at} has {} calls, where {} are allowed", calls.len(), limits::TOOL_CALLS_MAX));
    }
    for call in calls {
        check_call(call).map_err(|reason| format!("a call in message {at} {reason}"))?;
        made.insert(&call.id);
    }
    Ok(())
}

fn check_call(call: &ToolCall) -> Result<(), String> {
    for (what, text) in [("id", &call.id), ("name", &call.name)] {
        if text.is_empty() || text.len() > limits::TOOL_NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!("has no plain {what} of 1 to {} bytes", limits::TOOL_NAME_BYTES_MAX));
        }
    }
    if call.arguments_json.len() > limits::TOOL_ARGUMENTS_BYTES_MAX {
        return Err(format!("has arguments of more than {} bytes", limits::TOOL_ARGUMENTS_BYTES_MAX));
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&call.arguments_json) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("has arguments that are not one JSON object: {error}")),
    }
}

/// A tool's message answers a call that was made before it.
fn check_result(given: &[Message], message: &Message, at: usize, made: &HashSet<&str>) -> Result<(), String> {
    if message.role != Role::Tool {
        return Ok(());
    }
    let was_there = || given.iter().any(|old| old.role == Role::Tool && old.tool_call_id.is_none());
    match message.tool_call_id.as_deref() {
        Some(id) if made.contains(id) => Ok(()),
        None if was_there() => Ok(()),
        _ => Err(format!("message {at} is a tool's and answers no call before it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, arguments: &str) -> ToolCall {
        ToolCall { id: id.to_owned(), name: "add".to_owned(), arguments_json: arguments.to_owned() }
    }

    fn calling(calls: &[ToolCall]) -> Message {
        Message { tool_calls: calls.to_vec(), ..Message::text(Role::Assistant, "") }
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    #[test]
    fn a_conversation_stays_one() {
        let given = [user("hi")];
        let system = Message::text(Role::System, "be kind");
        let sum = call("1", "{\"a\": 1}");
        let result = Message::tool_result(&sum, "2");
        for good in [
            vec![user("ho")],
            vec![system.clone(), user("hi")],
            vec![user("hi"), calling(std::slice::from_ref(&sum)), result.clone()],
        ] {
            assert_eq!(check(&given, &good), Ok(()), "{good:?}");
        }
        let control = ToolCall { name: "\x1b[2J".to_owned(), ..sum.clone() };
        for (bad, expected) in [
            (Vec::new(), "left nothing"),
            (vec![user("")], "left nothing"),
            (vec![user("hi"); 1_000], "it made 1000 messages of 1"),
            (vec![user(&"x".repeat(2 << 20))], "bytes of messages"),
            (vec![result.clone(), user("hi")], "message 0 is a tool's"),
            (
                vec![user("hi"), result.clone(), calling(std::slice::from_ref(&sum)), user("so")],
                "message 1 is a tool's",
            ),
            (vec![user("hi"), Message { tool_call_id: None, ..result.clone() }], "message 1 is a tool's"),
            (vec![user("hi"), calling(&[call("1", "[")]), result.clone()], "arguments that are not one JSON object"),
            (vec![user("hi"), calling(&[call("", "{}")]), user("so")], "no plain id"),
            (vec![user("hi"), calling(&[control]), user("so")], "no plain name"),
            (vec![user("hi"), calling(&vec![sum.clone(); 100]), user("so")], "100 calls"),
            (vec![Message { tool_calls: vec![sum.clone()], ..user("hi") }], "not the assistant's"),
            (vec![user("hi"), Message::text(Role::Assistant, "ho")], "neither a user's"),
            (vec![user("hi"), system.clone(), user("so")], "not among the first"),
            (vec![system.clone(), calling(std::slice::from_ref(&sum)), result], "none of its messages is a user's"),
        ] {
            let reason = check(&given, &bad).expect_err(expected);
            assert!(reason.contains(expected), "{reason} should contain {expected}");
        }
    }

    #[test]
    fn what_was_wrong_before_is_not_the_plugins_fault() {
        let orphan = Message { tool_call_id: Some("gone".to_owned()), ..Message::text(Role::Tool, "2") };
        let given = [orphan.clone(), user("hi")];
        assert_eq!(check(&given, &[orphan, user("ho")]), Ok(()));
    }
}

//! Checks that the messages which a prompt plugin returns still form a conversation. If they did not, the chat template
//! would fail or write a wrong prompt, and the user would blame the model.

use std::collections::HashSet;

use firebox_contract::{Message, Role, ToolCall, limits};

/// Checks the messages `new` that a plugin returned for `given`. Faults that `given` already has are accepted.
///
/// # Errors
/// The first fault, as a sentence about the plugin ("it returned ...").
pub(super) fn check(given: &[Message], new: &[Message]) -> Result<(), String> {
    check_size(given, new)?;
    check_order(given, new)?;
    let mut calls: HashSet<&str> = given.iter().filter_map(|message| message.tool_call_id.as_deref()).collect();
    for (at, message) in new.iter().enumerate() {
        check_calls(message, at, &mut calls)?;
        check_result(given, message, at, &calls)?;
    }
    Ok(())
}

fn check_size(given: &[Message], new: &[Message]) -> Result<(), String> {
    let most = given.len().saturating_add(limits::PLUGIN_MESSAGES_ADDED_MAX).min(limits::MESSAGES_MAX.max(given.len()));
    if new.len() > most {
        return Err(format!("it returned {} messages for {}; at most {most} are allowed", new.len(), given.len()));
    }
    let bytes = |messages: &[Message]| messages.iter().map(size).sum::<usize>();
    let most = bytes(given).saturating_add(limits::PLUGIN_MESSAGE_BYTES_ADDED_MAX).min(limits::PROMPT_BYTES_MAX);
    let found = bytes(new);
    if found > most.max(bytes(given)) {
        return Err(format!("it returned {found} bytes of messages for {}; at most {most} are allowed", bytes(given)));
    }
    if new.iter().all(|message| message.content.is_empty() && message.tool_calls.is_empty()) {
        return Err("it returned no message with text or calls; refuse the messages instead, or answer them".to_owned());
    }
    Ok(())
}

fn size(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments_json.len());
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    message.content.len() + calls.sum::<usize>() + optional(&message.tool_call_id) + optional(&message.name)
}

/// Checks the order of the roles: the last message still asks for an answer, there is still a user message, and system
/// messages come first.
fn check_order(given: &[Message], new: &[Message]) -> Result<(), String> {
    let asks = |messages: &[Message]| messages.last().is_some_and(|last| matches!(last.role, Role::User | Role::Tool));
    if asks(given) && !asks(new) {
        return Err("its last message is neither from the user nor from a tool".to_owned());
    }
    let has_user = |messages: &[Message]| messages.iter().any(|message| message.role == Role::User);
    if has_user(given) && !has_user(new) {
        return Err("none of its messages is from the user".to_owned());
    }
    let late_system = |messages: &[Message]| {
        let after = messages.iter().skip_while(|message| message.role == Role::System);
        after.filter(|message| message.role == Role::System).count()
    };
    if late_system(new) > late_system(given) {
        return Err("one of its system messages comes after another message".to_owned());
    }
    Ok(())
}

/// Checks the tool calls of message number `at`, and adds their ids to `known`.
fn check_calls<'a>(message: &'a Message, at: usize, known: &mut HashSet<&'a str>) -> Result<(), String> {
    let calls = &message.tool_calls;
    if !calls.is_empty() && message.role != Role::Assistant {
        return Err(format!("message {at} calls tools and is not from the assistant"));
    }
    if calls.len() > limits::TOOL_CALLS_MAX {
        return Err(format!("message {at} has {} calls; at most {} are allowed", calls.len(), limits::TOOL_CALLS_MAX));
    }
    for call in calls {
        check_call(call).map_err(|reason| format!("a call in message {at} {reason}"))?;
        known.insert(&call.id);
    }
    Ok(())
}

fn check_call(call: &ToolCall) -> Result<(), String> {
    for (what, text) in [("an id", &call.id), ("a name", &call.name)] {
        if text.is_empty() || text.len() > limits::TOOL_NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "needs {what} of 1 to {} bytes without control characters",
                limits::TOOL_NAME_BYTES_MAX
            ));
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

/// Checks that a tool's message answers one of the calls `known`, which come before it.
fn check_result(given: &[Message], message: &Message, at: usize, known: &HashSet<&str>) -> Result<(), String> {
    if message.role != Role::Tool {
        return Ok(());
    }
    let given_has_one = || given.iter().any(|old| old.role == Role::Tool && old.tool_call_id.is_none());
    match message.tool_call_id.as_deref() {
        Some(id) if known.contains(id) => Ok(()),
        None if given_has_one() => Ok(()),
        _ => Err(format!("message {at} is from a tool and answers no call before it")),
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
    fn a_returned_conversation_must_still_be_a_conversation() {
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
            (Vec::new(), "no message with text"),
            (vec![user("")], "no message with text"),
            (vec![user("hi"); 1_000], "it returned 1000 messages for 1"),
            (vec![user(&"x".repeat(2 << 20))], "bytes of messages"),
            (vec![result.clone(), user("hi")], "message 0 is from a tool"),
            (
                vec![user("hi"), result.clone(), calling(std::slice::from_ref(&sum)), user("so")],
                "message 1 is from a tool",
            ),
            (vec![user("hi"), Message { tool_call_id: None, ..result.clone() }], "message 1 is from a tool"),
            (vec![user("hi"), calling(&[call("1", "[")]), result.clone()], "arguments that are not one JSON object"),
            (vec![user("hi"), calling(&[call("", "{}")]), user("so")], "needs an id"),
            (vec![user("hi"), calling(&[control]), user("so")], "needs a name"),
            (vec![user("hi"), calling(&vec![sum.clone(); 100]), user("so")], "100 calls"),
            (vec![Message { tool_calls: vec![sum.clone()], ..user("hi") }], "not from the assistant"),
            (vec![user("hi"), Message::text(Role::Assistant, "ho")], "neither from the user"),
            (vec![user("hi"), system.clone(), user("so")], "comes after another message"),
            (
                vec![system.clone(), calling(std::slice::from_ref(&sum)), result],
                "none of its messages is from the user",
            ),
        ] {
            let reason = check(&given, &bad).expect_err(expected);
            assert!(reason.contains(expected), "{reason} should contain {expected}");
        }
    }

    #[test]
    fn faults_that_the_given_messages_have_are_accepted() {
        let orphan = Message { tool_call_id: Some("gone".to_owned()), ..Message::text(Role::Tool, "2") };
        let given = [orphan.clone(), user("hi")];
        assert_eq!(check(&given, &[orphan, user("ho")]), Ok(()));
    }
}

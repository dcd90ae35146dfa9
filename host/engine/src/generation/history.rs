//! The messages that a generation adds to the conversation.

use firebox_contract::{Message, Role};

/// The text of a turn as a message, unless it is empty.
pub(super) fn assistant_message(text: &str) -> Vec<Message> {
    if text.is_empty() { Vec::new() } else { vec![Message::text(Role::Assistant, text)] }
}

/// Appends the messages of a turn. Two assistant messages in a row are joined: between them was a malformed tool call,
/// which is not stored.
pub(super) fn append_turn(history: &mut Vec<Message>, turn: Vec<Message>) {
    for message in turn {
        match history.last_mut() {
            Some(last)
                if last.role == Role::Assistant && last.tool_calls.is_empty() && message.role == Role::Assistant =>
            {
                last.content.push_str(&message.content);
                last.tool_calls = message.tool_calls;
            }
            _ => history.push(message),
        }
    }
}

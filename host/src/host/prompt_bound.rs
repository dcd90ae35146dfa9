//! An upper bound of a prompt's tokens that needs neither its chat template nor its tokenizer.

use firebox_contract::{Message, TextCodec, ToolDefinition};
use firebox_engine::{message_bytes, tool_bytes};

/// Bytes that a chat template may write around one message or tool.
const TEMPLATE_BYTES_PER_ITEM: usize = 256;

/// Bytes of the longest escape of one byte in JSON, such as `\u003c`.
const JSON_ESCAPE_BYTES: usize = 6;

/// More tokens than a rendered conversation has: a token has at least one byte, and a template writes each text at most twice.
pub(super) fn most_tokens(codec: &dyn TextCodec, messages: &[Message], tools: &[ToolDefinition]) -> usize {
    let template = codec.chat_template().map_or(0, str::len);
    let messages = messages.iter().map(most_message_bytes).sum::<usize>();
    let tools = tools.iter().map(|tool| tool_bytes(tool) * JSON_ESCAPE_BYTES + TEMPLATE_BYTES_PER_ITEM).sum::<usize>();
    template + messages + tools
}

/// What a template writes as JSON is escaped.
fn most_message_bytes(message: &Message) -> usize {
    let is_plain = message.tool_calls.is_empty() && message.as_sent_json.is_none();
    message_bytes(message) * if is_plain { 2 } else { JSON_ESCAPE_BYTES } + TEMPLATE_BYTES_PER_ITEM
}

#[cfg(test)]
mod tests {
    use firebox_contract::{Chat, Role, ToolCall, ToolEffects};
    use firebox_models::{Checkpoint, load_codec};

    use super::*;
    use crate::host::ember;

    fn tool(description: &str) -> ToolDefinition {
        ToolDefinition {
            name: "look_up".to_owned(),
            description: description.to_owned(),
            title: None,
            input_schema_json: r#"{"type": "object", "properties": {"word": {"type": "string"}}}"#.to_owned(),
            output_schema_json: None,
            as_sent_json: None,
            effects: ToolEffects::default(),
        }
    }

    #[test]
    fn a_rendered_prompt_never_has_more_tokens() {
        let codec = load_codec(&Checkpoint::embedded(ember::FILES).expect("a folder")).expect("a codec");
        let texts = ["", "a b c d e f g", "<\u{1}\"'&>\u{7f}", "\u{1f525}\u{e9}\u{4e2d}\u{ffff}", &"<\"".repeat(500)];
        for text in texts {
            let call = ToolCall {
                id: "1".to_owned(),
                name: "look_up".to_owned(),
                arguments_json: serde_json::json!({ "word": text }).to_string(),
            };
            let calling = Message { tool_calls: vec![call.clone(), call], ..Message::text(Role::Assistant, text) };
            let result = Message { tool_call_id: Some("1".to_owned()), ..Message::text(Role::Tool, text) };
            let plain = [Role::System, Role::User, Role::Assistant].map(|role| Message::text(role, text));
            let all: Vec<Message> = plain.into_iter().chain([calling, result]).collect();
            for count in 1..=all.len() {
                for tools in [Vec::new(), vec![tool(text), tool(text)]] {
                    let (messages, max) = (&all[..count], most_tokens(&*codec, &all[..count], &tools));
                    let chat = Chat::new(messages, &tools);
                    let tokens = codec.encode_chat_within(chat, usize::MAX).expect("tokens").count().tokens;
                    assert!(tokens <= max, "{tokens} tokens of {count} messages with {} tools: {max}", tools.len());
                }
            }
        }
    }
}

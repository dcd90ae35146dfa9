//! The messages of a conversation, as OpenAI's clients and others write them.

use std::borrow::Cow;

use firebox_contract::{Message, Role, ToolCall, json_values, limits};
use serde_json::{Map, Value};

use super::as_sent;
use super::fields::{Fields, wrong};
use crate::http::Failure;

/// Reads the messages of a conversation.
///
/// # Errors
/// 400 for the first invalid message, and for more than `limits::MESSAGES_MAX`.
pub(in crate::http) fn messages(list: &[Value]) -> Result<Vec<Message>, Failure> {
    if list.len() > limits::MESSAGES_MAX {
        let (count, max) = (list.len(), limits::MESSAGES_MAX);
        return Err(Failure::field("messages", format!("{count} messages given, at most {max} are allowed")));
    }
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let fields = Fields::of(value, &format!("messages[{at}]"))?;
        let message = message(&fields, &messages)?;
        messages.push(Message { as_sent_json: as_sent::message(value), ..message });
    }
    Ok(messages)
}

fn message(fields: &Fields<'_>, before: &[Message]) -> Result<Message, Failure> {
    let role = match fields.need("role", fields.text("role")?)? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let message = format!("unknown role \"{other}\"; use system, developer, user, assistant or tool");
            return Err(Failure::field(fields.name("role"), message));
        }
    };
    for (field, remedy) in [("function_call", "use \"tool_calls\""), ("audio", "only text is supported")] {
        if fields.get(field).is_some() {
            let name = fields.name(field);
            return Err(Failure::unsupported(&name, format!("\"{name}\" is not supported: {remedy}")));
        }
    }
    let mut content = content(fields)?;
    let tool_calls = if role == Role::Assistant { calls(fields)? } else { Vec::new() };
    if role == Role::Assistant && content.is_none() {
        // Some clients send an empty answer back as null.
        content = as_sent::instead_of_content(fields)?.or(fields.is_null("content").then(String::new));
    }
    if content.is_none() && tool_calls.is_empty() {
        let name = fields.name("content");
        return Err(Failure::field(&name, format!("\"{name}\" is missing; it is required")));
    }
    let mut message = Message { tool_calls, ..Message::text(role, content.unwrap_or_default()) };
    if role == Role::Tool {
        let id = fields.need("tool_call_id", fields.text("tool_call_id")?)?;
        let made = before.iter().rev().flat_map(|message| &message.tool_calls).find(|call| call.id == id);
        message.name = made.map(|call| call.name.clone()).or(fields.text("name")?.map(str::to_owned));
        message.tool_call_id = Some(id.to_owned());
    }
    Ok(message)
}

/// The content: a string, or a list of text parts.
fn content(fields: &Fields<'_>) -> Result<Option<String>, Failure> {
    let name = fields.name("content");
    let parts = match fields.get("content") {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(wrong(&name, "a string or a list of parts", other)),
    };
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        let part = Fields::of(part, &format!("{name}[{at}]"))?;
        match part.need("type", part.text("type")?)? {
            "text" => text.push_str(part.need("text", part.text("text")?)?),
            "refusal" => text.push_str(part.need("refusal", part.text("refusal")?)?),
            other => {
                let message = format!("a part of type \"{other}\" is not supported; send text");
                return Err(Failure::unsupported(part.name("type"), message));
            }
        }
    }
    Ok(Some(text))
}

/// The tool calls of an assistant's message.
fn calls(fields: &Fields<'_>) -> Result<Vec<ToolCall>, Failure> {
    let list = fields.list("tool_calls")?.unwrap_or_default();
    let mut calls = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let call = Fields::of(value, &format!("{}[{at}]", fields.name("tool_calls")))?;
        let function = call.need("function", call.object("function")?)?;
        let arguments = arguments(&function)?;
        let max = limits::JSON_VALUES_MAX;
        if json_values(arguments.as_bytes(), max) > max {
            let name = function.name("arguments");
            return Err(Failure::field(&name, format!("\"{name}\" has more than {max} JSON values; remove the call")));
        }
        if serde_json::from_str::<Map<String, Value>>(&arguments).is_err() {
            let name = function.name("arguments");
            return Err(Failure::field(&name, format!("\"{name}\" must be a JSON object, written as a string")));
        }
        calls.push(ToolCall {
            id: call.need("id", call.text("id")?)?.to_owned(),
            name: function.need("name", function.text("name")?)?.to_owned(),
            arguments_json: arguments.into_owned(),
        });
    }
    Ok(calls)
}

/// The arguments of a call: JSON in a string, as in OpenAI's API, or the object itself. A blank string means no arguments.
fn arguments<'a>(function: &Fields<'a>) -> Result<Cow<'a, str>, Failure> {
    match function.get("arguments") {
        None => Ok(Cow::Borrowed("{}")),
        Some(Value::String(text)) if text.trim().is_empty() || text.trim() == "null" => Ok(Cow::Borrowed("{}")),
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        Some(object @ Value::Object(_)) => Ok(Cow::Owned(object.to_string())),
        Some(other) => Err(wrong(&function.name("arguments"), "a JSON object, written as a string", other)),
    }
}

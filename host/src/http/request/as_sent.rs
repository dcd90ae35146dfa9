//! The fields of a message that the host does not read. The chat template sees them.

use serde_json::{Map, Value};

use super::Fields;
use crate::http::Failure;

/// The fields that the host reads, in the order in which it passes them to a template.
const OWN: [&str; 4] = ["role", "content", "tool_calls", "tool_call_id"];

/// The message as JSON, as it was sent. `None` if the host's own fields in their usual order represent it exactly. Content
/// and calls, which the host stores elsewhere, are replaced by empty values.
pub(super) fn message(value: &Value) -> Option<String> {
    let sent = value.as_object()?;
    let positions: Option<Vec<usize>> = sent.keys().map(|name| OWN.iter().position(|own| own == name)).collect();
    let plain =
        positions.is_some_and(|positions| positions.is_sorted()) && sent.get("content").is_some_and(Value::is_string);
    if plain {
        return None;
    }
    let without_content = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value) {
            ("content", Value::String(_)) => Value::from(""),
            ("tool_calls", Value::Array(_)) => Value::Array(Vec::new()),
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    };
    Some(Value::Object(sent.iter().map(without_content).collect::<Map<_, _>>()).to_string())
}

/// The content of an assistant's message without `content`: its refusal, or an empty text if it has only reasoning.
pub(super) fn instead_of_content(fields: &Fields<'_>) -> Result<Option<String>, Failure> {
    if let Some(refusal) = fields.text("refusal")? {
        return Ok(Some(refusal.to_owned()));
    }
    let reasoning = fields.get("reasoning_content").or_else(|| fields.get("reasoning"));
    Ok(reasoning.map(|_| String::new()))
}

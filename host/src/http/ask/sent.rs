//! What a client wrote in a message beyond the fields that the host itself reads. The chat template sees it.

use serde_json::{Map, Value};

use super::{Failure, Fields};

/// The fields that the host reads, in the order in which it gives them to a template.
const OWN: [&str; 4] = ["role", "content", "tool_calls", "tool_call_id"];

/// The message as it was sent, where it is more than text and calls, or in another order: the text of a JSON object. What the
/// host holds anyway is left out of it, but for its place.
pub(super) fn message(value: &Value) -> Option<String> {
    let sent = value.as_object()?;
    let places: Option<Vec<usize>> = sent.keys().map(|name| OWN.iter().position(|own| own == name)).collect();
    let plain = places.is_some_and(|places| places.is_sorted()) && sent.get("content").is_some_and(Value::is_string);
    if plain {
        return None;
    }
    let short = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value) {
            ("content", Value::String(_)) => Value::from(""),
            ("tool_calls", Value::Array(_)) => Value::Array(Vec::new()),
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    };
    Some(Value::Object(sent.iter().map(short).collect::<Map<_, _>>()).to_string())
}

/// What an assistant's message without content says: why it refused, or nothing where it only thought.
pub(super) fn instead_of_content(fields: &Fields<'_>) -> Result<Option<String>, Failure> {
    if let Some(refusal) = fields.text("refusal")? {
        return Ok(Some(refusal.to_owned()));
    }
    let thought = fields.get("reasoning_content").or_else(|| fields.get("reasoning"));
    Ok(thought.map(|_| String::new()))
}

//! A call written as one JSON object with the tool's name and its arguments.

use serde_json::Value;

use super::{Piece, raw};

/// Reads `written` as a call whose arguments are its member `arguments`.
pub(super) fn call(written: &str, arguments: &str) -> Piece {
    let written = written.trim();
    match read(written, arguments) {
        Ok((name, arguments_json)) => Piece::Call { name, arguments_json },
        Err(reason) => malformed(written, arguments, &reason),
    }
}

/// Something marked as a call that is none.
pub(super) fn malformed(written: &str, arguments: &str, reason: &str) -> Piece {
    let reason = format!("the tool call was not understood: {reason}; write {{\"name\": …, \"{arguments}\": {{…}}}}");
    Piece::Malformed { written: written.to_owned(), reason }
}

fn read(written: &str, arguments: &str) -> Result<(String, String), String> {
    let value: Value = serde_json::from_str(written).map_err(|error| format!("it is not JSON ({error})"))?;
    let name = value.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or("it has no \"name\"")?.to_owned();
    let arguments_json = match value.get(arguments) {
        None | Some(Value::Null) => "{}".to_owned(),
        // The text as written, not as parsed: a number keeps every digit.
        Some(object @ Value::Object(_)) => {
            raw::member(written, arguments).map_or_else(|| object.to_string(), str::to_owned)
        }
        // Some checkpoints write the arguments as a string that holds JSON.
        Some(Value::String(inner)) if inner.trim_start().starts_with('{') => inner.clone(),
        Some(_) => return Err(format!("its \"{arguments}\" are not an object")),
    };
    Ok((name, arguments_json))
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

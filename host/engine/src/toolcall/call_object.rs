//! Parses a call that is one JSON object with the tool's name and its arguments.

use serde_json::{Map, Value};

use super::{Piece, json_scan};

/// Keys of the arguments. Each family of models was trained on one of them, but models write the other one too.
const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];
/// Other keys of a call.
const OTHER_MEMBERS: [&str; 4] = ["name", "function", "type", "id"];
/// Maximum number of nested JSON strings around arguments.
const QUOTINGS_MAX: usize = 3;

/// Parses `written` as a call. `key` is the family's key of the arguments, for errors.
pub(super) fn call(written: &str, key: &str) -> Piece {
    let written = written.trim();
    match read(written, key) {
        Ok((name, arguments_json)) => Piece::Call { name, arguments_json },
        Err(reason) => malformed(written, key, &reason),
    }
}

/// A malformed call, with the error for the model.
pub(super) fn malformed(written: &str, key: &str, reason: &str) -> Piece {
    let reason = format!("the tool call is malformed: {reason}; write {{\"name\": …, \"{key}\": {{…}}}}");
    Piece::Malformed { written: written.to_owned(), reason }
}

/// Whether an object without a marker is a call: it has a name and arguments, and no key that calls do not have.
pub(super) fn is_call(object: &Map<String, Value>) -> bool {
    let inner = object.get("function").and_then(Value::as_object);
    let own = |key: &str| ARGUMENTS.contains(&key) || OTHER_MEMBERS.contains(&key);
    let has_arguments = |object: &Map<String, Value>| ARGUMENTS.iter().any(|key| object.contains_key(*key));
    let has_type = object.get("type").is_some_and(|kind| kind == "function");
    object.keys().all(|key| own(key))
        && inner.is_none_or(|inner| inner.keys().all(|key| own(key)))
        && name(object).is_some()
        && (has_type || has_arguments(object) || inner.is_some_and(has_arguments))
}

fn read(written: &str, key: &str) -> Result<(String, String), String> {
    let object: Value = serde_json::from_str(written).map_err(|error| format!("it is not JSON ({error})"))?;
    let object = object.as_object().ok_or("it has no \"name\"")?;
    let name = name(object).ok_or("it has no \"name\"")?.to_owned();
    Ok((name, arguments(written, object, key)?))
}

/// The tool's name: `name`, or `function` if that is a string, or `name` inside of the object `function`.
fn name(object: &Map<String, Value>) -> Option<&str> {
    let own = object.get("name").and_then(Value::as_str);
    let found = match object.get("function") {
        Some(Value::Object(inner)) => inner.get("name").and_then(Value::as_str).or(own),
        Some(Value::String(text)) => own.or(Some(text)),
        _ => own,
    };
    found.filter(|name| !name.is_empty())
}

/// The arguments, under either key. If several keys have arguments, the non-empty ones.
fn arguments(written: &str, object: &Map<String, Value>, key: &str) -> Result<String, String> {
    let inner = object.get("function").and_then(Value::as_object);
    let inner_text = json_scan::member(written, "function").unwrap_or_default();
    let mut found: Option<String> = None;
    let mut has_key = false;
    for (text, object) in inner.map(|inner| (inner_text, inner)).into_iter().chain([(written, object)]) {
        for key in ARGUMENTS {
            let Some(value) = object.get(key) else { continue };
            has_key = true;
            let Some(arguments) = argument_text(text, key, value)? else { continue };
            if found.as_ref().is_some_and(|other| *other != arguments) {
                return Err("it has different arguments under two keys".to_owned());
            }
            found = Some(arguments);
        }
    }
    if let Some(stray) = object.keys().find(|key| !OTHER_MEMBERS.contains(&key.as_str())).filter(|_| !has_key) {
        // The unknown key may hold the arguments, so the call must not run without them.
        return Err(format!("it has no \"{key}\" but \"{}\"", stray.chars().take(40).collect::<String>()));
    }
    Ok(found.unwrap_or_else(|| "{}".to_owned()))
}

/// The text of the arguments under `key` of the object `text`, or `None` if they are empty.
fn argument_text(text: &str, key: &str, value: &Value) -> Result<Option<String>, String> {
    let wrong = || format!("its \"{key}\" are not an object");
    match value {
        Value::Null => Ok(None),
        Value::Object(object) if object.is_empty() => Ok(None),
        // The text as the model wrote it: a number keeps all its digits.
        Value::Object(_) => Ok(Some(json_scan::member(text, key).map_or_else(|| value.to_string(), str::to_owned))),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::String(quoted) => unquoted(quoted, QUOTINGS_MAX).map_err(|()| wrong()),
        _ => Err(wrong()),
    }
}

/// The arguments inside of a JSON string, as some checkpoints write them. `Err` if they are no object.
fn unquoted(text: &str, left: usize) -> Result<Option<String>, ()> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match serde_json::from_str(text).map_err(drop)? {
        Value::Null => Ok(None),
        Value::Object(object) => Ok((!object.is_empty()).then(|| text.to_owned())),
        Value::String(inner) if left > 0 => unquoted(&inner, left - 1),
        _ => Err(()),
    }
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call as expected, malformed as reason};
    use super::*;

    #[test]
    fn arguments_are_found_under_either_key_and_in_a_wrapper() {
        let arguments = "{\"a\": 1.10}";
        for written in [
            "{\"name\": \"f\", \"arguments\": {\"a\": 1.10}}",
            "{\"name\": \"f\", \"parameters\": {\"a\": 1.10}}",
            "{\"parameters\": {\"a\": 1.10}, \"arguments\": {}, \"name\": \"f\"}",
            "{\"name\": \"f\", \"arguments\": null, \"parameters\": {\"a\": 1.10}}",
            "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": 1.10}}",
            "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1.10}}}",
            "{\"id\": \"c\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1.10}\"}}",
            "{\"function\": {\"name\": \"f\"}, \"arguments\": {\"a\": 1.10}}",
            "{\"function\": \"f\", \"parameters\": {\"a\": 1.10}}",
            "{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1.10}\"}",
            "{\"name\": \"f\", \"arguments\": \"\\\"{\\\\\\\"a\\\\\\\": 1.10}\\\"\"}",
        ] {
            for key in ARGUMENTS {
                assert_eq!(call(written, key), expected("f", arguments), "{written}");
            }
        }
    }

    #[test]
    fn missing_arguments_are_an_empty_object() {
        for value in ["{}", "null", "\"\"", "\"  \"", "\"{}\"", "\"null\"", "[]"] {
            for key in ARGUMENTS {
                let written = format!("{{\"name\": \"f\", \"{key}\": {value}}}");
                assert_eq!(call(&written, "arguments"), expected("f", "{}"), "{written}");
            }
        }
        assert_eq!(call("{\"name\": \"f\"}", "arguments"), expected("f", "{}"));
        assert_eq!(call("{\"type\": \"function\", \"function\": {\"name\": \"f\"}}", "arguments"), expected("f", "{}"));
    }

    #[test]
    fn calls_whose_arguments_could_be_lost_are_malformed() {
        for (written, why) in [
            ("{\"name\": \"f\", \"args\": {\"a\": 1}}", "has no \"arguments\" but \"args\""),
            ("{\"name\": \"f\", \"a\": 1}", "has no \"arguments\" but \"a\""),
            ("{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"parameters\": {\"a\": 2}}", "under two keys"),
            ("{\"name\": \"f\", \"arguments\": [1]}", "not an object"),
            ("{\"name\": \"f\", \"arguments\": 3}", "not an object"),
            ("{\"name\": \"f\", \"arguments\": \"a = 1\"}", "not an object"),
            ("{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": \"}", "not an object"),
            ("{\"name\": \"f\", \"parameters\": true}", "not an object"),
            ("{\"name\": \"\", \"arguments\": {}}", "no \"name\""),
            ("{\"name\": 7, \"arguments\": {}}", "no \"name\""),
        ] {
            let pieces = [call(written, "arguments")];
            assert!(reason(&pieces).contains(why), "{written}: {pieces:?}");
        }
    }
}

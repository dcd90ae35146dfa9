//! From a JSON Schema to the form that the library enforces. Each keyword is enforced, known to limit nothing, or refused
//! with its JSON Pointer. Keywords that no draft of JSON Schema defines limit nothing, as the standard says.
//!
//! The rewritten schema contains only the parts that the root reaches. References become `#/$defs/rN`, patterns are
//! translated from ECMA 262, and formats become patterns.

mod formats;
mod keywords;
mod locate;
mod pattern;
mod stack;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use walk::{Rewritten, refuse};

use firebox_contract::limits;
use serde_json::{Value, json};

use crate::error::GrammarError;
use crate::vocabulary::Vocabulary;

/// The form of JSON: up to two spaces between its parts, or a line break with a bounded indentation, because weak models
/// repeat white space as long as they can. And no `\u` escapes, because the library
/// would not recognise the name of a property that is written with them.
fn with_form(mut schema: Value) -> Value {
    let spaces = limits::GRAMMAR_INDENT_CHARACTERS_MAX;
    if let Some(members) = schema.as_object_mut() {
        let form = json!({
            "whitespace_pattern": format!("( {{1,2}}|\\r?\\n[ \\t]{{0,{spaces}}})"),
            "json_allowed_escapes": "nrbtf\\\"",
        });
        members.insert("x-guidance".to_owned(), form);
    }
    schema
}

/// The schema of any JSON object.
pub(crate) fn any_object() -> Value {
    with_form(json!({ "type": "object" }))
}

/// Checks the schema with this text and rewrites it for the library.
///
/// # Errors
/// `NotJson`, and `Schema` with the pointer of the first part that is not supported or exceeds a limit.
pub(crate) fn prepare(text: &str) -> Result<Value, GrammarError> {
    Ok(with_form(rewritten(text)?.document()))
}

/// A schema that is only `part` of a rewritten one, for the library.
pub(crate) fn alone(rewritten: &Rewritten, part: &Value) -> Value {
    with_form(rewritten.alone(part))
}

/// The schema of any JSON value.
pub(crate) fn any_value() -> Value {
    with_form(json!({}))
}

/// Finds the part of the schema with this text that the library refuses.
///
/// # Errors
/// As [`prepare`], with the part that the library refuses.
pub(crate) fn find_refused(text: &str, vocabulary: &Vocabulary) -> Result<(), GrammarError> {
    locate::check(&rewritten(text)?, vocabulary)
}

/// Checks the schema with this text and rewrites its parts.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn rewritten(text: &str) -> Result<Rewritten, GrammarError> {
    let (bytes, limit) = (text.len(), limits::SCHEMA_BYTES_MAX);
    if bytes > limit {
        return Err(refuse("", format!("the schema has {bytes} bytes where {limit} are allowed; make it smaller")));
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| GrammarError::NotJson(error.to_string()))?;
    walk::rewrite(&schema)
}

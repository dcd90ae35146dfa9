//! The keywords of a schema.

use firebox_sdk::Arguments;

/// The largest number of characters or elements.
const COUNT_MAX: u32 = 1_000;

/// Keywords that say nothing about which values are valid.
const NOTES: &[&str] =
    &["$schema", "$id", "$defs", "definitions", "$comment", "title", "description", "default", "examples"];

/// The keywords of each type that are kept.
const OF_TYPES: &[(&str, &[&str])] = &[
    ("string", &["minLength", "maxLength", "format"]),
    ("array", &["items", "minItems", "maxItems"]),
    ("object", &["properties", "required", "additionalProperties"]),
];

/// The keywords that a schema of these types may have.
pub(crate) fn of_types(names: &[String]) -> Vec<&'static str> {
    let of_types = OF_TYPES.iter().filter(|row| names.iter().any(|name| name == row.0));
    of_types.flat_map(|row| row.1.iter().copied()).chain(["type"]).collect()
}

/// # Errors
/// The first keyword that is neither in `known` nor a note.
pub(crate) fn check(schema: &Arguments, known: &[&str]) -> Result<(), String> {
    match schema.members().find(|(name, _)| !known.contains(name) && !NOTES.contains(name)) {
        Some((name, _)) => Err(format!("\"{name}\" is not supported here; leave it out")),
        None => Ok(()),
    }
}

/// A whole number. None if it is missing.
///
/// # Errors
/// It is something else, or too large.
pub(crate) fn count(schema: &Arguments, key: &str) -> Result<Option<u32>, String> {
    let Some(text) = schema.get(key) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number <= COUNT_MAX);
    number.map(Some).ok_or_else(|| format!("\"{key}\" must be a whole number up to {COUNT_MAX}"))
}

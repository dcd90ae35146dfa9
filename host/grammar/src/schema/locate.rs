//! Finds the part of a schema that the library refuses, because its errors name none.

use std::panic::AssertUnwindSafe;

use llguidance::{GrammarBuilder, JsonCompileOptions, panic_utils};
use serde_json::Value;

use super::walk::{Rewritten, refuse};
use crate::error::{GrammarError, first_line};
use crate::vocabulary::Vocabulary;

/// Parts that are tried. The first ones of a deep schema are tried last.
const TRIES_MAX: usize = 200;

/// Checks that the library takes the schema.
///
/// # Errors
/// `Schema` with the innermost part that it refuses for the same reason, or with the root above its limits.
pub(super) fn check(schema: &Rewritten, vocabulary: &Vocabulary) -> Result<(), GrammarError> {
    let Err(whole) = compile(&schema.document(), vocabulary) else { return Ok(()) };
    if ["too big", "too large", "exceeded"].iter().any(|words| whole.contains(words)) {
        return Err(refuse("", format!("{}; make it smaller", first_line(&whole))));
    }
    let mut parts: Vec<&(String, Value)> = schema.parts.iter().filter(|(_, part)| part.is_object()).collect();
    parts.sort_by_key(|(pointer, _)| std::cmp::Reverse(pointer.matches('/').count()));
    let unsatisfiable = |message: &str| message.contains("nsatisfiable");
    for (pointer, part) in parts.into_iter().take(TRIES_MAX) {
        let Err(message) = compile(&schema.alone(part), vocabulary) else { continue };
        if unsatisfiable(&message) == unsatisfiable(&whole) {
            return Err(refuse(pointer, reason(&message)));
        }
    }
    Err(refuse("", reason(&whole)))
}

/// The reason in words of JSON Schema. Options of the library are not offered.
fn reason(message: &str) -> String {
    let line = first_line(message);
    let known = [
        (
            "oneOf constraints are not supported",
            "\"oneOf\" is only supported if its cases exclude each other, by their types or by a required property with different \"const\"; use \"anyOf\"",
        ),
        (
            "circular references with sibling keys",
            "a reference beside other keywords leads back to itself; write the keywords into the definition",
        ),
        ("lookarounds not supported", "\"^\" and \"$\" are only supported at the beginning and the end of a pattern"),
        ("nsatisfiable", "no value fits it"),
    ];
    let found = known.iter().find(|(words, _)| line.contains(words));
    found.map_or(line.clone(), |(words, reason)| match *words {
        "nsatisfiable" => format!("{reason} ({line})"),
        _ => (*reason).to_owned(),
    })
}

fn compile(schema: &Value, vocabulary: &Vocabulary) -> Result<(), String> {
    let factory = vocabulary.factory();
    let work = || {
        let builder = GrammarBuilder::new(Some(factory.tok_env().clone()), factory.limits().clone());
        JsonCompileOptions::default().json_to_llg(builder, schema.clone()).map(drop)
    };
    panic_utils::catch_unwind(AssertUnwindSafe(work)).map_err(|error| error.to_string())
}

//! How many patterns and branches apply to one string at once. The library intersects them, and an intersection of many
//! takes memory that is exponential in their number.

use std::collections::HashMap;

use firebox_contract::limits::GRAMMAR_STACKED_PATTERNS_MAX;
use serde_json::{Map, Value};

/// Checks that no string has more patterns than the limit.
///
/// # Errors
/// The reason, if it has.
pub(super) fn check(part: &Value, definitions: &Map<String, Value>) -> Result<(), String> {
    // Only parts that add patterns to each other can exceed the limit.
    if part.get("allOf").is_none() && part.get("pattern").is_none() {
        return Ok(());
    }
    let stacked = Stack { definitions, known: HashMap::new() }.of(part);
    if stacked > GRAMMAR_STACKED_PATTERNS_MAX {
        let limit = GRAMMAR_STACKED_PATTERNS_MAX;
        return Err(format!("{stacked} patterns and formats apply to one string where {limit} are supported"));
    }
    Ok(())
}

struct Stack<'a> {
    definitions: &'a Map<String, Value>,
    known: HashMap<&'a str, usize>,
}

impl<'a> Stack<'a> {
    /// The most patterns that apply to one value. References within a value end, because endless ones are refused before.
    fn of(&mut self, part: &'a Value) -> usize {
        let Some(members) = part.as_object() else { return 0 };
        let own = usize::from(members.contains_key("pattern"));
        let list = |key: &str| members.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let all: usize = list("allOf").iter().fold(0, |sum, part| sum.saturating_add(self.of(part)));
        let branches = ["anyOf", "oneOf"].iter().fold(0_usize, |sum, key| {
            sum.saturating_add(list(key).iter().map(|part| self.of(part)).max().unwrap_or(0))
        });
        let target = members.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix("#/$defs/"));
        let referred = target.map_or(0, |name| self.definition(name));
        [all, branches, referred].into_iter().fold(own, usize::saturating_add)
    }

    fn definition(&mut self, name: &'a str) -> usize {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let count = self.definitions.get(name).map_or(0, |part| self.of(part));
        self.known.insert(name, count);
        count
    }
}

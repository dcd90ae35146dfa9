//! Pins: the tool list of a server that its operator accepted. A server whose list differs offers no tool, because a changed
//! description can make a model do what nobody asked for.

use std::collections::BTreeMap;

use firebox_contract::limits::MCP_CLIENT_CHANGED_TOOLS_NAMED_MAX;
use firebox_contract::{ToolDefinition, ToolEffects};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::wire::excerpt;

/// Maximum characters of a tool's name in a message.
const NAME_CHARACTERS: usize = 64;

/// A list of tools in canonical form: sorted by name, with schemas whose keys are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolPins {
    tools: Vec<ToolDefinition>,
}

/// One difference between two lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChange {
    /// Only the new list has this tool.
    Added(ToolDefinition),
    /// Only the old list has this tool.
    Removed(ToolDefinition),
    /// Both lists have a tool of this name, and a part of it differs.
    Changed {
        /// The name of the tool.
        tool: String,
        /// Its part, such as `description`.
        part: &'static str,
        /// The old text; empty if there was none.
        before: String,
        /// The new text; empty if there is none.
        after: String,
    },
}

impl ToolPins {
    /// The canonical form of `tools`, which have the names that their server gives them.
    #[must_use]
    pub fn of(tools: &[ToolDefinition]) -> Self {
        let canonical = |tool: &ToolDefinition| ToolDefinition {
            input_schema_json: sorted(&tool.input_schema_json),
            output_schema_json: tool.output_schema_json.as_deref().map(sorted),
            as_sent_json: None,
            ..tool.clone()
        };
        let mut tools: Vec<ToolDefinition> = tools.iter().map(canonical).collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Self { tools }
    }

    /// The tools, sorted by name.
    #[must_use]
    pub fn tools(&self) -> &[ToolDefinition] {
        &self.tools
    }

    /// SHA-256 of the list, in hex: of a JSON array with an object for each tool, whose keys are sorted, without white space.
    #[must_use]
    pub fn digest(&self) -> String {
        let list: Value = self.tools.iter().map(object).collect();
        Sha256::digest(list.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What `now` has in another way than this list, by the names of the tools.
    #[must_use]
    pub fn changes(&self, now: &Self) -> Vec<ToolChange> {
        let named = |pins: &Self| -> BTreeMap<String, ToolDefinition> {
            pins.tools.iter().map(|tool| (tool.name.clone(), tool.clone())).collect()
        };
        let (before, mut after) = (named(self), named(now));
        let mut changes = Vec::new();
        for (name, tool) in before {
            match after.remove(&name) {
                None => changes.push(ToolChange::Removed(tool)),
                Some(fresh) => changes.extend(parts(&tool, &fresh)),
            }
        }
        changes.extend(after.into_values().map(ToolChange::Added));
        changes
    }

    /// One line about the first changes from this list to `now`; `None` if there is none.
    pub(super) fn summary(&self, now: &Self) -> Option<String> {
        let changes = self.changes(now);
        if changes.is_empty() {
            return None;
        }
        let name = |tool: &str| excerpt(tool, NAME_CHARACTERS);
        let told = |change: &ToolChange| match change {
            ToolChange::Added(tool) => format!("\"{}\" is new", name(&tool.name)),
            ToolChange::Removed(tool) => format!("\"{}\" is gone", name(&tool.name)),
            ToolChange::Changed { tool, part, .. } => format!("\"{}\" has another {part}", name(tool)),
        };
        let mut words: Vec<String> = changes.iter().take(MCP_CLIENT_CHANGED_TOOLS_NAMED_MAX).map(told).collect();
        if changes.len() > MCP_CLIENT_CHANGED_TOOLS_NAMED_MAX {
            words.push(format!("and {} changes more", changes.len() - MCP_CLIENT_CHANGED_TOOLS_NAMED_MAX));
        }
        Some(words.join(", "))
    }
}

/// The names of the effects that a tool declares.
#[must_use]
pub fn effect_names(effects: ToolEffects) -> Vec<&'static str> {
    let ToolEffects { read_only, destructive, idempotent, open_world } = effects;
    let rows = [
        (read_only, "read-only"),
        (destructive, "destructive"),
        (idempotent, "idempotent"),
        (open_world, "open-world"),
    ];
    rows.into_iter().filter(|row| row.0).map(|row| row.1).collect()
}

/// The differing parts of two tools with one name.
fn parts(before: &ToolDefinition, after: &ToolDefinition) -> Vec<ToolChange> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let effects = |tool: &ToolDefinition| effect_names(tool.effects).join(", ");
    let rows = [
        ("title", text(&before.title), text(&after.title)),
        ("description", before.description.clone(), after.description.clone()),
        ("input schema", before.input_schema_json.clone(), after.input_schema_json.clone()),
        ("output schema", text(&before.output_schema_json), text(&after.output_schema_json)),
        ("annotations", effects(before), effects(after)),
    ];
    let changed = rows.into_iter().filter(|row| row.1 != row.2);
    changed
        .map(|(part, old, new)| ToolChange::Changed { tool: before.name.clone(), part, before: old, after: new })
        .collect()
}

/// A tool as the digest covers it. Absent texts are the empty text, as in [`parts`].
fn object(tool: &ToolDefinition) -> Value {
    sort(json!({
        "annotations": effect_names(tool.effects),
        "description": tool.description,
        "inputSchema": tool.input_schema_json,
        "name": tool.name,
        "outputSchema": tool.output_schema_json.as_deref().unwrap_or_default(),
        "title": tool.title.as_deref().unwrap_or_default(),
    }))
}

/// The JSON `text` with sorted keys; text that is not JSON stays as it is.
fn sorted(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |value| sort(value).to_string())
}

/// `value` with the keys of all objects in order. Its depth is limited by the reader of JSON.
fn sort(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sort).collect(),
        Value::Object(object) => {
            let ordered: BTreeMap<String, Value> = object.into_iter().collect();
            ordered.into_iter().map(|(key, value)| (key, sort(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str, schema: &str) -> ToolDefinition {
        ToolDefinition {
            name: name.to_owned(),
            description: description.to_owned(),
            title: None,
            input_schema_json: schema.to_owned(),
            output_schema_json: None,
            as_sent_json: None,
            effects: ToolEffects::default(),
        }
    }

    #[test]
    fn the_order_of_tools_and_keys_does_not_count() {
        let (a, b) = (tool("a", "A.", r#"{"type":"object","x":{"b":1,"a":[{"d":1,"c":2}]}}"#), tool("b", "B.", "{}"));
        let same = tool("a", "A.", r#"{ "x": {"a": [{"c":2, "d":1}], "b":1}, "type": "object" }"#);
        let (one, other) = (ToolPins::of(&[a.clone(), b.clone()]), ToolPins::of(&[b, same]));
        assert_eq!(one, other);
        assert_eq!(one.digest(), other.digest());
        assert_eq!(one.digest().len(), 64);
        assert_eq!(one.summary(&other), None);
        // Lists keep their order, which has a meaning.
        let turned = tool("a", "A.", r#"{"enum":[2,1]}"#);
        assert_ne!(ToolPins::of(&[tool("a", "A.", r#"{"enum":[1,2]}"#)]), ToolPins::of(&[turned]));
    }

    #[test]
    fn every_part_of_a_tool_is_covered() {
        let before = tool("a", "A.", "{}");
        let effects = ToolEffects { read_only: true, ..ToolEffects::default() };
        let rows = [
            ("title", ToolDefinition { title: Some("T".to_owned()), ..before.clone() }),
            ("description", ToolDefinition { description: "B.".to_owned(), ..before.clone() }),
            ("input schema", ToolDefinition { input_schema_json: "{\"a\":1}".to_owned(), ..before.clone() }),
            ("output schema", ToolDefinition { output_schema_json: Some("{}".to_owned()), ..before.clone() }),
            ("annotations", ToolDefinition { effects, ..before.clone() }),
        ];
        let old = ToolPins::of(std::slice::from_ref(&before));
        for (expected, after) in rows {
            let new = ToolPins::of(&[after]);
            assert_ne!(old.digest(), new.digest(), "{expected}");
            let changes = old.changes(&new);
            assert!(
                matches!(changes.as_slice(), [ToolChange::Changed { part, .. }] if *part == expected),
                "{changes:?}"
            );
        }
    }

    #[test]
    fn a_summary_names_the_changes_and_no_control_characters() {
        let old = ToolPins::of(&[tool("gone", "", "{}"), tool("same", "old", "{}")]);
        let new = ToolPins::of(&[tool("same", "new", "{}"), tool("new\u{1b}[2J", "", "{}")]);
        let text = old.summary(&new).expect("changes");
        assert!(text.starts_with("\"gone\" is gone, \"same\" has another description, \"new"), "{text}");
        assert!(!text.chars().any(char::is_control), "{text}");
        let many: Vec<ToolDefinition> = (0..50).map(|number| tool(&number.to_string(), "", "{}")).collect();
        let text = ToolPins::default().summary(&ToolPins::of(&many)).expect("changes");
        assert!(text.ends_with(&format!("and {} changes more", 50 - MCP_CLIENT_CHANGED_TOOLS_NAMED_MAX)), "{text}");
    }
}

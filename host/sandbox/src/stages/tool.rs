//! The tool stage: functions that plugins offer to the model.

mod v1;

use std::collections::HashSet;

use firebox_contract::limits;
use firebox_contract::{Error, Stage, ToolCall, ToolContent, ToolDefinition, ToolOutcome};
use wasmtime::Store;

use super::{GuestFuture, Returned, Version, absent};
use crate::error::SandboxError;
use crate::guest::GuestData;
use crate::instance::Instance;

/// What a plugin of this stage answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) content: Vec<ToolContent>,
    pub(crate) is_error: bool,
}

impl Returned for Outcome {
    fn bytes(&self) -> usize {
        let bytes = |content: &ToolContent| match content {
            ToolContent::Text(text) | ToolContent::Json(text) => text.len(),
            ToolContent::Media { mime, data } => mime.len() + data.len(),
        };
        self.content.iter().map(|content| size_of_val(content) + bytes(content)).sum()
    }
}

impl Returned for Vec<ToolDefinition> {
    fn bytes(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = |tool: &ToolDefinition| {
            tool.name.len()
                + tool.description.len()
                + tool.input_schema_json.len()
                + optional(&tool.title)
                + optional(&tool.output_schema_json)
        };
        self.iter().map(|tool| size_of_val(tool) + bytes(tool)).sum()
    }
}

/// The functions of `tool`, whatever its version.
pub(crate) trait ToolCalls: Send + Sync {
    /// The tools it offers.
    fn definitions<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, Vec<ToolDefinition>>;
    /// Runs one of them.
    fn call<'a>(&'a self, store: &'a mut Store<GuestData>, call: ToolCall) -> GuestFuture<'a, Outcome>;
}

/// Newest first.
pub(crate) const VERSIONS: &[Version<dyn ToolCalls>] = &[Version { interface: v1::INTERFACE, find: v1::find }];

/// Asks `instance` for its tools.
///
/// # Errors
/// The fault, or `SandboxError::Tool` for a definition that cannot be offered to a model.
pub(crate) async fn definitions(instance: &Instance) -> Result<Vec<ToolDefinition>, SandboxError> {
    let asked = instance.call(Stage::Tool, |calls, store| match &calls.tool {
        Some(tool) => tool.definitions(store),
        None => absent(),
    });
    let (definitions, _) = asked.await?;
    check(instance.name(), &definitions)?;
    Ok(definitions)
}

/// Runs `call` in `instance`.
///
/// # Errors
/// The fault; or none, where the operator lets faults be skipped, and then the model is told.
pub(crate) async fn call(instance: &Instance, call: &ToolCall) -> Result<ToolOutcome, Error> {
    let theirs = call.clone();
    let answered = instance.attempt(Stage::Tool, |calls, store| match &calls.tool {
        Some(tool) => tool.call(store, theirs),
        None => absent(),
    });
    let (blocks, is_error, spent) = match answered.await? {
        Ok((outcome, spent)) => (outcome.content, outcome.is_error, spent),
        Err(spent) => {
            let text = format!("tool \"{}\" is not available", call.name);
            (vec![ToolContent::Text(text)], true, spent)
        }
    };
    Ok(ToolOutcome {
        content: as_text(&blocks),
        blocks: if blocks.iter().all(|block| matches!(block, ToolContent::Text(_))) { Vec::new() } else { blocks },
        is_error,
        provider: instance.name().to_owned(),
        fuel: spent.fuel,
        memory_peak_bytes: spent.memory_peak_bytes,
        elapsed: spent.elapsed,
    })
}

fn as_text(content: &[ToolContent]) -> String {
    let piece = |content: &ToolContent| match content {
        ToolContent::Text(text) | ToolContent::Json(text) => text.clone(),
        ToolContent::Media { mime, data } => format!("[{mime}, {} bytes, not shown]", data.len()),
    };
    content.iter().map(piece).collect::<Vec<_>>().join("\n")
}

fn check(plugin: &str, definitions: &[ToolDefinition]) -> Result<(), SandboxError> {
    let mut seen = HashSet::new();
    for definition in definitions {
        let name = definition.name.as_str();
        let wrong = |reason: &str| SandboxError::Tool {
            plugin: plugin.to_owned(),
            tool: crate::log::cut(name, limits::TOOL_NAME_BYTES_MAX).to_owned(),
            reason: reason.to_owned(),
        };
        if name.is_empty() || name.len() > limits::TOOL_NAME_BYTES_MAX {
            return Err(wrong(&format!("has no name of 1 to {} bytes", limits::TOOL_NAME_BYTES_MAX)));
        }
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Err(wrong("has a name with other than letters, digits, '_', '-' and '.'"));
        }
        if !seen.insert(name) {
            return Err(wrong("is defined twice"));
        }
        let schema = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&definition.input_schema_json);
        if let Err(error) = schema {
            return Err(wrong(&format!("has an input schema that is not one JSON object: {error}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use firebox_contract::ToolEffects;

    use super::*;

    fn tool(name: &str, schema: &str) -> ToolDefinition {
        ToolDefinition {
            name: name.to_owned(),
            title: None,
            output_schema_json: None,
            description: String::new(),
            input_schema_json: schema.to_owned(),
            effects: ToolEffects::default(),
        }
    }

    #[test]
    fn a_definition_that_no_model_could_use_is_named() {
        assert!(check("p", &[tool("add", "{\"type\": \"object\"}"), tool("sub", "{}")]).is_ok());
        let bad: [(&[ToolDefinition], &str); 5] = [
            (&[tool("", "{}")], "no name"),
            (&[tool(&"x".repeat(200), "{}")], "no name"),
            (&[tool("rm -rf", "{}")], "other than letters"),
            (&[tool("add", "{}"), tool("add", "{}")], "\"add\" that is defined twice"),
            (&[tool("add", "[]")], "input schema"),
        ];
        for (definitions, expected) in bad {
            let error = check("p", definitions).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn media_becomes_a_placeholder() {
        let content = vec![
            ToolContent::Text("seen:".to_owned()),
            ToolContent::Media { mime: "image/png".to_owned(), data: vec![1, 2, 3].into() },
            ToolContent::Json("{\"a\":1}".to_owned()),
        ];
        assert_eq!(as_text(&content), "seen:\n[image/png, 3 bytes, not shown]\n{\"a\":1}");
    }
}

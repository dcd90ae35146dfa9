//! The tool stage: functions that plugins offer to the model.

mod definition;
mod v1;

use firebox_contract::{Error, Stage, ToolCall, ToolContent, ToolDefinition, ToolOutcome};
use wasmtime::Store;

use self::definition::check;
use super::{GuestFuture, Returned, Version, absent};
use crate::error::SandboxError;
use crate::guest::GuestData;
use crate::instance::Instance;
use crate::sandbox::ToolCheck;

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
pub(crate) async fn definitions(instance: &Instance, suits: ToolCheck) -> Result<Vec<ToolDefinition>, SandboxError> {
    let asked = instance.call(Stage::Tool, |calls, store| match &calls.tool {
        Some(tool) => tool.definitions(store),
        None => absent(),
    });
    let (definitions, _) = asked.await?;
    check(instance.name(), &definitions, suits)?;
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

#[cfg(test)]
mod tests {
    use super::*;

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

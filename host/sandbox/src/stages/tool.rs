//! The tool stage: functions that plugins offer to the model.

mod definition;
pub(crate) mod functions;
mod v1;

use firebox_contract::{BoxFuture, Error, Stage, ToolCall, ToolContent, ToolDefinition, ToolHook, ToolOutcome};
use wasmtime::Store;

use self::definition::check;
use super::{GuestFuture, GuestReturn, StageVersion, stage_missing};
use crate::chain::BoundChain;
use crate::error::SandboxError;
use crate::instance::Instance;
use crate::instance::guest::GuestData;
use crate::sandbox::ToolCheck;

/// The answer of a plugin's tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestToolOutcome {
    pub(crate) content: Vec<ToolContent>,
    pub(crate) is_error: bool,
}

impl GuestReturn for GuestToolOutcome {
    fn bytes(&self) -> usize {
        let bytes = |content: &ToolContent| match content {
            ToolContent::Text(text) | ToolContent::Json(text) => text.len(),
            ToolContent::Media { mime, data } => mime.len() + data.len(),
        };
        self.content.iter().map(|content| size_of_val(content) + bytes(content)).sum()
    }

    fn each_text(&self, see: &mut dyn FnMut(&[u8])) {
        for content in &self.content {
            match content {
                ToolContent::Text(text) | ToolContent::Json(text) => see(text.as_bytes()),
                ToolContent::Media { mime, data } => {
                    see(mime.as_bytes());
                    see(data);
                }
            }
        }
    }
}

impl GuestReturn for Vec<ToolDefinition> {
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

/// The functions of the interface `tool`, in any version.
pub(crate) trait ToolCalls: Send + Sync {
    /// The tools that the plugin offers.
    fn definitions<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, Vec<ToolDefinition>>;
    /// Runs one tool.
    fn call<'a>(&'a self, store: &'a mut Store<GuestData>, call: ToolCall) -> GuestFuture<'a, GuestToolOutcome>;
}

/// The supported versions, newest first.
pub(crate) const VERSIONS: &[StageVersion<dyn ToolCalls>] =
    &[StageVersion { interface: v1::INTERFACE, find: v1::find }];

impl ToolHook for BoundChain {
    fn definitions(&self) -> &[ToolDefinition] {
        self.tools()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(self.call_tool(call))
    }
}

/// Asks `instance` for its tools, and checks each with `extra`, too.
///
/// # Errors
/// The fault, or `SandboxError::Tool` for a definition that cannot be offered to a model.
pub(crate) async fn definitions(instance: &Instance, extra: ToolCheck) -> Result<Vec<ToolDefinition>, SandboxError> {
    let asked = instance.call(Stage::Tool, |calls, store| match &calls.tool {
        Some(tool) => tool.definitions(store),
        None => stage_missing(),
    });
    let (definitions, _) = asked.await?;
    check(instance.name(), &definitions, extra)?;
    Ok(definitions)
}

/// Runs `call` in `instance`.
///
/// # Errors
/// The fault. If the operator lets faults of this plugin be skipped, there is no error: the outcome tells the model that
/// the tool is not available.
pub(crate) async fn call(instance: &Instance, call: &ToolCall) -> Result<ToolOutcome, Error> {
    let input = call.clone();
    let answered = instance.attempt(Stage::Tool, |calls, store| match &calls.tool {
        Some(tool) => tool.call(store, input),
        None => stage_missing(),
    });
    let (blocks, is_error, usage) = match answered.await? {
        Ok((outcome, usage)) => (outcome.content, outcome.is_error, usage),
        Err(usage) => {
            let text = format!("tool \"{}\" is not available", call.name);
            (vec![ToolContent::Text(text)], true, usage)
        }
    };
    let text = ToolOutcome::ok(instance.name(), as_text(&blocks));
    Ok(ToolOutcome {
        blocks: if blocks.iter().all(|block| matches!(block, ToolContent::Text(_))) { Vec::new() } else { blocks },
        is_error,
        fuel: usage.fuel,
        memory_peak_bytes: usage.memory_peak_bytes,
        elapsed: usage.elapsed,
        ..text
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
    fn media_is_shown_to_the_model_as_a_placeholder() {
        let content = vec![
            ToolContent::Text("seen:".to_owned()),
            ToolContent::Media { mime: "image/png".to_owned(), data: vec![1, 2, 3].into() },
            ToolContent::Json("{\"a\":1}".to_owned()),
        ];
        assert_eq!(as_text(&content), "seen:\n[image/png, 3 bytes, not shown]\n{\"a\":1}");
    }
}

//! The tools of a chain, and the plugin that provides each.

use std::collections::HashMap;
use std::sync::Arc;

use firebox_contract::{Error, ToolCall, ToolDefinition, limits};

use crate::error::SandboxError;
use crate::plugin::Plugin;

/// The tools of a chain.
#[derive(Debug, Default)]
pub(super) struct ToolIndex {
    definitions: Vec<ToolDefinition>,
    /// The index in the chain of the plugin that provides a tool, by the tool's name.
    providers: HashMap<String, usize>,
}

impl ToolIndex {
    /// The tools of `plugins`, in chain order.
    ///
    /// # Errors
    /// `SandboxError` if there are too many tools, or if two plugins offer a tool of the same name.
    pub(super) fn new(plugins: &[Arc<Plugin>]) -> Result<Self, SandboxError> {
        let count: usize = plugins.iter().map(|plugin| plugin.tools().len()).sum();
        if count > limits::TOOLS_MAX {
            let limit = limits::TOOLS_MAX;
            return Err(SandboxError::Chain(format!("the chain offers {count} tools; at most {limit} are allowed")));
        }
        let mut index = Self::default();
        for (provider, plugin) in plugins.iter().enumerate() {
            for tool in plugin.tools() {
                if let Some(first) = index.provider(&tool.name).and_then(|first| plugins.get(first)) {
                    return Err(SandboxError::DuplicateTool {
                        tool: tool.name.clone(),
                        first: first.name().to_owned(),
                        second: plugin.name().to_owned(),
                    });
                }
                index.definitions.push(tool.clone());
                index.providers.insert(tool.name.clone(), provider);
            }
        }
        Ok(index)
    }

    /// The tools, in chain order.
    pub(super) fn definitions(&self) -> &[ToolDefinition] {
        &self.definitions
    }

    /// The index in the chain of the plugin that provides `tool`.
    pub(super) fn provider(&self, tool: &str) -> Option<usize> {
        self.providers.get(tool).copied()
    }
}

/// # Errors
/// `Error::TooLarge` if the arguments of `call` are too long.
pub(super) fn check_arguments(call: &ToolCall) -> Result<(), Error> {
    let (bytes, limit) = (call.arguments_json.len(), limits::TOOL_ARGUMENTS_BYTES_MAX);
    if bytes <= limit {
        return Ok(());
    }
    let name = &call.name;
    Err(Error::TooLarge(format!(
        "the arguments of tool \"{name}\" have {bytes} bytes; at most {limit} are allowed; pass less"
    )))
}

//! One tool call outside a request: in a new instance of the plugin that offers the tool, dropped when the call ends.

use std::sync::Arc;

use firebox_contract::{Error, LogLine, PluginUse, Progress, ToolCall, ToolOutcome};

use super::PluginChain;
use super::tool_index::check_arguments;

/// The result of a call, and what the call used.
#[derive(Debug)]
pub struct ToolRun {
    /// The tool's answer, or the fault. `Error::Limited` or `Error::Unavailable` if the pool had no room for an instance.
    pub outcome: Result<ToolOutcome, Error>,
    /// What the plugin used, including the start of its instance.
    pub uses: Vec<PluginUse>,
    /// The lines that the plugin logged.
    pub log: Vec<LogLine>,
}

impl PluginChain {
    /// Runs one call in a new instance, without the rest of the chain. The tool's progress reports go to `progress`.
    ///
    /// # Errors
    /// `Error::NotFound` if no plugin of the chain offers the tool, `Error::TooLarge` if the arguments are too long. A
    /// fault of the call itself is part of the returned `ToolRun`.
    pub async fn call_tool(&self, call: &ToolCall, progress: &dyn Progress) -> Result<ToolRun, Error> {
        let provider = self.tools.provider(&call.name).and_then(|index| self.plugins.get(index));
        let plugin = provider.ok_or_else(|| Error::NotFound(format!("no plugin offers a tool \"{}\"", call.name)))?;
        check_arguments(call)?;
        let plugin = self.per_call(plugin, Arc::from("call"));
        let outcome = plugin.call(call, Some(progress)).await;
        Ok(ToolRun { outcome, uses: plugin.records().uses(), log: plugin.records().take_log(plugin.name()) })
    }
}

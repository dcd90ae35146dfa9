//! One tool call outside a request: a fresh instance of the one plugin that offers the tool, gone when the call ends.

use std::sync::Arc;

use firebox_contract::{Error, LogLine, PluginUse, Progress, ToolCall, ToolOutcome};

use super::{PluginChain, check_size};

/// How a call ended and what it used, whichever way it ended.
#[derive(Debug)]
pub struct ToolRun {
    /// The tool's answer, or the fault; `Error::Limited` or `Error::Unavailable` if there was no room for an instance.
    pub outcome: Result<ToolOutcome, Error>,
    /// What the plugin used, its start included.
    pub uses: Vec<PluginUse>,
    /// What it logged.
    pub log: Vec<LogLine>,
}

impl PluginChain {
    /// Runs one call in an instance of its own, without the rest of the chain. `progress` hears what the tool reports.
    ///
    /// # Errors
    /// `Error::NotFound` if no plugin here offers the tool, `Error::TooLarge` for its arguments. How the call itself ended
    /// is part of the run.
    pub async fn call_tool(&self, call: &ToolCall, progress: &dyn Progress) -> Result<ToolRun, Error> {
        let owner = self.offer.owner(&call.name).and_then(|place| self.plugins.get(place));
        let plugin = owner.ok_or_else(|| Error::NotFound(format!("no plugin offers a tool \"{}\"", call.name)))?;
        check_size(call)?;
        let plugin = self.at_call(plugin, Arc::from("call"));
        let outcome = plugin.call(call, Some(progress)).await;
        Ok(ToolRun { outcome, uses: plugin.records().uses(), log: plugin.records().take_log(plugin.name()) })
    }
}

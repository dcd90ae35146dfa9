//! One tool call outside a request: in a new instance of the plugin that offers the tool, dropped when the call ends.

use std::sync::Arc;

use firebox_contract::{
    CallVerdict, Error, Hooks, LogLine, PluginUse, Progress, RequestInfo, Stage, ToolCall, ToolCallHook, ToolOutcome,
};

use super::PluginChain;
use super::bound::BoundChain;
use super::per_call::PerCallPlugin;
use super::tool_index::check_arguments;

/// The result of a call, and what the call used.
#[derive(Debug)]
pub struct ToolRun {
    /// The tool's answer, or the fault. `Error::Limited` or `Error::Unavailable` if the pool had no room for an instance.
    pub outcome: Result<ToolOutcome, Error>,
    /// What the plugins used, including the start of their instances.
    pub uses: Vec<PluginUse>,
    /// The lines that the plugins logged.
    pub log: Vec<LogLine>,
}

impl PluginChain {
    /// Runs one call in a new instance, between the tool call stages of the chain. The tool's progress reports go to `progress`.
    ///
    /// # Errors
    /// `Error::NotFound` if no plugin of the chain offers the tool, `Error::TooLarge` if the arguments are too long. A
    /// fault of the call itself is part of the returned `ToolRun`.
    pub async fn call_tool(&self, call: &ToolCall, progress: &dyn Progress) -> Result<ToolRun, Error> {
        let provider = self.tools.provider(&call.name).and_then(|index| self.plugins.get(index));
        let plugin = provider.ok_or_else(|| Error::NotFound(format!("no plugin offers a tool \"{}\"", call.name)))?;
        check_arguments(call)?;
        let plugin = self.per_call(plugin, Arc::from("call"), self.own_model.clone());
        let Some(guards) = self.only(Stage::ToolCall) else {
            return Ok(ToolRun::of(plugin.call(call, Some(progress)).await, &plugin, None));
        };
        let info = RequestInfo::new("call", "");
        Ok(match BoundChain::start(&guards, info, Arc::new(|_| false)).await {
            Ok(guards) => ToolRun::of(guarded(&guards, &plugin, call, progress).await, &plugin, Some(&guards)),
            Err(error) => ToolRun::of(Err(error), &plugin, None),
        })
    }
}

/// Runs `call` as `guards` let it.
async fn guarded(
    guards: &BoundChain,
    plugin: &PerCallPlugin,
    call: &ToolCall,
    progress: &dyn Progress,
) -> Result<ToolOutcome, Error> {
    let call = match guards.before_call(call).await? {
        CallVerdict::Run(None) => call.clone(),
        CallVerdict::Run(Some(arguments_json)) => ToolCall { arguments_json, ..call.clone() },
        CallVerdict::Refuse { plugin, message } => {
            let reason = format!("plugin \"{plugin}\" refused the call: {message}");
            return Ok(ToolOutcome::refused(plugin, &reason));
        }
    };
    let outcome = plugin.call(&call, Some(progress)).await?;
    guards.after_call(&call, outcome).await
}

impl ToolRun {
    fn of(outcome: Result<ToolOutcome, Error>, plugin: &PerCallPlugin, guards: Option<&BoundChain>) -> Self {
        let mut uses = plugin.records().uses();
        let mut log = plugin.records().take_log(plugin.name());
        if let Some(guards) = guards {
            uses.extend(guards.usage());
            log.extend(guards.take_log());
        }
        Self { outcome, uses, log }
    }
}

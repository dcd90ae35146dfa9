//! One tool call outside a request: a fresh instance of the one plugin that offers the tool, gone when the call ends.

use std::pin::pin;
use std::sync::Arc;

use firebox_contract::{Error, LogLine, PluginUse, Progress, ToolCall, ToolOutcome, limits};

use super::{PluginChain, check_size};
use crate::instance::Instance;
use crate::plugin::OnFault;
use crate::progress;
use crate::stages::tool;

/// How a call ended and what it used, whichever way it ended.
#[derive(Debug)]
pub struct ToolRun {
    /// The tool's answer, or the fault.
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
    /// `Error::NotFound` if no plugin here offers the tool, `Error::TooLarge` for its arguments, `Error::Limited` if
    /// no instance became free. A fault is part of the run.
    pub async fn call_tool(&self, call: &ToolCall, progress: &dyn Progress) -> Result<ToolRun, Error> {
        let owner = self.offer.owner(&call.name).and_then(|place| self.plugins.get(place));
        let plugin = owner.ok_or_else(|| Error::NotFound(format!("no plugin offers a tool \"{}\"", call.name)))?;
        check_size(call)?;
        let blueprint = &plugin.blueprint;
        let room = blueprint.runtime.room(blueprint.slots, limits::PLUGIN_POOL_WAIT).await?;
        let limits = plugin.limits().least(self.caller);
        let (mut instance, started) = Instance::start(Arc::clone(blueprint), limits, self.account.clone(), room).await;
        let outcome = match started {
            Err(fault) if plugin.on_fault() == OnFault::Fail => Err(fault.into()),
            Err(fault) => {
                instance.log_skip(&fault);
                tool::call(&instance, call).await
            }
            Ok(()) => listen(&mut instance, call, progress).await,
        };
        Ok(ToolRun { outcome, uses: instance.uses(), log: instance.take_log() })
    }
}

/// Runs the call and passes on its reports as they come: the guest gives way at every tick of the clock.
async fn listen(instance: &mut Instance, call: &ToolCall, progress: &dyn Progress) -> Result<ToolOutcome, Error> {
    let (sender, mut reports) = progress::channel();
    instance.report_to(sender);
    let outcome = {
        let mut running = pin!(tool::call(instance, call));
        loop {
            tokio::select! {
                outcome = &mut running => break outcome,
                Some(report) = reports.recv() => report.tell(progress),
            }
        }
    };
    while let Ok(report) = reports.try_recv() {
        report.tell(progress);
    }
    outcome
}

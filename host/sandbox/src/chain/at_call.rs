//! A plugin of the tool stage alone: each call has an instance of its own, which is gone when the call ends.

use std::pin::pin;
use std::sync::Arc;

use firebox_contract::{Error, Progress, ToolCall, ToolOutcome, limits};
use tokio::sync::Mutex as Turnstile;

use crate::account::Account;
use crate::error::SandboxError;
use crate::instance::{Instance, Terms};
use crate::plugin::{OnFault, Plugin, PluginLimits};
use crate::progress;
use crate::records::Records;
use crate::stages::tool;

/// The plugin, and what one request keeps of it.
pub(crate) struct AtCall {
    plugin: Arc<Plugin>,
    limits: PluginLimits,
    account: Option<Arc<Account>>,
    request: Arc<str>,
    records: Records,
    /// Calls wait for each other, so that a request holds one instance of a plugin and no more.
    turn: Turnstile<()>,
}

impl AtCall {
    /// `plugin` in the request `request`, where `account` pays.
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        limits: PluginLimits,
        account: Option<Arc<Account>>,
        request: Arc<str>,
    ) -> Self {
        Self { plugin, limits, account, request, records: Records::default(), turn: Turnstile::default() }
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        self.plugin.name()
    }

    /// What its request keeps of it.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Runs one call. `progress` hears what the tool reports.
    ///
    /// # Errors
    /// The fault, unless it is to be skipped, and then the model is told; `Error::Limited` or `Error::Unavailable` if there
    /// was no room for an instance.
    pub(crate) async fn call(&self, call: &ToolCall, progress: Option<&dyn Progress>) -> Result<ToolOutcome, Error> {
        let _turn = self.turn.lock().await;
        let blueprint = &self.plugin.blueprint;
        let owner = self.account.as_ref().map(|account| account.id());
        let room = blueprint.runtime.pool.take_one(owner, blueprint.need(), limits::PLUGIN_POOL_WAIT).await?;
        let terms = Terms {
            limits: self.limits,
            account: self.account.clone(),
            room,
            records: self.records.clone(),
            request: Arc::from(format!("{} {}", self.request, call.id)),
        };
        let (mut instance, started) = Instance::start(Arc::clone(blueprint), terms).await;
        match started {
            Ok(()) => {}
            Err(SandboxError::Fault(fault)) if self.plugin.on_fault() == OnFault::Skip => self.records.log_skip(&fault),
            Err(error) => return Err(error.into()),
        }
        match progress {
            Some(progress) => listen(&mut instance, call, progress).await,
            None => tool::call(&instance, call).await,
        }
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

//! A plugin with the tool stage only: each call has a new instance, which is dropped when the call ends.

use std::pin::pin;
use std::sync::Arc;

use firebox_contract::{Error, ModelHandle, Progress, ToolCall, ToolOutcome, limits};
use tokio::sync::Mutex as AsyncMutex;

use crate::background::CpuBudget;
use crate::error::SandboxError;
use crate::instance::progress;
use crate::instance::records::Records;
use crate::instance::{Instance, InstanceOptions};
use crate::plugin::grants::TenantGrants;
use crate::plugin::{Plugin, PluginLimits};
use crate::stages::tool;

/// The plugin in one request.
pub(crate) struct PerCallPlugin {
    plugin: Arc<Plugin>,
    limits: PluginLimits,
    budget: Option<Arc<CpuBudget>>,
    grants: Arc<TenantGrants>,
    request: Arc<str>,
    own_model: ModelHandle,
    records: Records,
    /// Held by the call that runs. Calls wait for each other, so that a request holds at most one instance of a plugin.
    running: AsyncMutex<()>,
}

impl PerCallPlugin {
    /// `plugin` in the request with this id and model. Its calls are charged to `budget`.
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        limits: PluginLimits,
        budget: Option<Arc<CpuBudget>>,
        grants: Arc<TenantGrants>,
        (request, own_model): (Arc<str>, ModelHandle),
    ) -> Self {
        let (records, running) = (Records::default(), AsyncMutex::default());
        Self { plugin, limits, budget, grants, request, own_model, records, running }
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        self.plugin.name()
    }

    /// What the calls used and logged.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Runs one call. The tool's progress reports go to `progress`.
    ///
    /// # Errors
    /// The fault, unless faults of this plugin are skipped; then the outcome tells the model. `Error::Limited` or
    /// `Error::Unavailable` if the pool has no room for an instance.
    pub(crate) async fn call(&self, call: &ToolCall, progress: Option<&dyn Progress>) -> Result<ToolOutcome, Error> {
        let _running = self.running.lock().await;
        let blueprint = &self.plugin.blueprint;
        let tenant = self.budget.as_ref().map(|budget| budget.id());
        let permit = blueprint.runtime.pool.take_one(tenant, blueprint.need(), limits::PLUGIN_POOL_WAIT).await?;
        let options = InstanceOptions {
            limits: self.limits,
            budget: self.budget.clone(),
            permit,
            records: self.records.clone(),
            tenant: Arc::clone(&self.grants),
            request: Arc::from(format!("{} {}", self.request, call.id)),
            own_model: self.own_model.clone(),
        };
        let (mut instance, started) = Instance::start(Arc::clone(blueprint), options).await;
        match started {
            Ok(()) => {}
            Err(SandboxError::Fault(fault)) if blueprint.policy.skips(&fault.cause) => self.records.log_skip(&fault),
            Err(error) => return Err(error.into()),
        }
        match progress {
            Some(progress) => listen(&mut instance, call, progress).await,
            None => tool::call(&instance, call).await,
        }
    }
}

/// Runs the call and forwards its progress reports while it runs. The guest yields at each epoch tick, so reports do not
/// wait for the end of the call.
async fn listen(instance: &mut Instance, call: &ToolCall, progress: &dyn Progress) -> Result<ToolOutcome, Error> {
    let (sender, mut reports) = progress::channel();
    instance.report_to(sender);
    let outcome = {
        let mut running = pin!(tool::call(instance, call));
        loop {
            tokio::select! {
                outcome = &mut running => break outcome,
                Some(report) = reports.recv() => report.send_to(progress),
            }
        }
    };
    while let Ok(report) = reports.try_recv() {
        report.send_to(progress);
    }
    outcome
}

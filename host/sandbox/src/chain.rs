//! Plugin chains: the ordered plugins of one caller, and what a request gets when it binds a chain.

mod bound;
mod per_call;
mod tool_index;
mod tool_run;

use std::sync::Arc;

use firebox_contract::limits;
use firebox_contract::{BoxFuture, Caller, Error, HookSource, Hooks, ModelHandle, RequestInfo, Stage, ToolDefinition};

pub(crate) use self::bound::BoundChain;
use self::per_call::PerCallPlugin;
use self::tool_index::ToolIndex;
pub use self::tool_run::ToolRun;
use crate::background::CpuBudget;
use crate::error::SandboxError;
use crate::instance::pool::Tenant;
use crate::plugin::grants::TenantGrants;
use crate::plugin::{Plugin, PluginLimits};

/// Whether the caller still has the tool with this name.
pub type OfferCheck = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Plugins in the order in which a request meets them.
#[derive(Debug, Clone)]
pub struct PluginChain {
    plugins: Vec<Arc<Plugin>>,
    tools: Arc<ToolIndex>,
    /// The limits of the caller, for every call.
    caller: PluginLimits,
    budget: Option<Arc<CpuBudget>>,
    grants: Arc<TenantGrants>,
    /// The model for requests that no model serves, such as a single call.
    own_model: ModelHandle,
}

impl PluginChain {
    /// A chain of `plugins`, in this order. It may be empty.
    ///
    /// # Errors
    /// `SandboxError` if two plugins have the same name or offer the same tool, if there are too many plugins or
    /// tools, if the plugins need more memory than the sandbox has, or if they come from different sandboxes.
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Result<Self, SandboxError> {
        check_plugins(&plugins)?;
        check_memory(&plugins)?;
        let tools = Arc::new(ToolIndex::new(&plugins)?);
        let grants = Arc::new(TenantGrants::of_operator(Caller::local().tenant));
        let own_model = ModelHandle::default();
        Ok(Self { plugins, tools, caller: PluginLimits::MAX, budget: None, grants, own_model })
    }

    /// The same chain with `caller` as the limits of every call.
    ///
    /// # Errors
    /// `SandboxError::Limit` if a limit is out of range.
    pub fn limited(mut self, caller: PluginLimits) -> Result<Self, SandboxError> {
        caller.check("the caller")?;
        self.caller = self.caller.least(caller);
        Ok(self)
    }

    /// The same chain, whose calls are charged to `budget`. Calls of a chain without a budget are not throttled.
    #[must_use]
    pub fn charged_to(mut self, budget: Arc<CpuBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The same chain for requests of the tenant of `grants`. A chain without a tenant is that of the command line, whose user
    /// grants what the operator grants.
    #[must_use]
    pub fn for_tenant(mut self, grants: Arc<TenantGrants>) -> Self {
        self.grants = grants;
        self
    }

    /// The same chain, whose plugins use `model` where no model serves the request.
    #[must_use]
    pub fn with_model(mut self, model: ModelHandle) -> Self {
        self.own_model = model;
        self
    }

    /// What the tenant of the chain grants.
    #[must_use]
    pub fn grants(&self) -> &Arc<TenantGrants> {
        &self.grants
    }

    /// The plugins, in chain order.
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// The tools that the plugins offer, in chain order.
    #[must_use]
    pub fn tools(&self) -> &[ToolDefinition] {
        self.tools.definitions()
    }

    /// A chain of the plugins that have `stage`, without tools. `None` if no plugin has it.
    #[must_use]
    pub fn only(&self, stage: Stage) -> Option<Self> {
        let has_stage = |plugin: &&Arc<Plugin>| plugin.blueprint.exports.has(stage);
        let plugins: Vec<Arc<Plugin>> = self.plugins.iter().filter(has_stage).cloned().collect();
        (!plugins.is_empty()).then(|| Self { plugins, tools: Arc::default(), ..self.clone() })
    }

    /// Instantiates the plugins for `request`. A tool of theirs runs only while `is_offered` says that the caller has it.
    ///
    /// # Errors
    /// As [`HookSource::bind`].
    pub async fn bind_while(&self, request: RequestInfo, is_offered: OfferCheck) -> Result<Box<dyn Hooks>, Error> {
        Ok(Box::new(BoundChain::start(self, request, is_offered).await?))
    }

    /// The tenant whose share of the instance pool the chain uses.
    fn tenant(&self) -> Tenant {
        self.budget.as_ref().map(|budget| budget.id())
    }

    /// The limits of each call of `plugin`.
    fn limits(&self, plugin: &Plugin) -> PluginLimits {
        plugin.limits().least(self.caller)
    }

    /// `plugin` in the request `request`, with a new instance for each call.
    fn per_call(&self, plugin: &Arc<Plugin>, request: Arc<str>, own_model: ModelHandle) -> PerCallPlugin {
        let (limits, budget, grants) = (self.limits(plugin), self.budget.clone(), Arc::clone(&self.grants));
        PerCallPlugin::new(Arc::clone(plugin), limits, budget, grants, (request, own_model))
    }
}

impl HookSource for PluginChain {
    fn bind<'a>(&'a self, _caller: &'a Caller, request: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>> {
        Box::pin(self.bind_while(request, Arc::new(|_| true)))
    }
}

/// Checks the number of plugins, their names, and that one sandbox loaded them all.
fn check_plugins(plugins: &[Arc<Plugin>]) -> Result<(), SandboxError> {
    if plugins.len() > limits::PLUGINS_PER_REQUEST_MAX {
        let (count, limit) = (plugins.len(), limits::PLUGINS_PER_REQUEST_MAX);
        return Err(SandboxError::Chain(format!(
            "a chain of {count} plugins is too long; at most {limit} are allowed"
        )));
    }
    for (index, plugin) in plugins.iter().enumerate() {
        let before = plugins.iter().take(index);
        if before.clone().any(|other| other.name() == plugin.name()) {
            return Err(SandboxError::DuplicatePlugin { name: plugin.name().to_owned() });
        }
        if before.clone().any(|other| !Arc::ptr_eq(&other.blueprint.runtime, &plugin.blueprint.runtime)) {
            let reason = "plugins of one chain must be loaded by one sandbox";
            return Err(SandboxError::Chain(format!("{reason}; \"{}\" was loaded by another", plugin.name())));
        }
    }
    Ok(())
}

/// Refuses a chain whose instances could never fit into the pool, before a request binds it.
fn check_memory(plugins: &[Arc<Plugin>]) -> Result<(), SandboxError> {
    let Some(first) = plugins.first() else { return Ok(()) };
    let pool = &first.blueprint.runtime.pool;
    pool.check(plugins.iter().filter(|plugin| plugin.lives_per_request()).map(|plugin| plugin.blueprint.need()))?;
    plugins.iter().try_for_each(|plugin| pool.check(std::iter::once(plugin.blueprint.need())).map(drop))
}

//! A chain of plugins, and what a request gets when it binds one.

mod single;

use std::sync::Arc;

use firebox_contract::limits;
use firebox_contract::{
    BoxFuture, Caller, Error, HookSource, Hooks, LogLine, Message, PluginUse, PromptHook, PromptVerdict, RequestInfo,
    Stage, TextHook, TextVerdict, ToolCall, ToolDefinition, ToolHook, ToolOutcome,
};

use crate::account::Account;
use crate::error::SandboxError;
use crate::instance::Instance;
use crate::plugin::{OnFault, Plugin, PluginLimits};
use crate::stages::{prompt, text, tool};

pub use self::single::ToolRun;

/// Plugins in the order a request meets them.
#[derive(Debug, Clone)]
pub struct PluginChain {
    plugins: Vec<Arc<Plugin>>,
    offer: Arc<Offer>,
    caller: PluginLimits,
    account: Option<Arc<Account>>,
    slots: u32,
}

/// The tools of a chain, each with the place of its plugin.
#[derive(Debug, Default)]
struct Offer {
    tools: Vec<ToolDefinition>,
    owners: Vec<usize>,
}

impl PluginChain {
    /// `plugins`, in this order; none is a chain too.
    ///
    /// # Errors
    /// `SandboxError` if two of them have the same name or offer the same tool, if there are too many plugins or
    /// tools, or if they come from different sandboxes.
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Result<Self, SandboxError> {
        check(&plugins)?;
        let offer = Arc::new(offer(&plugins)?);
        let slots = plugins.iter().fold(0_u32, |sum, plugin| sum.saturating_add(plugin.blueprint.slots));
        Ok(Self { plugins, offer, caller: PluginLimits::MAX, account: None, slots })
    }

    /// The same chain, where no call may use more than `caller`.
    ///
    /// # Errors
    /// `SandboxError::Limit` if a limit is out of range.
    pub fn limited(mut self, caller: PluginLimits) -> Result<Self, SandboxError> {
        caller.check("the caller")?;
        self.caller = self.caller.least(caller);
        Ok(self)
    }

    /// The same chain, whose guests' time counts on `account`: beyond its share they run where the processor is idle.
    /// Without one they have nobody to share it with.
    #[must_use]
    pub fn charged_to(mut self, account: Arc<Account>) -> Self {
        self.account = Some(account);
        self
    }

    /// The plugins.
    #[must_use]
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// The tools they offer, in chain order.
    #[must_use]
    pub fn tools(&self) -> &[ToolDefinition] {
        &self.offer.tools
    }

    async fn instances(&self, request: RequestInfo) -> Result<Bound, Error> {
        let mut instances = Vec::with_capacity(self.plugins.len());
        if let Some(plugin) = self.plugins.first() {
            let room = plugin.blueprint.runtime.room(self.slots, limits::PLUGIN_POOL_WAIT).await?;
            for plugin in &self.plugins {
                let limits = plugin.limits().least(self.caller);
                let (blueprint, account) = (Arc::clone(&plugin.blueprint), self.account.clone());
                let start = Instance::start(blueprint, limits, account, Arc::clone(&room));
                let (instance, started) = start.await;
                if let Err(fault) = started {
                    if plugin.on_fault() == OnFault::Fail {
                        return Err(fault.into());
                    }
                    instance.log_skip(&fault);
                }
                instances.push(instance);
            }
        }
        let offer = Arc::clone(&self.offer);
        Ok(Bound { request, instances, offer, turn: text::Turn::default() })
    }
}

impl HookSource for PluginChain {
    fn bind<'a>(&'a self, _caller: &'a Caller, request: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>> {
        Box::pin(async move { Ok(Box::new(self.instances(request).await?) as Box<dyn Hooks>) })
    }
}

fn check(plugins: &[Arc<Plugin>]) -> Result<(), SandboxError> {
    if plugins.len() > limits::PLUGINS_PER_REQUEST_MAX {
        let (count, limit) = (plugins.len(), limits::PLUGINS_PER_REQUEST_MAX);
        return Err(SandboxError::Chain(format!("a chain of {count} plugins is too long; {limit} are allowed")));
    }
    for (place, plugin) in plugins.iter().enumerate() {
        let before = plugins.iter().take(place);
        if before.clone().any(|other| other.name() == plugin.name()) {
            return Err(SandboxError::DuplicatePlugin { name: plugin.name().to_owned() });
        }
        if before.clone().any(|other| !Arc::ptr_eq(&other.blueprint.runtime, &plugin.blueprint.runtime)) {
            let reason = "plugins of one chain must be loaded by one sandbox";
            return Err(SandboxError::Chain(format!("{reason}; \"{}\" is of another", plugin.name())));
        }
    }
    Ok(())
}

fn offer(plugins: &[Arc<Plugin>]) -> Result<Offer, SandboxError> {
    let mut offer = Offer::default();
    for (owner, plugin) in plugins.iter().enumerate() {
        for tool in plugin.tools() {
            if let Some(first) = offer.owner(&tool.name).and_then(|place| plugins.get(place)) {
                return Err(SandboxError::DuplicateTool {
                    tool: tool.name.clone(),
                    first: first.name().to_owned(),
                    second: plugin.name().to_owned(),
                });
            }
            offer.tools.push(tool.clone());
            offer.owners.push(owner);
        }
    }
    if offer.tools.len() > limits::TOOLS_MAX {
        let (count, limit) = (offer.tools.len(), limits::TOOLS_MAX);
        return Err(SandboxError::Chain(format!("the chain offers {count} tools; {limit} are allowed")));
    }
    Ok(offer)
}

fn check_size(call: &ToolCall) -> Result<(), Error> {
    let (bytes, limit) = (call.arguments_json.len(), limits::TOOL_ARGUMENTS_BYTES_MAX);
    if bytes <= limit {
        return Ok(());
    }
    let name = &call.name;
    Err(Error::TooLarge(format!(
        "the arguments of tool \"{name}\" have {bytes} bytes where {limit} are allowed; pass less"
    )))
}

impl Offer {
    /// The place of the plugin that offers `tool`.
    fn owner(&self, tool: &str) -> Option<usize> {
        let rows = self.tools.iter().zip(&self.owners);
        rows.filter(|(definition, _)| definition.name == tool).map(|(_, owner)| *owner).next()
    }
}

/// The instances of one request.
struct Bound {
    request: RequestInfo,
    instances: Vec<Instance>,
    offer: Arc<Offer>,
    turn: text::Turn,
}

impl PromptHook for Bound {
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>> {
        Box::pin(prompt::process(&self.instances, &self.request, messages))
    }
}

impl TextHook for Bound {
    fn push(&mut self, chunk: String) -> BoxFuture<'_, Result<TextVerdict, Error>> {
        Box::pin(self.turn.push(&self.instances, chunk))
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(self.turn.finish(&self.instances))
    }
}

impl ToolHook for Bound {
    fn definitions(&self) -> &[ToolDefinition] {
        &self.offer.tools
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(async move {
            let owner = self.offer.owner(&call.name);
            let Some(instance) = owner.and_then(|place| self.instances.get(place)) else {
                return Err(Error::Usage(format!("no plugin offers a tool \"{}\"", call.name)));
            };
            check_size(call)?;
            tool::call(instance, call).await
        })
    }
}

impl Hooks for Bound {
    fn text_is_idle(&self) -> bool {
        !self.instances.iter().any(|instance| instance.has(Stage::Text))
    }

    fn usage(&self) -> Vec<PluginUse> {
        self.instances.iter().flat_map(Instance::uses).collect()
    }

    fn take_log(&self) -> Vec<LogLine> {
        self.instances.iter().flat_map(Instance::take_log).collect()
    }
}

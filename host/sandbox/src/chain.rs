//! A chain of plugins, and what a request gets when it binds one.

mod at_call;
mod single;

use std::collections::HashMap;
use std::sync::Arc;

use firebox_contract::limits;
use firebox_contract::{
    BoxFuture, Caller, Error, HookSource, Hooks, LogLine, Message, PluginUse, PromptHook, PromptVerdict, RequestInfo,
    Stage, TextHook, TextVerdict, ToolCall, ToolDefinition, ToolHook, ToolOutcome,
};

use crate::account::Account;
use crate::error::SandboxError;
use crate::instance::{Instance, Terms};
use crate::plugin::{OnFault, Plugin, PluginLimits};
use crate::records::Records;
use crate::stages::{prompt, text, tool};

use self::at_call::AtCall;
pub use self::single::ToolRun;

/// Plugins in the order a request meets them.
#[derive(Debug, Clone)]
pub struct PluginChain {
    plugins: Vec<Arc<Plugin>>,
    offer: Arc<Offer>,
    caller: PluginLimits,
    account: Option<Arc<Account>>,
}

/// The tools of a chain, each with the place of its plugin.
#[derive(Debug, Default)]
struct Offer {
    tools: Vec<ToolDefinition>,
    /// By the tool's name.
    owners: HashMap<String, usize>,
}

impl PluginChain {
    /// `plugins`, in this order; none is a chain too.
    ///
    /// # Errors
    /// `SandboxError` if two of them have the same name or offer the same tool, if there are too many plugins or
    /// tools, if they need more memory than there is, or if they come from different sandboxes.
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Result<Self, SandboxError> {
        check(&plugins)?;
        check_need(&plugins)?;
        let offer = Arc::new(offer(&plugins)?);
        Ok(Self { plugins, offer, caller: PluginLimits::MAX, account: None })
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

    /// The same chain without the plugins that take no part in the prompt stage; `None` where none does. It offers no
    /// tools.
    #[must_use]
    pub fn prompt_stage(&self) -> Option<Self> {
        let takes_part = |plugin: &&Arc<Plugin>| plugin.blueprint.exports.prompt.is_some();
        let plugins: Vec<Arc<Plugin>> = self.plugins.iter().filter(takes_part).cloned().collect();
        (!plugins.is_empty()).then(|| Self { plugins, offer: Arc::default(), ..self.clone() })
    }

    /// What a request begins with: an instance of each plugin that sees its prompt or its text. The others have one for
    /// the time of a call, so that a request that waits does not hold it.
    async fn instances(&self, info: RequestInfo) -> Result<Bound, Error> {
        let request: Arc<str> = Arc::from(info.id.as_str());
        let bound: Vec<&Arc<Plugin>> = self.plugins.iter().filter(|plugin| plugin.is_bound()).collect();
        let mut rooms = Vec::new();
        if let Some(first) = bound.first() {
            let (owner, needs) = (self.owner(), bound.iter().map(|plugin| plugin.blueprint.need()).collect());
            rooms = first.blueprint.runtime.pool.take(owner, needs, limits::PLUGIN_POOL_WAIT).await?;
        }
        let (mut instances, mut members) = (Vec::with_capacity(bound.len()), Vec::with_capacity(self.plugins.len()));
        let mut rooms = rooms.into_iter();
        for plugin in &self.plugins {
            let room = if plugin.is_bound() { rooms.next() } else { None };
            let Some(room) = room else {
                members.push(Member::AtCall(self.at_call(plugin, Arc::clone(&request))));
                continue;
            };
            let (limits, account, records) = (self.limits(plugin), self.account.clone(), Records::default());
            let terms = Terms { limits, account, room, records: records.clone(), request: Arc::clone(&request) };
            let (instance, started) = Instance::start(Arc::clone(&plugin.blueprint), terms).await;
            match started {
                Ok(()) => {}
                Err(SandboxError::Fault(fault)) if plugin.on_fault() == OnFault::Skip => records.log_skip(&fault),
                Err(error) => return Err(error.into()),
            }
            members.push(Member::Bound(instances.len()));
            instances.push(instance);
        }
        let offer = Arc::clone(&self.offer);
        Ok(Bound { request: info, instances, members, offer, turn: text::Turn::default() })
    }

    /// Whose instances they are.
    fn owner(&self) -> Option<u64> {
        self.account.as_ref().map(|account| account.id())
    }

    fn limits(&self, plugin: &Plugin) -> PluginLimits {
        plugin.limits().least(self.caller)
    }

    /// `plugin` in the request `request`, without an instance.
    fn at_call(&self, plugin: &Arc<Plugin>, request: Arc<str>) -> AtCall {
        AtCall::new(Arc::clone(plugin), self.limits(plugin), self.account.clone(), request)
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

/// What can never run is refused before a request asks for it.
fn check_need(plugins: &[Arc<Plugin>]) -> Result<(), SandboxError> {
    let Some(first) = plugins.first() else { return Ok(()) };
    let pool = &first.blueprint.runtime.pool;
    pool.check(plugins.iter().filter(|plugin| plugin.is_bound()).map(|plugin| plugin.blueprint.need()))?;
    plugins.iter().try_for_each(|plugin| pool.check(std::iter::once(plugin.blueprint.need())).map(drop))
}

fn offer(plugins: &[Arc<Plugin>]) -> Result<Offer, SandboxError> {
    let count: usize = plugins.iter().map(|plugin| plugin.tools().len()).sum();
    if count > limits::TOOLS_MAX {
        let limit = limits::TOOLS_MAX;
        return Err(SandboxError::Chain(format!("the chain offers {count} tools; {limit} are allowed")));
    }
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
            offer.owners.insert(tool.name.clone(), owner);
        }
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
        self.owners.get(tool).copied()
    }
}

/// A plugin in one request.
enum Member {
    /// It has the instance at this place.
    Bound(usize),
    /// Each call has an instance of its own.
    AtCall(AtCall),
}

/// The plugins of one request.
struct Bound {
    request: RequestInfo,
    /// Of those that see the prompt or the text, in chain order.
    instances: Vec<Instance>,
    /// All of them, in chain order.
    members: Vec<Member>,
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
            let Some(member) = owner.and_then(|place| self.members.get(place)) else {
                return Err(Error::Usage(format!("no plugin offers a tool \"{}\"", call.name)));
            };
            check_size(call)?;
            match (member, self.instance(member)) {
                (Member::AtCall(plugin), _) => plugin.call(call, None).await,
                (Member::Bound(_), Some(instance)) => tool::call(instance, call).await,
                (Member::Bound(_), None) => Err(Error::Internal("a plugin of the chain has no instance".to_owned())),
            }
        })
    }
}

impl Bound {
    fn instance(&self, member: &Member) -> Option<&Instance> {
        if let Member::Bound(place) = member { self.instances.get(*place) } else { None }
    }

    /// What is kept of each plugin, in chain order.
    fn records(&self) -> impl Iterator<Item = (&str, &Records)> {
        self.members.iter().filter_map(|member| match member {
            Member::Bound(_) => self.instance(member).map(|instance| (instance.name(), instance.records())),
            Member::AtCall(plugin) => Some((plugin.name(), plugin.records())),
        })
    }
}

impl Hooks for Bound {
    fn text_is_idle(&self) -> bool {
        !self.instances.iter().any(|instance| instance.has(Stage::Text))
    }

    fn usage(&self) -> Vec<PluginUse> {
        self.records().flat_map(|(_, records)| records.uses()).collect()
    }

    fn take_log(&self) -> Vec<LogLine> {
        self.records().flat_map(|(name, records)| records.take_log(name)).collect()
    }
}

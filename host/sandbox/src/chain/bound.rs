//! A chain that is bound to one request: its instances, and what they used and logged.

use std::sync::Arc;

use firebox_contract::limits;
use firebox_contract::{Error, Hooks, LogLine, PluginUse, RequestInfo, Stage, ToolCall, ToolDefinition, ToolOutcome};
use wasmtime::component::ResourceAny;

use super::per_call::PerCallPlugin;
use super::tool_index::{ToolIndex, check_arguments};
use super::{OfferCheck, PluginChain};
use crate::error::SandboxError;
use crate::instance::pool::SharedPermit;
use crate::instance::records::Records;
use crate::instance::{Instance, InstanceOptions};
use crate::plugin::Plugin;
use crate::stages::embedding::Split;
use crate::stages::{text, tool};

/// The plugins of one request.
pub(crate) struct BoundChain {
    pub(crate) request: RequestInfo,
    /// The instances that live as long as the request, in chain order.
    pub(crate) instances: Vec<Arc<Instance>>,
    /// The token session of each instance that has one, by the instance's index. It ends when the next one starts.
    pub(crate) sessions: Vec<(usize, ResourceAny)>,
    /// The plugins of the embedding stage that made more texts.
    pub(crate) splits: Vec<Split>,
    /// The text stage of the current assistant turn.
    pub(crate) text: text::TextTurn,
    /// All plugins, in chain order.
    members: Vec<ChainMember>,
    tools: Arc<ToolIndex>,
    is_offered: OfferCheck,
}

/// A plugin in one request.
enum ChainMember {
    /// Its instance lives as long as the request: the one with this index in `BoundChain::instances`.
    PerRequest(usize),
    /// Each call has a new instance.
    PerCall(PerCallPlugin),
}

impl BoundChain {
    /// Starts an instance of each plugin that needs one for the whole request. The other plugins get an instance for
    /// each call, so that a request that waits does not hold one.
    ///
    /// # Errors
    /// The fault of a plugin that does not start, or the refusal of the instance pool.
    pub(super) async fn start(chain: &PluginChain, info: RequestInfo, is_offered: OfferCheck) -> Result<Self, Error> {
        let request: Arc<str> = Arc::from(info.id.as_str());
        let own_model = info.own_model.or(&chain.own_model);
        let mut permits = permits(chain).await?.into_iter();
        let (mut instances, mut members) = (Vec::new(), Vec::with_capacity(chain.plugins.len()));
        for plugin in &chain.plugins {
            let permit = if plugin.lives_per_request() { permits.next() } else { None };
            let Some(permit) = permit else {
                let own_model = own_model.clone();
                members.push(ChainMember::PerCall(chain.per_call(plugin, Arc::clone(&request), own_model)));
                continue;
            };
            let (limits, budget, records) = (chain.limits(plugin), chain.budget.clone(), Records::default());
            let options = InstanceOptions {
                limits,
                budget,
                permit,
                records: records.clone(),
                tenant: Arc::clone(&chain.grants),
                request: Arc::clone(&request),
                own_model: own_model.clone(),
            };
            let (instance, started) = Instance::start(Arc::clone(&plugin.blueprint), options).await;
            match started {
                Ok(()) => {}
                Err(SandboxError::Fault(fault)) if plugin.blueprint.policy.skips(&fault.cause) => {
                    records.log_skip(&fault)
                }
                Err(error) => return Err(error.into()),
            }
            members.push(ChainMember::PerRequest(instances.len()));
            instances.push(Arc::new(instance));
        }
        let tools = Arc::clone(&chain.tools);
        let (sessions, text) = (Vec::new(), text::TextTurn::default());
        let splits = Vec::new();
        Ok(Self { request: info, instances, sessions, splits, text, members, tools, is_offered })
    }

    /// The tools that the plugins offer, in chain order.
    pub(crate) fn tools(&self) -> &[ToolDefinition] {
        self.tools.definitions()
    }

    /// Runs `call` in the plugin that offers its tool, if the caller still has the tool.
    ///
    /// # Errors
    /// `Error::Usage` if no plugin offers the tool, `Error::TooLarge` if the arguments are too long, or the plugin's
    /// fault.
    pub(crate) async fn call_tool(&self, call: &ToolCall) -> Result<ToolOutcome, Error> {
        if !(self.is_offered)(&call.name) {
            return Ok(ToolOutcome::refused("", &format!("the tool \"{}\" was removed", call.name)));
        }
        let provider = self.tools.provider(&call.name);
        let Some(member) = provider.and_then(|index| self.members.get(index)) else {
            return Err(Error::Usage(format!("no plugin offers a tool \"{}\"", call.name)));
        };
        check_arguments(call)?;
        match (member, self.instance(member)) {
            (ChainMember::PerCall(plugin), _) => plugin.call(call, None).await,
            (ChainMember::PerRequest(_), Some(instance)) => tool::call(instance, call).await,
            (ChainMember::PerRequest(_), None) => {
                Err(Error::Internal("a plugin of the chain has no instance".to_owned()))
            }
        }
    }

    fn instance(&self, member: &ChainMember) -> Option<&Instance> {
        if let ChainMember::PerRequest(index) = member { self.instances.get(*index).map(Arc::as_ref) } else { None }
    }

    /// The name and the records of each plugin, in chain order.
    fn records(&self) -> impl Iterator<Item = (&str, &Records)> {
        self.members.iter().filter_map(|member| match member {
            ChainMember::PerRequest(_) => self.instance(member).map(|instance| (instance.name(), instance.records())),
            ChainMember::PerCall(plugin) => Some((plugin.name(), plugin.records())),
        })
    }
}

/// Takes permits of the instance pool for every plugin whose instance lives as long as the request, all at once.
async fn permits(chain: &PluginChain) -> Result<Vec<SharedPermit>, SandboxError> {
    let plugins: Vec<&Arc<Plugin>> = chain.plugins.iter().filter(|plugin| plugin.lives_per_request()).collect();
    let Some(first) = plugins.first() else { return Ok(Vec::new()) };
    let needs = plugins.iter().map(|plugin| plugin.blueprint.need()).collect();
    first.blueprint.runtime.pool.take(chain.tenant(), needs, limits::PLUGIN_POOL_WAIT).await
}

impl Hooks for BoundChain {
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

//! The plugin chain of a tenant's request: the tenant's own plugins, then those that the request adds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use firebox_contract::{
    BoxFuture, Caller, Error, HookSource, Hooks, RequestInfo, Stage, TenantId, ToolDefinition, ToolPolicy, limits,
};
use firebox_sandbox::{CpuBudget, Plugin, PluginChain, PluginLimits, Sandbox, TenantGrants};

use crate::config::{Config, PluginConfig, PluginLimitsConfig, TenantConfig};
use crate::error::CliError;
use crate::plugins;
use crate::plugins::distribution::policy::Acceptance;
use crate::plugins::distribution::signature::PublicKey;
use crate::plugins::sandbox::denied_note;
use crate::plugins::tools::CallerTools;

/// The plugin chains of all tenants. Clones share them.
#[derive(Clone)]
pub struct TenantHooks {
    sandbox: Sandbox,
    table: Arc<RwLock<Arc<PluginTable>>>,
}

/// The plugins and chains of one configuration. A reload makes a new table and replaces the old one.
pub struct PluginTable {
    plugins: HashMap<String, Arc<Plugin>>,
    tenants: HashMap<TenantId, TenantChain>,
    cache: Mutex<ChainCache>,
}

/// The CPU budgets of tenants, which stay when a reload replaces the table.
type TenantBudgets = HashMap<TenantId, Arc<CpuBudget>>;

struct TenantChain {
    plugins: Vec<String>,
    may_add: Vec<String>,
    limits: PluginLimits,
    budget: Arc<CpuBudget>,
    grants: Arc<TenantGrants>,
    policy: ToolPolicy,
}

/// The chains of earlier requests. `order` has the oldest first.
#[derive(Default)]
struct ChainCache {
    chains: HashMap<ChainKey, Arc<PluginChain>>,
    order: VecDeque<ChainKey>,
}

type ChainKey = (TenantId, Vec<String>);

impl TenantHooks {
    /// Loads the plugins of `config`.
    ///
    /// # Errors
    /// The problem of the first plugin that cannot be loaded, or of the first chain that is invalid.
    pub async fn load(sandbox: Sandbox, config: &Config, notes: &mut Vec<String>) -> Result<Self, Error> {
        let table = table(&sandbox, config, &TenantBudgets::new(), notes).await?;
        Ok(Self { sandbox, table: Arc::new(RwLock::new(Arc::new(table))) })
    }

    /// Loads the plugins of a new configuration, without using them yet.
    ///
    /// # Errors
    /// As [`TenantHooks::load`].
    pub async fn prepare(&self, config: &Config, notes: &mut Vec<String>) -> Result<PluginTable, Error> {
        table(&self.sandbox, config, &self.now().budgets(), notes).await
    }

    /// Replaces the table. Running requests keep their plugins, except for calls of tools that were removed.
    pub fn replace(&self, table: PluginTable) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The chain of `caller` with `added` plugins.
    ///
    /// # Errors
    /// `Error::Denied` for a plugin that the caller may not add.
    pub fn chain(&self, caller: &Caller, added: &[String]) -> Result<Arc<PluginChain>, Error> {
        self.now().chain(&caller.tenant, added)
    }

    /// The plugins of the chain that have the prompt stage; `None` if there are none.
    ///
    /// # Errors
    /// As [`TenantHooks::chain`].
    pub fn prompt_stage(&self, caller: &Caller, added: &[String]) -> Result<Option<PluginChain>, Error> {
        Ok(self.chain(caller, added)?.only(Stage::Prompt))
    }

    /// The plugins of the chain that have the embedding stage; `None` if there are none.
    ///
    /// # Errors
    /// As [`TenantHooks::chain`].
    pub fn embedding_stage(&self, caller: &Caller, added: &[String]) -> Result<Option<PluginChain>, Error> {
        Ok(self.chain(caller, added)?.only(Stage::Embedding))
    }

    /// The tools of the caller's own chain, and its policy, for MCP clients.
    #[must_use]
    pub fn offer(&self, caller: &Caller) -> Option<CallerTools> {
        let table = self.now();
        let policy = table.tenants.get(&caller.tenant)?.policy.clone();
        let chain = table.chain(&caller.tenant, &[]).ok()?;
        Some(CallerTools { chain: (*chain).clone(), policy })
    }

    fn now(&self) -> Arc<PluginTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tools of the chain.
    ///
    /// # Errors
    /// As [`TenantHooks::chain`].
    pub fn tools(&self, caller: &Caller, added: &[String]) -> Result<Vec<ToolDefinition>, Error> {
        Ok(self.chain(caller, added)?.tools().to_vec())
    }
}

impl HookSource for TenantHooks {
    fn bind<'a>(&'a self, caller: &'a Caller, request: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>> {
        Box::pin(async move {
            let chain = self.chain(caller, &request.plugins)?;
            let (source, tenant, added) = (self.clone(), caller.clone(), request.plugins.clone());
            // A reload may remove the plugin while the request runs.
            let still_has = move |name: &str| {
                let chain = source.chain(&tenant, &added);
                chain.is_ok_and(|chain| chain.tools().iter().any(|tool| tool.name == name))
            };
            chain.bind_while(request, Arc::new(still_has)).await
        })
    }
}

impl PluginTable {
    fn budgets(&self) -> TenantBudgets {
        self.tenants.iter().map(|(tenant, chain)| (tenant.clone(), Arc::clone(&chain.budget))).collect()
    }

    fn chain(&self, tenant: &TenantId, added: &[String]) -> Result<Arc<PluginChain>, Error> {
        let own = self.tenants.get(tenant);
        let own = own.ok_or_else(|| Error::Denied(format!("the tenant \"{tenant}\" was removed")))?;
        let added: Vec<String> = added.iter().filter(|name| !own.plugins.contains(name)).cloned().collect();
        if let Some(name) = added.iter().find(|name| !own.may_add.contains(name)) {
            return Err(Error::Denied(format!(
                "requests of this tenant may not add the plugin \"{name}\"; ask the operator to add it to request_plugins"
            )));
        }
        let key = (tenant.clone(), added);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chain) = cache.chains.get(&key) {
            return Ok(Arc::clone(chain));
        }
        let names = own.plugins.iter().chain(&key.1);
        let plugins = names.map(|name| {
            let plugin = self.plugins.get(name).map(Arc::clone);
            plugin.ok_or_else(|| Error::Internal(format!("plugin \"{name}\" is configured but not loaded")))
        });
        let chain = PluginChain::new(plugins.collect::<Result<_, _>>()?)?.limited(own.limits)?;
        let chain = chain.charged_to(Arc::clone(&own.budget)).for_tenant(Arc::clone(&own.grants));
        let chain = Arc::new(chain);
        cache.insert(key, Arc::clone(&chain));
        Ok(chain)
    }
}

impl ChainCache {
    /// Adds a chain. A tenant with its maximum of chains evicts one of its own; otherwise a full cache evicts the oldest.
    fn insert(&mut self, key: ChainKey, chain: Arc<PluginChain>) {
        let own = self.order.iter().filter(|cached| cached.0 == key.0).count();
        let oldest = if own >= limits::PLUGIN_CHAINS_PER_TENANT_MAX {
            self.order.iter().position(|cached| cached.0 == key.0)
        } else {
            (self.order.len() >= limits::PLUGIN_CHAINS_CACHED_MAX).then_some(0)
        };
        if let Some(oldest) = oldest.and_then(|position| self.order.remove(position)) {
            self.chains.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.chains.insert(key, chain);
    }
}

async fn table(
    sandbox: &Sandbox,
    config: &Config,
    budgets: &TenantBudgets,
    notes: &mut Vec<String>,
) -> Result<PluginTable, Error> {
    let (mut plugins, mut signers) = (HashMap::new(), HashMap::new());
    let tenant_keys: Vec<PublicKey> =
        config.tenants.iter().flat_map(|tenant| tenant.signatures.trusted_keys.clone()).collect();
    let acceptance = Acceptance { lock: config.lock.as_deref(), policy: &config.signatures, tenant_keys: &tenant_keys };
    for plugin in &config.plugins {
        let (loaded, signer) = load(sandbox, plugin, acceptance).await?;
        signers.insert(plugin.name.as_str(), signer);
        notes.extend(loaded.warnings().iter().cloned());
        notes.extend(denied_note(&loaded));
        plugins.insert(plugin.name.clone(), loaded);
    }
    check_signatures(config, &signers)?;
    let tenants = config.tenants.iter().map(|tenant| {
        let name = TenantId::new(&tenant.name);
        let budget = budgets.get(&name).map(Arc::clone).unwrap_or_default();
        Ok((name, chain_of(tenant, budget)?))
    });
    let tenants = tenants.collect::<Result<_, Error>>()?;
    let table = PluginTable { plugins, tenants, cache: Mutex::default() };
    // An invalid chain, such as two plugins with the same tool, is an error of the configuration. Hundreds of tenants may
    // share a few chains, so each chain is checked once.
    let mut checked: Vec<&[String]> = Vec::new();
    for tenant in &config.tenants {
        if !checked.contains(&tenant.plugins.as_slice()) {
            checked.push(&tenant.plugins);
            let invalid =
                |error: Error| Error::Usage(format!("the plugins of tenant \"{}\" are invalid: {error}", tenant.name));
            table.chain(&TenantId::new(&tenant.name), &[]).map_err(invalid)?;
        }
    }
    Ok(table)
}

/// Checks that the plugins of each tenant that requires signatures are signed by a key that it trusts. The plugins of this
/// program need none.
///
/// # Errors
/// `Error::Denied` for the first plugin that is not.
fn check_signatures(config: &Config, signers: &HashMap<&str, Option<PublicKey>>) -> Result<(), Error> {
    let built_in: Vec<&str> = config
        .plugins
        .iter()
        .filter(|plugin| plugins::is_builtin(&plugin.source))
        .map(|plugin| plugin.name.as_str())
        .collect();
    for tenant in config.tenants.iter().filter(|tenant| tenant.signatures.require_signature) {
        let mut policy = tenant.signatures.clone();
        if policy.trusted_keys.is_empty() {
            policy.trusted_keys.clone_from(&config.signatures.trusted_keys);
        }
        let names = tenant.plugins.iter().chain(&tenant.request_plugins);
        for name in names.filter(|name| !built_in.contains(&name.as_str())) {
            let signer = signers.get(name.as_str()).copied().flatten();
            policy.check(&format!("tenant \"{}\"", tenant.name), name, signer)?;
        }
    }
    Ok(())
}

async fn load(
    sandbox: &Sandbox,
    plugin: &PluginConfig,
    acceptance: Acceptance<'_>,
) -> Result<(Arc<Plugin>, Option<PublicKey>), Error> {
    let (spec, signer) = plugins::configured(plugin, acceptance).map_err(|error| match error {
        CliError::Host(error) => error,
        other => Error::Usage(other.to_string()),
    })?;
    Ok((sandbox.load(spec).await?, signer))
}

fn chain_of(tenant: &TenantConfig, budget: Arc<CpuBudget>) -> Result<TenantChain, Error> {
    let limits = plugin_limits(&tenant.limits.plugin);
    let (plugins, may_add) = (tenant.plugins.clone(), tenant.request_plugins.clone());
    let grants = Arc::new(grants_of(tenant)?);
    Ok(TenantChain { plugins, may_add, limits, budget, grants, policy: tenant.tools.clone() })
}

/// What a tenant grants to each plugin.
///
/// # Errors
/// `Error::Usage` for a text that is not a capability, or whose secret cannot be read.
fn grants_of(tenant: &TenantConfig) -> Result<TenantGrants, Error> {
    let id = TenantId::new(&tenant.name);
    let Some(grants) = &tenant.grants else { return Ok(TenantGrants::of_operator(id)) };
    let parsed = grants.iter().map(|(plugin, texts)| {
        let invalid = |reason| Error::Usage(format!("the grants of tenant \"{id}\" to \"{plugin}\": {reason}"));
        Ok((plugin.clone(), plugins::with_secrets(texts).map_err(invalid)?))
    });
    Ok(TenantGrants::new(id.clone(), parsed.collect::<Result<_, Error>>()?))
}

fn plugin_limits(limits: &PluginLimitsConfig) -> PluginLimits {
    let max = PluginLimits::MAX;
    PluginLimits {
        fuel: limits.fuel.unwrap_or(max.fuel),
        memory_bytes: limits.memory_bytes.unwrap_or(max.memory_bytes),
        timeout: limits.timeout.unwrap_or(max.timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_with_many_chains_does_not_evict_those_of_another() {
        let empty = || Arc::new(PluginChain::new(Vec::new()).expect("an empty chain is valid"));
        let key = |tenant: &str, number: usize| (TenantId::new(tenant), vec![number.to_string()]);
        let mut cache = ChainCache::default();
        cache.insert(key("quiet", 0), empty());
        for number in 0..2 * limits::PLUGIN_CHAINS_CACHED_MAX {
            cache.insert(key("loud", number), empty());
        }
        assert!(cache.chains.contains_key(&key("quiet", 0)));
        assert_eq!(cache.chains.len(), 1 + limits::PLUGIN_CHAINS_PER_TENANT_MAX);
        for number in 0..2 * limits::PLUGIN_CHAINS_CACHED_MAX {
            cache.insert(key(&number.to_string(), 0), empty());
        }
        assert_eq!((cache.chains.len(), cache.order.len()), (limits::PLUGIN_CHAINS_CACHED_MAX, cache.chains.len()));
    }
}

//! Which plugins a tenant's requests pass: its own chain, then those the request adds and may add.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use firebox_contract::{
    BoxFuture, Caller, Error, HookSource, Hooks, RequestInfo, TenantId, ToolDefinition, ToolPolicy, limits,
};
use firebox_sandbox::{Account, Plugin, PluginChain, PluginLimits, Sandbox};

use super::live_hooks::LiveHooks;
use crate::config::{Config, PluginConfig, PluginLimitsConfig, TenantConfig};
use crate::error::CliError;
use crate::plugins;
use crate::plugins::tools::CallerTools;

/// Plugin chains by tenant. Cheap to clone: clones share them.
#[derive(Clone)]
pub struct TenantHooks {
    sandbox: Sandbox,
    table: Arc<RwLock<Arc<Table>>>,
}

/// One state of the configuration: made whole, then put in place of the one before.
pub struct Table {
    plugins: HashMap<String, Arc<Plugin>>,
    tenants: HashMap<TenantId, Chain>,
    cache: Mutex<Cache>,
}

/// What of one table stays when the next takes its place: what tenants used and hold.
type Accounts = HashMap<TenantId, Arc<Account>>;

struct Chain {
    plugins: Vec<String>,
    may_add: Vec<String>,
    limits: PluginLimits,
    account: Arc<Account>,
    policy: ToolPolicy,
}

/// Chains that were asked for, the oldest first.
#[derive(Default)]
struct Cache {
    chains: HashMap<Key, Arc<PluginChain>>,
    order: VecDeque<Key>,
}

type Key = (TenantId, Vec<String>);

impl TenantHooks {
    /// Loads the plugins of `config`.
    ///
    /// # Errors
    /// What is wrong with the first plugin or chain that cannot be.
    pub async fn load(sandbox: Sandbox, config: &Config, notes: &mut Vec<String>) -> Result<Self, Error> {
        let table = table(&sandbox, config, &Accounts::new(), notes).await?;
        Ok(Self { sandbox, table: Arc::new(RwLock::new(Arc::new(table))) })
    }

    /// The state that `config` asks for, not yet in place.
    ///
    /// # Errors
    /// As [`TenantHooks::load`].
    pub async fn prepare(&self, config: &Config, notes: &mut Vec<String>) -> Result<Table, Error> {
        table(&self.sandbox, config, &self.now().accounts(), notes).await
    }

    /// Puts `table` in place: requests that are bound keep the plugins they have, but for calls of tools that are gone; later
    /// ones get the new.
    pub fn replace(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The chain of `caller` with `added` plugins.
    ///
    /// # Errors
    /// `Error::Denied` for a plugin the caller may not add.
    pub fn chain(&self, caller: &Caller, added: &[String]) -> Result<Arc<PluginChain>, Error> {
        self.now().chain(&caller.tenant, added)
    }

    /// What of that chain sees prompts; `None` where no plugin does.
    ///
    /// # Errors
    /// As [`TenantHooks::chain`].
    pub fn prompt_stage(&self, caller: &Caller, added: &[String]) -> Result<Option<PluginChain>, Error> {
        Ok(self.chain(caller, added)?.prompt_stage())
    }

    /// What a caller without a prompt is offered: the tools of its own chain under its policy.
    #[must_use]
    pub fn offer(&self, caller: &Caller) -> Option<CallerTools> {
        let table = self.now();
        let policy = table.tenants.get(&caller.tenant)?.policy.clone();
        let chain = table.chain(&caller.tenant, &[]).ok()?;
        Some(CallerTools { chain: (*chain).clone(), policy })
    }

    fn now(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tools of that chain.
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
            let inner = chain.bind(caller, request).await?;
            Ok(Box::new(LiveHooks { inner, source, caller: tenant, added }) as Box<dyn Hooks>)
        })
    }
}

impl Table {
    fn accounts(&self) -> Accounts {
        self.tenants.iter().map(|(tenant, chain)| (tenant.clone(), Arc::clone(&chain.account))).collect()
    }

    fn chain(&self, tenant: &TenantId, added: &[String]) -> Result<Arc<PluginChain>, Error> {
        let own = self.tenants.get(tenant);
        let own = own.ok_or_else(|| Error::Denied(format!("there is no tenant \"{tenant}\" any more")))?;
        let added: Vec<String> = added.iter().filter(|name| !own.plugins.contains(name)).cloned().collect();
        if let Some(name) = added.iter().find(|name| !own.may_add.contains(name)) {
            return Err(Error::Denied(format!("this tenant's requests may not add the plugin \"{name}\"")));
        }
        let key = (tenant.clone(), added);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chain) = cache.chains.get(&key) {
            return Ok(Arc::clone(chain));
        }
        let names = own.plugins.iter().chain(&key.1);
        let plugins = names.map(|name| {
            let plugin = self.plugins.get(name).map(Arc::clone);
            plugin.ok_or_else(|| Error::Internal(format!("plugin \"{name}\" is configured and was not loaded")))
        });
        let chain = PluginChain::new(plugins.collect::<Result<_, _>>()?)?.limited(own.limits)?;
        let chain = Arc::new(chain.charged_to(Arc::clone(&own.account)));
        cache.keep(key, Arc::clone(&chain));
        Ok(chain)
    }
}

impl Cache {
    /// A tenant that asks for ever new chains loses its own; what it can take from the others is a part.
    fn keep(&mut self, key: Key, chain: Arc<PluginChain>) {
        let own = self.order.iter().filter(|kept| kept.0 == key.0).count();
        let oldest = if own >= limits::PLUGIN_CHAINS_PER_TENANT_MAX {
            self.order.iter().position(|kept| kept.0 == key.0)
        } else {
            (self.order.len() >= limits::PLUGIN_CHAINS_CACHED_MAX).then_some(0)
        };
        if let Some(oldest) = oldest.and_then(|place| self.order.remove(place)) {
            self.chains.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.chains.insert(key, chain);
    }
}

async fn table(
    sandbox: &Sandbox,
    config: &Config,
    accounts: &Accounts,
    notes: &mut Vec<String>,
) -> Result<Table, Error> {
    let mut plugins = HashMap::new();
    for plugin in &config.plugins {
        let loaded = load(sandbox, plugin).await?;
        notes.extend(loaded.warnings().iter().cloned());
        plugins.insert(plugin.name.clone(), loaded);
    }
    let tenants = config.tenants.iter().map(|tenant| {
        let name = TenantId::new(&tenant.name);
        let account = accounts.get(&name).map(Arc::clone).unwrap_or_default();
        (name, chain_of(tenant, account))
    });
    let tenants = tenants.collect();
    let table = Table { plugins, tenants, cache: Mutex::default() };
    // A chain that cannot be, such as two plugins with the same tool, is a fault of the configuration and said now.
    // Tenants by the hundred share a few chains, and one of each is enough.
    let mut tried: Vec<&[String]> = Vec::new();
    for tenant in &config.tenants {
        if !tried.contains(&tenant.plugins.as_slice()) {
            tried.push(&tenant.plugins);
            let broken = |error: Error| Error::Usage(format!("the plugins of tenant \"{}\": {error}", tenant.name));
            table.chain(&TenantId::new(&tenant.name), &[]).map_err(broken)?;
        }
    }
    Ok(table)
}

async fn load(sandbox: &Sandbox, plugin: &PluginConfig) -> Result<Arc<Plugin>, Error> {
    let spec = plugins::configured(plugin).map_err(|error| match error {
        CliError::Host(error) => error,
        other => Error::Usage(other.to_string()),
    })?;
    if let Some(asked) = spec.asks.iter().find(|asked| *asked != "log" && !plugin.grants.contains(asked)) {
        let name = &plugin.name;
        return Err(Error::Usage(format!(
            "plugin \"{name}\" asks for \"{asked}\", which is not among its grants; add it to grants or leave the plugin out"
        )));
    }
    Ok(sandbox.load(spec).await?)
}

fn chain_of(tenant: &TenantConfig, account: Arc<Account>) -> Chain {
    let limits = least(&tenant.limits.plugin);
    let (plugins, may_add) = (tenant.plugins.clone(), tenant.request_plugins.clone());
    Chain { plugins, may_add, limits, account, policy: tenant.tools.clone() }
}

fn least(limits: &PluginLimitsConfig) -> PluginLimits {
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
    fn a_tenant_that_asks_for_ever_new_chains_takes_none_of_anothers() {
        let empty = || Arc::new(PluginChain::new(Vec::new()).expect("none is a chain too"));
        let key = |tenant: &str, number: usize| (TenantId::new(tenant), vec![number.to_string()]);
        let mut cache = Cache::default();
        cache.keep(key("quiet", 0), empty());
        for number in 0..2 * limits::PLUGIN_CHAINS_CACHED_MAX {
            cache.keep(key("loud", number), empty());
        }
        assert!(cache.chains.contains_key(&key("quiet", 0)));
        assert_eq!(cache.chains.len(), 1 + limits::PLUGIN_CHAINS_PER_TENANT_MAX);
        for number in 0..2 * limits::PLUGIN_CHAINS_CACHED_MAX {
            cache.keep(key(&number.to_string(), 0), empty());
        }
        assert_eq!((cache.chains.len(), cache.order.len()), (limits::PLUGIN_CHAINS_CACHED_MAX, cache.chains.len()));
    }
}

//! Which plugins a tenant's requests pass: its own chain, then those the request adds and may add.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use firebox_contract::{
    BoxFuture, Caller, Error, HookSource, Hooks, RequestInfo, TenantId, ToolDefinition, ToolPolicy, limits,
};
use firebox_sandbox::{Account, Plugin, PluginChain, PluginLimits, Sandbox};

use crate::config::{Config, PluginConfig, PluginLimitsConfig, TenantConfig};
use crate::plugin_tools::Offer;
use crate::plugins;

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
        let table = table(&sandbox, config, notes).await?;
        Ok(Self { sandbox, table: Arc::new(RwLock::new(Arc::new(table))) })
    }

    /// The state that `config` asks for, not yet in place.
    ///
    /// # Errors
    /// As [`TenantHooks::load`].
    pub async fn prepare(&self, config: &Config, notes: &mut Vec<String>) -> Result<Table, Error> {
        table(&self.sandbox, config, notes).await
    }

    /// Puts `table` in place: requests that are bound keep what they have, later ones get the new.
    pub fn replace(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The chain of `caller` with `added` plugins.
    ///
    /// # Errors
    /// `Error::Denied` for a plugin the caller may not add.
    pub fn chain(&self, caller: &Caller, added: &[String]) -> Result<Arc<PluginChain>, Error> {
        let table = Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner));
        table.chain(&caller.tenant, added)
    }

    /// What a caller without a prompt is offered: the tools of its own chain under its policy.
    #[must_use]
    pub fn offer(&self, caller: &Caller) -> Option<Offer> {
        let table = Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner));
        let policy = table.tenants.get(&caller.tenant)?.policy.clone();
        let chain = table.chain(&caller.tenant, &[]).ok()?;
        Some(Offer { chain: (*chain).clone(), policy })
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
            chain.bind(caller, request).await
        })
    }
}

impl Table {
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
    fn keep(&mut self, key: Key, chain: Arc<PluginChain>) {
        if self.order.len() >= limits::PLUGIN_CHAINS_CACHED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.chains.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.chains.insert(key, chain);
    }
}

async fn table(sandbox: &Sandbox, config: &Config, notes: &mut Vec<String>) -> Result<Table, Error> {
    let mut plugins = HashMap::new();
    for plugin in &config.plugins {
        let loaded = load(sandbox, plugin).await?;
        notes.extend(loaded.warnings().iter().cloned());
        plugins.insert(plugin.name.clone(), loaded);
    }
    let tenants = config.tenants.iter().map(|tenant| (TenantId::new(&tenant.name), chain_of(tenant))).collect();
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
    let spec = plugins::configured(plugin).map_err(|error| Error::Usage(error.to_string()))?;
    if let Some(asked) = spec.asks.iter().find(|asked| *asked != "log" && !plugin.grants.contains(asked)) {
        let name = &plugin.name;
        return Err(Error::Usage(format!(
            "plugin \"{name}\" asks for \"{asked}\", which is not among its grants; add it to grants or leave the plugin out"
        )));
    }
    Ok(sandbox.load(spec).await?)
}

fn chain_of(tenant: &TenantConfig) -> Chain {
    let limits = least(&tenant.limits.plugin);
    let (plugins, may_add) = (tenant.plugins.clone(), tenant.request_plugins.clone());
    Chain { plugins, may_add, limits, account: Arc::default(), policy: tenant.tools.clone() }
}

fn least(limits: &PluginLimitsConfig) -> PluginLimits {
    let max = PluginLimits::MAX;
    PluginLimits {
        fuel: limits.fuel.unwrap_or(max.fuel),
        memory_bytes: limits.memory_bytes.unwrap_or(max.memory_bytes),
        timeout: limits.timeout.unwrap_or(max.timeout),
    }
}

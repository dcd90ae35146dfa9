//! What one section says about another.

use std::collections::HashMap;
use std::time::SystemTime;

use firebox_contract::tool::matches_glob;
use firebox_contract::{Permission, limits};

use super::problem::{Origin, Problems, suggestion};
use super::tenants::{Scope, TenantConfig};
use super::{Config, McpServerConfig, PluginConfig};
use crate::plugins;
use crate::serve::LOCAL_TENANT;
use crate::system::time;

/// Checks the whole, and adds the built-in plugins that tenants name without a section of their own.
pub(super) fn across(config: &mut Config, problems: &Problems) {
    let whole =
        Origin::whole(config.file.as_ref().map_or_else(|| "the configuration".into(), |f| f.display().to_string()));
    unique(config.models.iter().map(|model| model.name.as_str()), "models", &whole, problems);
    unique(config.plugins.iter().map(|plugin| plugin.name.as_str()), "plugins", &whole, problems);
    unique(config.mcp.servers.iter().map(|server| server.name.as_str()), "MCP servers", &whole, problems);
    add_builtins(config);
    tenants(&config.tenants, problems);
    let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
    let servers: Vec<&str> = config.mcp.servers.iter().map(|server| server.name.as_str()).collect();
    for tenant in &config.tenants {
        known_plugins(tenant, &config.plugins, problems);
        useful(tenant, "models", &tenant.models, &models, problems);
        useful(tenant, "mcp_servers", &tenant.mcp_servers, &servers, problems);
        sayable(tenant, &config.mcp.servers, problems);
    }
    for server in config.mcp.servers.iter().filter(|server| server.required) {
        let sees = |tenant: &TenantConfig| tenant.mcp_servers.iter().any(|glob| matches_glob(glob, &server.name));
        if !config.tenants.is_empty() && !config.tenants.iter().any(sees) {
            let name = &server.name;
            let message = format!(
                "mcp server \"{name}\" is required and no tenant sees it, so the host will never be ready; \
                 add it to a tenant's mcp_servers, or leave \"required\" out"
            );
            problems.warning(&whole, message);
        }
    }
    if config.tenants.is_empty() {
        problems.warning(&whole, without_tenants(config));
    }
}

/// What `firebox serve` does without tenants.
fn without_tenants(config: &Config) -> String {
    let listen = config.server.listen;
    let served = match listen.ip().is_loopback() {
        true => format!("serves everybody on this machine as the tenant \"{LOCAL_TENANT}\", without a key"),
        false => format!("does not start, for \"{listen}\" is open to other machines"),
    };
    format!("has no tenants, so that firebox serve {served}; firebox tenants add NAME makes one and its key")
}

/// Checks tenants among themselves.
pub(super) fn tenants(tenants: &[TenantConfig], problems: &Problems) {
    let (mut names, mut ids, mut digests) = (HashMap::new(), HashMap::new(), HashMap::new());
    if let Some(one_more) = tenants.get(limits::TENANTS_MAX) {
        problems.error(&one_more.at, format!("there are more than {} tenants", limits::TENANTS_MAX));
    }
    for tenant in tenants {
        if let Some(first) = names.insert(tenant.name.as_str(), &tenant.at) {
            problems.error(&tenant.at, format!("there are two tenants \"{}\"; the first is at {first}", tenant.name));
        }
        if tenant.keys.is_empty() {
            let name = &tenant.name;
            let message =
                format!("tenant \"{name}\" has no key, so it cannot call; firebox tenants rotate {name} makes one");
            problems.warning(&tenant.at, message);
        }
        approvable(tenant, problems);
        for key in &tenant.keys {
            if let Some(first) = ids.insert(key.id.as_str(), &key.at) {
                problems.error(&key.at, format!("there are two keys \"{}\"; the first is at {first}", key.id));
            }
            if let Some(first) = digests.insert(key.digest, &key.at) {
                problems.error(&key.at, format!("the digest of key \"{}\" is also at {first}", key.id));
            }
            if let Some(expired) = key.expires.filter(|expires| *expires <= SystemTime::now()) {
                let message =
                    format!("key \"{}\" of tenant \"{}\" expired {}", key.id, tenant.name, time::rfc3339(expired));
                problems.warning(&key.at, message);
            }
        }
    }
}

/// A policy that asks where no key can answer declines every such call.
fn approvable(tenant: &TenantConfig, problems: &Problems) {
    let rules = tenant.tools.rules.iter().map(|(_, permission)| *permission);
    let asks = rules.chain([tenant.tools.otherwise]).any(|permission| permission == Permission::Ask);
    if asks && !tenant.keys.is_empty() && !tenant.keys.iter().any(|key| key.scopes.contains(&Scope::Approve)) {
        let name = &tenant.name;
        let message = format!(
            "tenant \"{name}\" asks about tool calls and has no key of the scope \"approve\", so that all of them are \
             declined; firebox tenants rotate {name} --keep --scope approve makes one"
        );
        problems.warning(&tenant.at, message);
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str, at: &Origin, problems: &Problems) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    for (name, _) in counts.into_iter().filter(|(name, count)| *count > 1 && !name.is_empty()) {
        problems.error(at, format!("there are two {what} \"{name}\"; give each a name of its own"));
    }
}

fn add_builtins(config: &mut Config) {
    for tenant in &config.tenants {
        for name in tenant.plugins.iter().chain(&tenant.request_plugins) {
            let known = config.plugins.iter().any(|plugin| plugin.name == *name);
            if !known && plugins::is_builtin(name) {
                config.plugins.push(PluginConfig::builtin(name));
            }
        }
    }
}

fn known_plugins(tenant: &TenantConfig, plugins: &[PluginConfig], problems: &Problems) {
    let chain = tenant.plugins.len() + tenant.request_plugins.len();
    if chain > limits::PLUGINS_PER_REQUEST_MAX {
        let message = format!(
            "tenant \"{}\" could run {chain} plugins in one request where {} are the most",
            tenant.name,
            limits::PLUGINS_PER_REQUEST_MAX
        );
        problems.error(&tenant.at, message);
    }
    let builtins: Vec<&str> = plugins::builtins().collect();
    for name in tenant.plugins.iter().chain(&tenant.request_plugins) {
        if !plugins.iter().any(|plugin| plugin.name == *name) {
            let known = plugins.iter().map(|plugin| plugin.name.as_str()).chain(builtins.iter().copied());
            let near = suggestion(name, known);
            problems.error(
                &tenant.at,
                format!("tenant \"{}\" names a plugin \"{name}\" that is not here{near}", tenant.name),
            );
        }
    }
}

/// A glob that matches nothing is probably misspelt; `*` may wait for what comes.
fn useful(tenant: &TenantConfig, key: &str, globs: &[String], names: &[&str], problems: &Problems) {
    for glob in globs.iter().filter(|glob| *glob != "*") {
        if !names.iter().any(|name| matches_glob(glob, name)) {
            let known =
                if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
            let message =
                format!("\"{key}\" of tenant \"{}\" holds \"{glob}\", which matches nothing; {known}", tenant.name);
            problems.warning(&tenant.at, message);
        }
    }
}

/// Rules about the tools of a server that none of them is called by: such a rule would forbid nothing.
fn sayable(tenant: &TenantConfig, servers: &[McpServerConfig], problems: &Problems) {
    for (glob, _) in &tenant.tools.rules {
        let about = |server: &&McpServerConfig| {
            let prefix = server.prefix.as_deref().filter(|prefix| !prefix.is_empty());
            let begins = |name: &str, mark: &str| glob.strip_prefix(name).is_some_and(|rest| rest.starts_with(mark));
            let dotted = begins(&server.name, ".") || prefix.is_some_and(|prefix| begins(prefix, "."));
            dotted || (begins(&server.name, "__") && prefix != Some(server.name.as_str()))
        };
        let Some(McpServerConfig { name, prefix, .. }) = servers.iter().find(about) else { continue };
        let remedy = match prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => format!("they are called {prefix}__TOOL"),
            None => format!("with prefix = \"{name}\" they are called {name}__TOOL, and TOOL without"),
        };
        let tenant_name = &tenant.name;
        let message = format!(
            "\"tools\" of tenant \"{tenant_name}\" holds \"{glob}\", and the tools of MCP server \"{name}\" have other names; {remedy}"
        );
        problems.warning(&tenant.at, message);
    }
}

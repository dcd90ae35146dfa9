//! Checks of references between sections.

use std::collections::HashMap;
use std::time::SystemTime;

use firebox_contract::tool::matches_glob;
use firebox_contract::{Permission, limits};

use super::problem::{Problems, SourceLocation, suggestion};
use super::sections::tenants::{Scope, TenantConfig};
use super::{Config, McpServerConfig, PluginConfig};
use crate::plugins;
use crate::serve::LOCAL_TENANT;
use crate::system::time;

/// Checks the whole configuration. Adds the built-in plugins that tenants use without a `[[plugin]]` section.
pub(super) fn across(config: &mut Config, problems: &Problems) {
    let whole = SourceLocation::whole(
        config.file.as_ref().map_or_else(|| "the configuration".into(), |f| f.display().to_string()),
    );
    unique(config.models.iter().map(|model| model.name.as_str()), "models", &whole, problems);
    unique(config.plugins.iter().map(|plugin| plugin.name.as_str()), "plugins", &whole, problems);
    unique(config.mcp.servers.iter().map(|server| server.name.as_str()), "MCP servers", &whole, problems);
    add_builtins(config);
    tenants(&config.tenants, problems);
    let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
    let servers: Vec<&str> = config.mcp.servers.iter().map(|server| server.name.as_str()).collect();
    for tenant in &config.tenants {
        known_plugins(tenant, &config.plugins, problems);
        check_globs(tenant, "models", &tenant.models, &models, problems);
        check_globs(tenant, "mcp_servers", &tenant.mcp_servers, &servers, problems);
        check_tool_rules(tenant, &config.mcp.servers, problems);
    }
    for server in config.mcp.servers.iter().filter(|server| server.required) {
        let sees = |tenant: &TenantConfig| tenant.mcp_servers.iter().any(|glob| matches_glob(glob, &server.name));
        if !config.tenants.is_empty() && !config.tenants.iter().any(sees) {
            let name = &server.name;
            let message = format!(
                "MCP server \"{name}\" is required, but no tenant can use it, so the server never gets ready; add it to \
                 mcp_servers of a tenant, or remove \"required\""
            );
            problems.warning(&whole, message);
        }
    }
    if config.tenants.is_empty() {
        problems.warning(&whole, without_tenants(config));
    }
}

/// The warning about a server without tenants.
fn without_tenants(config: &Config) -> String {
    let listen = config.server.listen;
    let served = match listen.ip().is_loopback() {
        true => format!("serves every client on this machine without a key, as the tenant \"{LOCAL_TENANT}\""),
        false => format!("does not start, because \"{listen}\" can be reached from other machines"),
    };
    format!("there are no tenants: firebox serve {served}; add a tenant with `firebox tenants add NAME`")
}

/// Checks the tenants.
pub(super) fn tenants(tenants: &[TenantConfig], problems: &Problems) {
    let (mut names, mut ids, mut digests) = (HashMap::new(), HashMap::new(), HashMap::new());
    if let Some(one_more) = tenants.get(limits::TENANTS_MAX) {
        problems.error(&one_more.at, format!("there are more than {} tenants", limits::TENANTS_MAX));
    }
    for tenant in tenants {
        if let Some(first) = names.insert(tenant.name.as_str(), &tenant.at) {
            problems
                .error(&tenant.at, format!("two tenants have the name \"{}\"; the first is at {first}", tenant.name));
        }
        if tenant.keys.is_empty() {
            let name = &tenant.name;
            let message = format!(
                "tenant \"{name}\" has no key, so it cannot send requests; create one with `firebox tenants rotate {name}`"
            );
            problems.warning(&tenant.at, message);
        }
        check_approval(tenant, problems);
        for key in &tenant.keys {
            if let Some(first) = ids.insert(key.id.as_str(), &key.at) {
                problems.error(&key.at, format!("two keys have the id \"{}\"; the first is at {first}", key.id));
            }
            if let Some(first) = digests.insert(key.digest, &key.at) {
                problems.error(&key.at, format!("key \"{}\" has the same digest as the key at {first}", key.id));
            }
            if let Some(expired) = key.expires.filter(|expires| *expires <= SystemTime::now()) {
                let message =
                    format!("key \"{}\" of tenant \"{}\" expired {}", key.id, tenant.name, time::rfc3339(expired));
                problems.warning(&key.at, message);
            }
        }
    }
}

/// Warns about a tenant whose tool calls need approval, if none of its keys can approve.
fn check_approval(tenant: &TenantConfig, problems: &Problems) {
    let rules = tenant.tools.rules.iter().map(|(_, permission)| *permission);
    let asks = rules.chain([tenant.tools.otherwise]).any(|permission| permission == Permission::Ask);
    if asks && !tenant.keys.is_empty() && !tenant.keys.iter().any(|key| key.scopes.contains(&Scope::Approve)) {
        let name = &tenant.name;
        let message = format!(
            "tool calls of tenant \"{name}\" need approval, but none of its keys has the scope \"approve\", so they are \
             declined; create one with `firebox tenants rotate {name} --keep --scope approve`"
        );
        problems.warning(&tenant.at, message);
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str, at: &SourceLocation, problems: &Problems) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    for (name, _) in counts.into_iter().filter(|(name, count)| *count > 1 && !name.is_empty()) {
        problems.error(at, format!("two {what} have the name \"{name}\"; rename one"));
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
            "tenant \"{}\" has {chain} plugins for one request; at most {} are allowed",
            tenant.name,
            limits::PLUGINS_PER_REQUEST_MAX
        );
        problems.error(&tenant.at, message);
    }
    let builtins: Vec<&str> = plugins::builtins().collect();
    let granted = tenant.grants.iter().flat_map(|grants| grants.keys());
    for name in tenant.plugins.iter().chain(&tenant.request_plugins).chain(granted) {
        if !plugins.iter().any(|plugin| plugin.name == *name) {
            let known = plugins.iter().map(|plugin| plugin.name.as_str()).chain(builtins.iter().copied());
            let near = suggestion(name, known);
            problems.error(&tenant.at, format!("tenant \"{}\" has an unknown plugin \"{name}\"{near}", tenant.name));
        }
    }
}

/// Warns about a glob without matches, which is probably misspelled. `*` never warns.
fn check_globs(tenant: &TenantConfig, key: &str, globs: &[String], names: &[&str], problems: &Problems) {
    for glob in globs.iter().filter(|glob| *glob != "*") {
        if !names.iter().any(|name| matches_glob(glob, name)) {
            let known = if names.is_empty() {
                "none are configured".to_owned()
            } else {
                format!("configured: {}", names.join(", "))
            };
            let message = format!("\"{glob}\" in \"{key}\" of tenant \"{}\" matches nothing; {known}", tenant.name);
            problems.warning(&tenant.at, message);
        }
    }
}

/// Warns about a tool rule that names an MCP server but matches none of its tools, because their names differ.
fn check_tool_rules(tenant: &TenantConfig, servers: &[McpServerConfig], problems: &Problems) {
    for (glob, _) in &tenant.tools.rules {
        let about = |server: &&McpServerConfig| {
            let prefix = server.prefix.as_deref().filter(|prefix| !prefix.is_empty());
            let begins = |name: &str, mark: &str| glob.strip_prefix(name).is_some_and(|rest| rest.starts_with(mark));
            let dotted = begins(&server.name, ".") || prefix.is_some_and(|prefix| begins(prefix, "."));
            dotted || (begins(&server.name, "__") && prefix != Some(server.name.as_str()))
        };
        let Some(McpServerConfig { name, prefix, .. }) = servers.iter().find(about) else { continue };
        let remedy = match prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => format!("their names are {prefix}__TOOL"),
            None => format!("their names are TOOL, or {name}__TOOL with prefix = \"{name}\""),
        };
        let tenant_name = &tenant.name;
        let message = format!(
            "\"{glob}\" in \"tools\" of tenant \"{tenant_name}\" matches no tool of MCP server \"{name}\"; {remedy}"
        );
        problems.warning(&tenant.at, message);
    }
}

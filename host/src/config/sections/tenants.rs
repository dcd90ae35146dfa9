//! `[[tenant]]`: tenants, their keys, rights and limits.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use firebox_contract::{Permission, ToolPolicy, limits};
use firebox_sandbox::Grants;

use super::super::document::{Node, Value};
use super::super::problem::SourceLocation;
use super::super::reader::Section;
use super::models::{PluginLimitsConfig, name, relative_to};
use crate::plugins::distribution::policy::SignaturePolicy;
use crate::system::time;

/// `[[tenant]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantConfig {
    /// Its name, which is also its id.
    pub name: String,
    /// `[[tenant.key]]`.
    pub keys: Vec<KeyConfig>,
    /// Globs of the models that it may use.
    pub models: Vec<String>,
    /// The plugins of every request, in order.
    pub plugins: Vec<String>,
    /// Plugins that a request may add.
    pub request_plugins: Vec<String>,
    /// Which tools it may call.
    pub tools: ToolPolicy,
    /// Globs of the MCP servers whose tools it may use; none by default.
    pub mcp_servers: Vec<String>,
    /// `[tenant.grants]`: the capabilities that it grants to each plugin, by the plugin's name. `None` for a server without
    /// tenants: its only tenant grants what the operator grants.
    pub grants: Option<BTreeMap<String, Vec<String>>>,
    /// Which signatures its plugins need.
    pub signatures: SignaturePolicy,
    /// `[tenant.limits]`.
    pub limits: TenantLimits,
    /// Its weight when several tenants share a model.
    pub weight: u32,
    /// Its location in the configuration.
    pub at: SourceLocation,
}

/// `[[tenant.key]]`: an API key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyConfig {
    /// Its id, which is not secret.
    pub id: String,
    /// SHA-256 of the whole key.
    pub digest: [u8; 32],
    /// When it expires; `None` for never.
    pub expires: Option<SystemTime>,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// Its location in the configuration.
    pub at: SourceLocation,
}

impl fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyConfig({})", self.id)
    }
}

/// `[tenant.limits]`. `None` means no limit, unless the field says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantLimits {
    /// Maximum requests in 60 seconds.
    pub requests_per_minute: Option<u64>,
    /// Maximum tokens of prompts and answers in 60 seconds.
    pub tokens_per_minute: Option<u64>,
    /// Maximum tool calls in 60 seconds.
    pub tool_calls_per_minute: Option<u64>,
    /// Maximum fuel of plugins in 60 seconds.
    pub plugin_fuel_per_minute: Option<u64>,
    /// Maximum requests for answers and embeddings at a time, including waiting ones and those whose body still arrives.
    pub in_flight_max: usize,
    /// Maximum length of a conversation in tokens, with the answer.
    pub context_tokens_max: Option<usize>,
    /// Maximum sessions.
    pub sessions_max: usize,
    /// Maximum size of all its sessions in bytes; `None` for an even share of the file.
    pub sessions_bytes_max: Option<u64>,
    /// Maximum open HTTP requests; `None` for a quarter of the server's connections.
    pub connections_max: Option<usize>,
    /// Maximum streamed answers at a time.
    pub streams_max: usize,
    /// Limits of each plugin call. The lower of these and the plugin's own limits holds.
    pub plugin: PluginLimitsConfig,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            tool_calls_per_minute: None,
            plugin_fuel_per_minute: None,
            in_flight_max: limits::IN_FLIGHT_MAX,
            context_tokens_max: None,
            sessions_max: limits::SESSIONS_PER_TENANT_DEFAULT,
            sessions_bytes_max: None,
            connections_max: None,
            streams_max: limits::STREAMS_PER_TENANT_DEFAULT,
            plugin: PluginLimitsConfig::default(),
        }
    }
}

/// What an API key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Chat and text completions.
    Chat,
    /// Embeddings.
    Embed,
    /// Sessions.
    Sessions,
    /// Tools over MCP.
    Tools,
    /// Approving or declining pending tool calls.
    Approve,
    /// The tenant's own usage.
    Usage,
    /// The metrics of the whole server.
    Metrics,
}

impl Scope {
    /// All scopes with their names.
    pub const ALL: &[(&str, Self)] = &[
        ("chat", Self::Chat),
        ("embed", Self::Embed),
        ("sessions", Self::Sessions),
        ("tools", Self::Tools),
        ("approve", Self::Approve),
        ("usage", Self::Usage),
        ("metrics", Self::Metrics),
    ];

    /// The scopes of a key by default: all except `approve`, so that a key does not approve its own tool calls, and `metrics`,
    /// which show the whole server.
    pub const DEFAULT: &[Self] = &[Self::Chat, Self::Embed, Self::Sessions, Self::Tools, Self::Usage];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|row| row.1 == self).map_or("", |row| row.0)
    }
}

impl TenantConfig {
    /// The tenant of a server without tenants: it may use everything, with these plugins.
    pub(crate) fn local(name: &str, plugins: Vec<String>) -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            name: name.to_owned(),
            keys: Vec::new(),
            models: all(),
            request_plugins: plugins.clone(),
            plugins,
            tools: ToolPolicy::ALLOW_ALL,
            mcp_servers: all(),
            grants: None,
            signatures: SignaturePolicy::default(),
            limits: TenantLimits::default(),
            weight: 1,
            at: SourceLocation::whole("the server"),
        }
    }

    pub(in crate::config) fn read(mut section: Section<'_>, folder: &Path) -> Option<Self> {
        let name = name(&mut section);
        let read = Self {
            models: globs(&mut section, "models").unwrap_or_else(|| vec!["*".to_owned()]),
            plugins: section.texts("plugins").unwrap_or_default(),
            request_plugins: section.texts("request_plugins").unwrap_or_default(),
            tools: policy(section.section("tools")),
            mcp_servers: globs(&mut section, "mcp_servers").unwrap_or_default(),
            grants: Some(grants(&mut section, folder)),
            signatures: SignaturePolicy::keys(&mut section),
            limits: TenantLimits::read(section.section("limits")),
            weight: section
                .integer("weight", 1..=u64::from(limits::TENANT_WEIGHT_MAX))
                .and_then(|weight| u32::try_from(weight).ok())
                .unwrap_or(1),
            keys: section.sections("key", "tenant.key").into_iter().filter_map(KeyConfig::read).collect(),
            at: section.at("name").clone(),
            name: name.clone().unwrap_or_default(),
        };
        if read.keys.len() > limits::KEYS_PER_TENANT_MAX {
            let message = format!("has {} keys; at most {} are allowed", read.keys.len(), limits::KEYS_PER_TENANT_MAX);
            section.error(section.at("key"), message);
        }
        for key in ["plugins", "request_plugins"] {
            repeated(&section, key, if key == "plugins" { &read.plugins } else { &read.request_plugins });
        }
        section.finish();
        name.map(|_| read)
    }
}

/// `[tenant.grants]`: a list of capabilities for each plugin, with paths relative to the folder of the file.
fn grants(section: &mut Section<'_>, folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut grants = BTreeMap::new();
    for (plugin, node) in section.table("grants").into_iter().flatten() {
        let texts: Option<Vec<String>> = match &node.value {
            Value::List(items) => items.iter().map(text).collect(),
            _ => None,
        };
        let checked = match texts {
            None => Err("must be a list of texts".to_owned()),
            Some(texts) => Grants::parse(&texts).map(|_| texts),
        };
        match checked {
            Ok(texts) if texts.iter().any(|text| text.starts_with("files:") && text.contains('=')) => {
                section.error(
                    &node.at,
                    format!("\"{plugin}\": a tenant grants files:NAME; only [[plugin]] names the path"),
                );
            }
            Ok(texts) if texts.iter().any(|text| text.starts_with("secret:") && text.contains(" for ")) => {
                section.error(
                    &node.at,
                    format!("\"{plugin}\": a tenant grants secret:NAME or secret:NAME=env:VARIABLE; only [[plugin]] names the host"),
                );
            }
            Ok(texts) => {
                grants.insert(plugin.clone(), texts.into_iter().map(|text| relative_to(folder, text)).collect());
            }
            Err(reason) => section.error(&node.at, format!("\"{plugin}\": {reason}")),
        }
    }
    grants
}

fn text(item: &Node) -> Option<String> {
    match &item.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn repeated(section: &Section<'_>, key: &str, names: &[String]) {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            section.error(section.at(key), format!("\"{key}\" has \"{name}\" twice; remove one"));
        }
    }
}

pub(in crate::config) fn globs(section: &mut Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let globs = section.texts(key)?;
    if globs.iter().any(String::is_empty) {
        section
            .error(section.at(key), format!("\"{key}\" has an empty glob, which matches nothing; write \"*\" for all"));
    }
    Some(globs)
}

/// `[tenant.tools]`: the strictest matching list decides.
fn policy(mut section: Section<'_>) -> ToolPolicy {
    const LISTS: &[(&str, Permission)] =
        &[("deny", Permission::Deny), ("ask", Permission::Ask), ("allow", Permission::Allow)];
    let otherwise = section.choice("otherwise", LISTS).unwrap_or(Permission::Allow);
    let mut rules = Vec::new();
    for (key, permission) in LISTS {
        rules.extend(globs(&mut section, key).into_iter().flatten().map(|glob| (glob, *permission)));
    }
    section.finish();
    ToolPolicy { rules, otherwise }
}

impl TenantLimits {
    fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let all = 0..=i64::MAX as u64;
        let read = Self {
            requests_per_minute: section.integer("requests_per_minute", all.clone()),
            tokens_per_minute: section.integer("tokens_per_minute", all.clone()),
            tool_calls_per_minute: section.integer("tool_calls_per_minute", all.clone()),
            plugin_fuel_per_minute: section.integer("plugin_fuel_per_minute", all),
            in_flight_max: section.count("in_flight_max", 1..=limits::IN_FLIGHT_MAX).unwrap_or(default.in_flight_max),
            context_tokens_max: section.count("context_tokens_max", 1..=limits::CONTEXT_TOKENS_MAX),
            sessions_max: section
                .count("sessions_max", 0..=limits::SESSIONS_PER_TENANT_MAX)
                .unwrap_or(default.sessions_max),
            sessions_bytes_max: section.size("sessions_bytes_max", 0..=limits::SESSIONS_FILE_BYTES_MAX),
            connections_max: section.count("connections_max", 1..=limits::CONNECTIONS_MAX),
            streams_max: section.count("streams_max", 0..=limits::CONNECTIONS_MAX).unwrap_or(default.streams_max),
            plugin: PluginLimitsConfig::read(&mut section, ["plugin_fuel", "plugin_memory", "plugin_timeout"]),
        };
        section.finish();
        read
    }
}

impl KeyConfig {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let id = section.required("id");
        let digest = section.parsed("digest", parse_digest);
        if section.take("digest").is_none() {
            section.error(&section.at, "\"digest\" is missing; create a new key with `firebox tenants rotate NAME`");
        }
        if let Some(id) = id.as_ref().filter(|id| id.len() > limits::NAME_BYTES_MAX || id.contains('_')) {
            section.error(
                section.at("id"),
                format!("\"{id}\" is not a valid key id: at most {} bytes, without \"_\"", limits::NAME_BYTES_MAX),
            );
        }
        let expires = section.parsed("expires", time::parse);
        let scopes = section.choices("scopes", Scope::ALL).unwrap_or_else(|| Scope::DEFAULT.to_vec());
        let at = section.at("id").clone();
        section.finish();
        Some(Self { id: id?, digest: digest?, expires, scopes, at })
    }
}

fn parse_digest(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    let hex = |at: usize| text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let good = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = hex(at).filter(|_| good).ok_or_else(|| {
            "must be a SHA-256 in 64 hexadecimal digits; create a new key with `firebox tenants rotate NAME`".to_owned()
        })?;
    }
    Ok(digest)
}

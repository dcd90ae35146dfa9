//! Prints the configuration in effect as TOML, without secrets.

use std::fmt::Write as _;
use std::time::Duration;

use firebox_contract::Permission;
use firebox_engine::Speculation;
use firebox_models::KV_CACHE_TYPES;
use firebox_sandbox::OnFault;

use super::{
    Config, McpServerConfig, ModelConfig, PluginConfig, PluginLimitsConfig, Scope, TenantConfig, TenantLimits,
};
use crate::plugins::distribution::policy::SignaturePolicy;
use crate::system::{time, units};

/// Writes TOML.
struct TomlWriter(String);

impl TomlWriter {
    fn header(&mut self, header: &str) -> &mut Self {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(&format!("{gap}{header}"))
    }

    fn line(&mut self, line: &str) -> &mut Self {
        self.0.push_str(line);
        self.0.push('\n');
        self
    }

    fn set(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        self.line(&format!("{key} = {value}"))
    }

    fn some(&mut self, key: &str, value: Option<impl std::fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.set(key, value);
        }
        self
    }

    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.set(key, quoted(value))
    }

    fn texts<S: AsRef<str>>(&mut self, key: &str, values: &[S]) -> &mut Self {
        self.set(key, list(values))
    }

    fn time(&mut self, key: &str, value: Duration) -> &mut Self {
        self.text(key, &units::time(value))
    }
}

/// An effect of a fault as the configuration names it.
fn effect(effect: OnFault) -> String {
    quoted(if effect == OnFault::Skip { "skip" } else { "fail" })
}

/// `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `values` as a TOML array of strings.
pub(crate) fn list<S: AsRef<str>>(values: &[S]) -> String {
    format!("[{}]", values.iter().map(|value| quoted(value.as_ref())).collect::<Vec<_>>().join(", "))
}

impl Config {
    /// The whole configuration as TOML, with defaults. Secrets are printed as their references, digests of keys are not printed.
    #[must_use]
    pub fn print(&self) -> String {
        let mut toml = TomlWriter(String::new());
        toml.text("tenants_file", &self.tenants_file.display().to_string());
        let (server, sessions) = (&self.server, &self.sessions);
        toml.header("[server]")
            .text("listen", &server.listen.to_string())
            .some("admin_listen", server.admin_listen.map(|address| quoted(&address.to_string())))
            .text("body_bytes_max", &units::size(server.body_bytes_max as u64))
            .some("request_bytes_max", server.request_bytes_max.map(|bytes| quoted(&units::size(bytes as u64))))
            .some(
                "tenant_request_bytes_max",
                server.tenant_request_bytes_max.map(|bytes| quoted(&units::size(bytes as u64))),
            )
            .set("connections_max", server.connections_max)
            .some("connections_per_address_max", server.connections_per_address_max)
            .time("header_timeout", server.header_timeout)
            .time("reader_timeout", server.reader_timeout)
            .time("request_timeout", server.request_timeout)
            .time("drain_timeout", server.drain_timeout)
            .text("plugin_memory_total", &units::size(server.plugin_memory_total as u64))
            .texts("hosts", &server.hosts)
            .texts("origins", &server.origins.iter().map(ToString::to_string).collect::<Vec<_>>())
            .texts("trusted_proxies", &server.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>())
            .set("log_json", server.log_json);
        toml.header("[sessions]")
            .text("path", &sessions.path.display().to_string())
            .time("idle_timeout", sessions.idle_timeout)
            .set("messages_max", sessions.messages_max)
            .text("bytes_max", &units::size(sessions.bytes_max))
            .text("file_bytes_max", &units::size(sessions.file_bytes_max));
        toml.header("[keyvalue]")
            .text("path", &self.keyvalue.path.display().to_string())
            .text("file_bytes_max", &units::size(self.keyvalue.file_bytes_max));
        toml.header("[audit]")
            .some("path", self.audit.path.as_ref().map(|path| quoted(&path.display().to_string())))
            .set("prompts", self.audit.prompts);
        toml.header("[tools]")
            .set("rounds", self.tools.rounds)
            .set("calls_max", self.tools.calls_max)
            .time("approval_timeout", self.tools.approval_timeout);
        toml.header("[hub]")
            .texts("endpoints", &self.hub.endpoints)
            .texts("models", &self.hub.models)
            .some("cache_bytes_max", self.hub.cache_bytes_max.map(|bytes| quoted(&units::size(bytes))));
        toml.header("[plugins]").signatures(&self.signatures);
        self.models.iter().for_each(|model| toml.model(model));
        self.plugins.iter().for_each(|plugin| toml.plugin(plugin));
        self.mcp.servers.iter().for_each(|server| toml.mcp(server));
        self.tenants.iter().for_each(|tenant| toml.tenant(tenant));
        toml.0
    }
}

impl TomlWriter {
    fn model(&mut self, model: &ModelConfig) {
        self.header("[[model]]")
            .text("name", &model.name)
            .some("path", model.path.as_ref().map(|path| quoted(&path.display().to_string())))
            .some("path", model.hub.as_ref().map(|name| quoted(&name.to_string())))
            .text("device", &model.device)
            .some("context_tokens", model.context_tokens)
            .some("cache_bytes", model.cache_bytes.map(|bytes| quoted(&units::size(bytes))))
            .some("in_flight_max", model.in_flight_max)
            .some("threads", model.threads)
            .set("text_control_tokens", model.text_control_tokens)
            .some("quantize", model.quantize.map(|mixture| quoted(mixture.name)))
            .set("repack", model.repack)
            .some(
                "kv_cache",
                KV_CACHE_TYPES.iter().find(|(_, kind)| *kind == model.kv_cache).map(|(name, _)| quoted(name)),
            )
            .text(
                "speculation",
                match model.speculation {
                    Speculation::NGram => "ngram",
                    Speculation::Off => "off",
                },
            );
    }

    fn limits(&mut self, limits: &PluginLimitsConfig, [fuel, memory, timeout]: [&str; 3]) -> &mut Self {
        self.some(fuel, limits.fuel)
            .some(memory, limits.memory_bytes.map(|bytes| quoted(&units::size(bytes as u64))))
            .some(timeout, limits.timeout.map(|time| quoted(&units::time(time))))
    }

    fn plugin(&mut self, plugin: &PluginConfig) {
        self.header("[[plugin]]")
            .text("name", &plugin.name)
            .text("source", &plugin.source)
            .limits(&plugin.limits, ["fuel", "memory", "timeout"])
            .texts("grants", &plugin.grants)
            .some("digest", plugin.digest.as_ref().map(|digest| quoted(digest)))
            .some("on_fault", plugin.on_fault.map(effect))
            .some("on_timeout", plugin.on_timeout.map(effect));
        if plugin.config_json.is_some() {
            // The configuration of a plugin may contain secrets.
            self.line("# config = (hidden)");
        }
    }

    fn signatures(&mut self, policy: &SignaturePolicy) -> &mut Self {
        self.texts("trusted_keys", &policy.trusted_keys.iter().map(ToString::to_string).collect::<Vec<_>>())
            .set("require_signature", policy.require_signature)
    }

    fn mcp(&mut self, server: &McpServerConfig) {
        self.header("[[mcp.server]]").text("name", &server.name);
        if let Some(command) = &server.command {
            self.texts("command", command);
        }
        self.some("url", server.url.as_ref().map(|url| quoted(url)))
            .some("cwd", server.cwd.as_ref().map(|cwd| quoted(&cwd.display().to_string())))
            .some("prefix", server.prefix.as_ref().map(|prefix| quoted(prefix)))
            .texts("tools", &server.tools)
            .set("required", server.required)
            .time("connect_timeout", server.connect_timeout)
            .time("call_timeout", server.call_timeout)
            .time("total_timeout", server.total_timeout)
            .texts("env_pass", &server.env_pass);
        for (key, pairs) in [("env", &server.env), ("headers", &server.headers)] {
            let shown = pairs.iter().map(|(name, secret)| format!("{} = {}", quoted(name), quoted(secret.reference())));
            if !pairs.is_empty() {
                self.set(key, format!("{{ {} }}", shown.collect::<Vec<_>>().join(", ")));
            }
        }
    }

    fn tenant(&mut self, tenant: &TenantConfig) {
        self.header("[[tenant]]")
            .text("name", &tenant.name)
            .set("weight", tenant.weight)
            .texts("models", &tenant.models)
            .texts("plugins", &tenant.plugins)
            .texts("request_plugins", &tenant.request_plugins)
            .texts("mcp_servers", &tenant.mcp_servers)
            .signatures(&tenant.signatures);
        let globs = |wanted: Permission| {
            let rules = tenant.tools.rules.iter().filter(move |rule| rule.1 == wanted);
            rules.map(|rule| rule.0.as_str()).collect::<Vec<_>>()
        };
        self.header("[tenant.tools]")
            .texts("deny", &globs(Permission::Deny))
            .texts("ask", &globs(Permission::Ask))
            .texts("allow", &globs(Permission::Allow))
            .text("otherwise", permission(tenant.tools.otherwise));
        let grants = tenant.grants.iter().flatten().map(|(name, own)| format!("{} = {}", quoted(name), list(own)));
        let grants = grants.collect::<Vec<_>>();
        if !grants.is_empty() {
            self.header("[tenant.grants]");
            grants.iter().for_each(|line| {
                self.line(line);
            });
        }
        self.tenant_limits(&tenant.limits);
        for key in &tenant.keys {
            self.header("[[tenant.key]]")
                .text("id", &key.id)
                .line("# digest = (hidden)")
                .some("expires", key.expires.map(time::rfc3339))
                .texts("scopes", &key.scopes.iter().map(|scope| Scope::as_str(*scope)).collect::<Vec<_>>());
        }
    }

    fn tenant_limits(&mut self, limits: &TenantLimits) {
        self.header("[tenant.limits]")
            .some("requests_per_minute", limits.requests_per_minute)
            .some("tokens_per_minute", limits.tokens_per_minute)
            .some("tool_calls_per_minute", limits.tool_calls_per_minute)
            .some("plugin_fuel_per_minute", limits.plugin_fuel_per_minute)
            .set("in_flight_max", limits.in_flight_max)
            .some("context_tokens_max", limits.context_tokens_max)
            .set("sessions_max", limits.sessions_max)
            .some("sessions_bytes_max", limits.sessions_bytes_max.map(|bytes| quoted(&units::size(bytes))))
            .some("connections_max", limits.connections_max)
            .set("streams_max", limits.streams_max)
            .limits(&limits.plugin, ["plugin_fuel", "plugin_memory", "plugin_timeout"]);
    }
}

fn permission(permission: Permission) -> &'static str {
    match permission {
        Permission::Allow => "allow",
        Permission::Ask => "ask",
        Permission::Deny => "deny",
    }
}

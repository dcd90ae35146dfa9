//! Every key of a configuration, for the reference page: types and ranges come from the reader itself, defaults from
//! [`super::Config::print`], and meanings from the table below. Tests check that the three agree.

use super::problem::Problems;
use super::read;

/// A key of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigKey {
    /// Its table and its name, such as `tenant.limits.sessions_max`.
    pub path: String,
    /// Its type, as a reader writes it: `boolean`, `size`, `list of texts`.
    pub kind: String,
    /// The values that are accepted; empty if the type allows all.
    pub range: String,
    /// What counts without the key: a value as TOML, or a sentence.
    pub default: String,
    /// What it does.
    pub meaning: &'static str,
}

/// `(path, kind if the reader knows only that it is a text, default if `config print` shows none, meaning)`.
type KeyRow = (&'static str, &'static str, &'static str, &'static str);

const ROWS: &[KeyRow] = &[
    ("tenants_file", "path", "", "The file of further tenants, which `firebox tenants` edits."),
    ("server.listen", "address with port", "", "The address of the HTTP server."),
    (
        "server.admin_listen",
        "address with port",
        "no admin address",
        "A second address for `/healthz`, `/readyz` and `/metrics`, with connections of its own. `/metrics` then answers only here.",
    ),
    ("server.body_bytes_max", "", "", "Bytes of one request body."),
    (
        "server.request_bytes_max",
        "",
        "96 MiB, less on a machine with little memory",
        "Bytes of all request bodies in memory. Each body counts twice: received and parsed.",
    ),
    (
        "server.tenant_request_bytes_max",
        "",
        "a third of `request_bytes_max`",
        "Bytes of the request bodies of one tenant in memory.",
    ),
    (
        "server.connections_max",
        "",
        "",
        "Open connections. The limit is lower if the system has too few file descriptors.",
    ),
    (
        "server.connections_per_address_max",
        "",
        "half of `connections_max`",
        "Open connections of one client address without a valid key.",
    ),
    ("server.header_timeout", "", "", "Time to send the headers of a request. Also the idle time of a connection."),
    (
        "server.reader_timeout",
        "",
        "",
        "Time that a client can read less than 8 KiB per second before its answer is aborted.",
    ),
    ("server.request_timeout", "", "", "Time from the arrival of a request to the end of its answer."),
    ("server.drain_timeout", "", "", "Time that running requests have to finish at shutdown."),
    ("server.plugin_memory_total", "", "", "Bytes of the memory of all plugin instances."),
    (
        "server.hosts",
        "",
        "",
        "Values of the `Host` header that `/mcp` accepts, in addition to the names of this machine.",
    ),
    (
        "server.origins",
        "",
        "",
        "Web pages that may send requests, such as `https://app.example.org` or `http://localhost:*`.",
    ),
    ("server.trusted_proxies", "", "", "Networks of proxies whose `X-Forwarded-For` header names the client address."),
    ("server.log_json", "", "", "Write the log as JSON, one object per line."),
    ("model.name", "", "required", "The name in requests. `ember` without `path` is the built-in model."),
    (
        "model.path",
        "path or `org/name`",
        "the built-in model",
        "The GGUF file or Hugging Face folder of the model. If there is no such path, the name of a model on a hub.",
    ),
    (
        "model.device",
        "`auto`, `vulkan`, `metal`, `dx12`, `webgpu` or `cpu`, with `:INDEX` for one of several",
        "",
        "The device of the model.",
    ),
    ("model.context_tokens", "", "8,192, at most the context of the checkpoint", "Tokens of one conversation."),
    ("model.threads", "", "one for each core", "Threads of the model that compute on the CPU."),
    ("model.cache_bytes", "", "4 GiB", "Bytes of the KV caches of all sequences."),
    ("model.in_flight_max", "", "64", "Requests that run at the same time. Further requests wait."),
    (
        "model.text_control_tokens",
        "",
        "",
        "Turn the text of a control token in a message into that token, as transformers does.",
    ),
    (
        "model.speculation",
        "",
        "",
        "`ngram` drafts the continuation of the last matching tokens of a text, and verifies it in one step, where that measures as a gain. The text stays the same.",
    ),
    (
        "model.quantize",
        "`q8_0`, `q6_k`, `q5_k_m`, `q5_k_s`, `q5_1`, `q5_0`, `q4_k_m`, `q4_k_s`, `q4_1`, `q4_0`, `bf16` or `f16`",
        "as they are",
        "The type of the matrices of a model in full precision. They are quantized once, and mapped from the cache.",
    ),
    (
        "model.repack",
        "",
        "",
        "Repack quantized matrices on the CPU where that is faster, once. They are mapped from the cache, and take as much room there as in the model's file.",
    ),
    (
        "model.kv_cache",
        "",
        "",
        "The type of keys and values in the KV cache of a model on the CPU. `f16` takes half the memory of `f32`, and `q8_0` 53 % of `f16`.",
    ),
    ("plugin.name", "", "required", "The name in the chains of tenants."),
    (
        "plugin.source",
        "name or path",
        "the value of `name`",
        "A built-in plugin, a component file, or a folder with `plugin.toml`.",
    ),
    ("plugin.config", "", "no configuration", "The configuration that the plugin gets as JSON, at most 64 KiB."),
    ("plugin.fuel", "", "the manifest, else 200,000,000", "Fuel of one call."),
    ("plugin.memory", "", "the manifest, else 32 MiB", "Bytes of memory of one instance."),
    ("plugin.timeout", "", "the manifest, else 1 s", "Wall-clock time of one call."),
    (
        "plugin.grants",
        "",
        "",
        "Capabilities for a plugin that asks for them, such as `clock`, `keyvalue:notes`, `files:docs=PATH`, `http:GET https://example.org` or `secret:key=env:KEY for https://example.org`.",
    ),
    (
        "plugin.digest",
        "64 hexadecimal digits, or `any`",
        "required with `grants`, unless the plugin is built in",
        "The SHA-256 of the component that the grants are for. Another component is not loaded.",
    ),
    (
        "plugin.on_fault",
        "",
        "the manifest, else `\"fail\"`",
        "`fail` ends the request when a call of the plugin faults. `skip` continues without the plugin.",
    ),
    ("plugin.on_timeout", "", "the manifest, else that of `on_fault`", "The same for a call that takes too long."),
    (
        "plugins.trusted_keys",
        "list of public keys",
        "",
        "The keys whose signatures of plugins count. `firebox plugins keygen` makes one.",
    ),
    (
        "plugins.require_signature",
        "",
        "",
        "Load a plugin that is not built in only with a signature of a trusted key. Also for `firebox run`, `chat`, `mcp` and `plugins`.",
    ),
    ("mcp.server.name", "", "required", "The name in `mcp_servers` of tenants."),
    ("mcp.server.command", "", "required without `url`", "The program of the MCP server and its arguments."),
    ("mcp.server.url", "URL", "required without `command`", "The address of an MCP server over HTTP."),
    (
        "mcp.server.env_pass",
        "",
        "",
        "Environment variables that the program inherits, in addition to basic ones such as `PATH` and `HOME`.",
    ),
    (
        "mcp.server.env",
        "",
        "no variables",
        "Environment variables of the program. A secret is a reference: `env:NAME` or `file:PATH`.",
    ),
    ("mcp.server.cwd", "path", "the folder of `firebox serve`", "The working directory of the program."),
    ("mcp.server.bearer", "`env:NAME` or `file:PATH`", "no token", "The bearer token of an MCP server over HTTP."),
    (
        "mcp.server.headers",
        "",
        "no headers",
        "Headers of every HTTP request. A secret is a reference: `env:NAME` or `file:PATH`.",
    ),
    ("mcp.server.connect_timeout", "", "", "Time to start the program or to connect, and to complete the handshake."),
    (
        "mcp.server.call_timeout",
        "",
        "",
        "Time of a call without a message from the server. A progress notification restarts it.",
    ),
    ("mcp.server.total_timeout", "", "", "Time of a whole call. Never less than `call_timeout`."),
    (
        "mcp.server.prefix",
        "",
        "no prefix until two servers share a tool name",
        "Prefix of the tool names: the tools are `PREFIX__NAME`.",
    ),
    ("mcp.server.tools", "", "", "Globs of the tools that are offered, by the names that the server uses."),
    ("mcp.server.required", "", "", "`/readyz` fails while the server does not answer."),
    ("sessions.path", "path", "", "The session database. `:memory:` keeps sessions until the process ends."),
    (
        "sessions.idle_timeout",
        "",
        "",
        "Time after its last use at which a session is deleted, counted while a server runs.",
    ),
    ("sessions.messages_max", "", "", "Messages of one session."),
    ("sessions.bytes_max", "", "", "Bytes of all messages of one session."),
    ("sessions.file_bytes_max", "", "", "Bytes of the session database."),
    (
        "keyvalue.path",
        "path",
        "",
        "The database of the plugins' buckets. `:memory:` keeps them until the process ends.",
    ),
    (
        "keyvalue.file_bytes_max",
        "",
        "",
        "Bytes of the database of buckets. A tenant has at most a quarter, and 64 MiB.",
    ),
    ("audit.path", "path", "no audit log", "The audit log. With it, work that cannot be logged is refused."),
    ("audit.prompts", "", "", "Also log the text of prompts and the arguments of tools."),
    (
        "hub.endpoints",
        "",
        "",
        "Addresses of the hubs from which models may be downloaded. `HF_ENDPOINT` names the one that is used.",
    ),
    (
        "hub.models",
        "",
        "",
        "Globs of the models that may be downloaded, as `org/name`. Without it nothing is downloaded.",
    ),
    (
        "hub.cache_bytes_max",
        "",
        "no limit",
        "Bytes of the model cache. Before and after a download, models that were not used for longest are removed.",
    ),
    ("tools.rounds", "", "", "Tool rounds of one request."),
    ("tools.calls_max", "", "", "Tool calls of one request, all rounds together."),
    ("tools.approval_timeout", "", "", "Time to approve a tool call. After that the call is declined."),
    ("tenant.name", "", "required", "The name of the tenant, which is also its id in logs and metrics."),
    ("tenant.weight", "", "", "Share of a model: a tenant with twice the weight gets twice the time."),
    ("tenant.models", "", "", "Globs of the models that the tenant can use."),
    ("tenant.plugins", "", "", "Plugins of every request, in this order."),
    ("tenant.request_plugins", "", "", "Plugins that a request may add."),
    ("tenant.mcp_servers", "", "", "Globs of the MCP servers whose tools the tenant can use."),
    (
        "tenant.grants",
        "table of lists",
        "no grants",
        "The capabilities that the tenant grants to each plugin, by its name; `*` is all that the operator grants.",
    ),
    (
        "tenant.trusted_keys",
        "list of public keys",
        "",
        "The keys that count for `require_signature` of the tenant. Without it, those of `[plugins]`.",
    ),
    (
        "tenant.require_signature",
        "",
        "",
        "Every plugin that the tenant lists and that is not built in needs a signature of a trusted key.",
    ),
    ("tenant.tools.deny", "", "", "Globs of tool names that the tenant cannot call."),
    ("tenant.tools.ask", "", "", "Globs of tool names whose calls need an approval."),
    (
        "tenant.tools.allow",
        "",
        "",
        "Globs of tool names whose calls need no approval. If several lists match, the strictest one counts.",
    ),
    ("tenant.tools.otherwise", "", "", "The rule for tools that no list matches."),
    ("tenant.limits.requests_per_minute", "", "no limit", "Requests in any 60 s."),
    ("tenant.limits.tokens_per_minute", "", "no limit", "Tokens of prompts and answers in any 60 s."),
    ("tenant.limits.tool_calls_per_minute", "", "no limit", "Tool calls in any 60 s."),
    ("tenant.limits.plugin_fuel_per_minute", "", "no limit", "Fuel of plugin calls in any 60 s."),
    ("tenant.limits.in_flight_max", "", "", "Chat and embedding requests at the same time, waiting ones included."),
    (
        "tenant.limits.context_tokens_max",
        "",
        "the context of the model",
        "Tokens of one conversation, prompt and answer together.",
    ),
    ("tenant.limits.sessions_max", "", "", "Stored sessions."),
    (
        "tenant.limits.sessions_bytes_max",
        "",
        "an eighth of `sessions.file_bytes_max`, or all of it for the only tenant",
        "Bytes of all stored sessions.",
    ),
    ("tenant.limits.connections_max", "", "a quarter of `server.connections_max`", "Open requests of any kind."),
    ("tenant.limits.streams_max", "", "", "Streaming answers at the same time."),
    (
        "tenant.limits.plugin_fuel",
        "",
        "the limit of the plugin",
        "Fuel of one plugin call. The lower of this limit and the limit of the plugin counts.",
    ),
    (
        "tenant.limits.plugin_memory",
        "",
        "the limit of the plugin",
        "Bytes of memory of one plugin instance. The lower of this limit and the limit of the plugin counts.",
    ),
    (
        "tenant.limits.plugin_timeout",
        "",
        "the limit of the plugin",
        "Wall-clock time of one plugin call. The lower of this limit and the limit of the plugin counts.",
    ),
    ("tenant.key.id", "", "required", "The public part of the key, at most 64 bytes, without `_`."),
    (
        "tenant.key.digest",
        "64 hexadecimal digits",
        "required",
        "The SHA-256 of the key. `firebox tenants rotate NAME` creates a key.",
    ),
    ("tenant.key.expires", "date and time (RFC 3339)", "never", "The time at which the key stops working."),
    ("tenant.key.scopes", "", "", "The parts of the API that the key opens."),
];

/// A configuration with one table of each kind and no value that a default could stand for.
const SMALLEST: &str = "[[model]]\nname = \"ember\"\n[[plugin]]\nname = \"redact\"\n[[mcp.server]]\nname = \"s\"\n\
                        command = [\"s\"]\n[[tenant]]\nname = \"t\"\n[[tenant.key]]\nid = \"k\"\ndigest = \"0000000000000000\
                        000000000000000000000000000000000000000000000000\"\n";

/// Every key, in the order of the page.
///
/// # Panics
/// Never: the smallest configuration is read by a test.
#[must_use]
pub fn keys() -> Vec<ConfigKey> {
    let problems = Problems::recording();
    let tree = super::document::parse(SMALLEST, "smallest", &problems);
    let config = read(&tree, None, &|_| None, &problems);
    let (forms, shown) = (problems.forms(), values(&config.print()));
    let key = |(path, kind, default, meaning): &KeyRow| {
        let form = forms.iter().find(|form| form.path == *path);
        let shown = shown.iter().find(|value| value.0 == *path).map(|value| format!("`{}`", value.1));
        let default = if default.is_empty() { shown.unwrap_or_default() } else { (*default).to_owned() };
        ConfigKey {
            path: (*path).to_owned(),
            kind: if kind.is_empty() {
                form.map(|form| form.kind.clone()).unwrap_or_default()
            } else {
                (*kind).to_owned()
            },
            range: form.map(|form| form.range.clone()).unwrap_or_default(),
            default,
            meaning,
        }
    };
    ROWS.iter().map(key).collect()
}

/// The values of a printed configuration, as `(table.key, TOML)`.
fn values(printed: &str) -> Vec<(String, String)> {
    let (mut table, mut values) = (String::new(), Vec::new());
    for line in printed.lines() {
        if line.starts_with('[') {
            table = format!("{}.", line.trim_matches(['[', ']']));
        } else if let Some((key, value)) = line.split_once(" = ") {
            values.push((format!("{table}{key}"), value.to_owned()));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Keys of tables are tables of the page.
    const TABLES: &[&str] =
        &["server", "plugins", "mcp", "sessions", "keyvalue", "audit", "hub", "tools", "tenant.tools", "tenant.limits"];

    #[test]
    fn the_table_has_every_key_that_the_reader_asks_for() {
        let problems = Problems::recording();
        let tree = super::super::document::parse(SMALLEST, "smallest", &problems);
        read(&tree, None, &|_| None, &problems);
        let asked: BTreeSet<String> = problems.forms().into_iter().map(|form| form.path).collect();
        let asked: BTreeSet<&str> = asked.iter().map(String::as_str).filter(|path| !TABLES.contains(path)).collect();
        let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.0).collect();
        assert_eq!(rows, asked);
        assert!(problems.finish().is_ok(), "the smallest configuration is valid");
    }
}

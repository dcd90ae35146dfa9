//! `[server]`, `[sessions]`, `[audit]` and `[tools]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use firebox_contract::limits;

use super::super::reader::Section;
use super::network::Network;
use super::origin::WebOrigin;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The address of the server.
    pub listen: SocketAddr,
    /// Maximum size of a request body, in bytes.
    pub body_bytes_max: usize,
    /// A second address for probes and metrics. With it, metrics are served there only.
    pub admin_listen: Option<SocketAddr>,
    /// Maximum size of all request bodies at a time, raw and parsed, in bytes. The default depends on the memory.
    pub request_bytes_max: Option<usize>,
    /// The part of `request_bytes_max` for one tenant.
    pub tenant_request_bytes_max: Option<usize>,
    /// Maximum connections.
    pub connections_max: usize,
    /// Maximum connections of one address without a valid key.
    pub connections_per_address_max: Option<usize>,
    /// Time for a client to send its headers.
    pub header_timeout: Duration,
    /// Time for which a client may read too slowly.
    pub reader_timeout: Duration,
    /// Maximum time of a request.
    pub request_timeout: Duration,
    /// Time for running requests to finish at shutdown.
    pub drain_timeout: Duration,
    /// Maximum memory of all plugins together, in bytes.
    pub plugin_memory_total: usize,
    /// Values of the header `Host` that `/mcp` accepts, in addition to names of this machine.
    pub hosts: Vec<String>,
    /// Web pages that may call the server; none by default.
    pub origins: Vec<WebOrigin>,
    /// Proxies whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<Network>,
    /// Whether the log is JSON.
    pub log_json: bool,
}

/// The range of `plugin_memory_total`.
const PLUGIN_MEMORY_TOTAL: RangeInclusive<u64> = limits::PLUGIN_POOL_BYTES_MIN as u64..=limits::PLUGIN_POOL_BYTES_MAX;

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, limits::LISTEN_PORT_DEFAULT)),
            body_bytes_max: limits::BODY_BYTES_DEFAULT,
            admin_listen: None,
            request_bytes_max: None,
            tenant_request_bytes_max: None,
            connections_max: limits::CONNECTIONS_DEFAULT,
            connections_per_address_max: None,
            header_timeout: limits::HEADER_TIMEOUT_DEFAULT,
            reader_timeout: limits::READER_TIMEOUT_DEFAULT,
            request_timeout: limits::REQUEST_TIMEOUT_DEFAULT,
            drain_timeout: limits::DRAIN_TIMEOUT_DEFAULT,
            plugin_memory_total: limits::PLUGIN_POOL_BYTES_DEFAULT,
            hosts: Vec::new(),
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            log_json: false,
        }
    }
}

impl ServerConfig {
    pub(in crate::config) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let second = Duration::from_secs(1);
        let address = |text: &str| {
            text.parse()
                .map_err(|_| format!("\"{text}\" is not an address with a port; write for example 127.0.0.1:8080"))
        };
        let read = Self {
            listen: section.parsed("listen", address).unwrap_or(default.listen),
            body_bytes_max: bytes(&mut section, "body_bytes_max", limits::BODY_BYTES_MAX)
                .unwrap_or(default.body_bytes_max),
            admin_listen: section.parsed("admin_listen", address),
            request_bytes_max: bytes(&mut section, "request_bytes_max", limits::REQUEST_BYTES_MAX),
            tenant_request_bytes_max: bytes(&mut section, "tenant_request_bytes_max", limits::REQUEST_BYTES_MAX),
            connections_max: section
                .count("connections_max", 1..=limits::CONNECTIONS_MAX)
                .unwrap_or(default.connections_max),
            connections_per_address_max: section.count("connections_per_address_max", 1..=limits::CONNECTIONS_MAX),
            header_timeout: section
                .time("header_timeout", second..=limits::HEADER_TIMEOUT_MAX)
                .unwrap_or(default.header_timeout),
            reader_timeout: section
                .time("reader_timeout", second..=limits::READER_TIMEOUT_MAX)
                .unwrap_or(default.reader_timeout),
            request_timeout: section
                .time("request_timeout", second..=limits::REQUEST_TIMEOUT_MAX)
                .unwrap_or(default.request_timeout),
            drain_timeout: section
                .time("drain_timeout", Duration::ZERO..=limits::DRAIN_TIMEOUT_MAX)
                .unwrap_or(default.drain_timeout),
            plugin_memory_total: section
                .size("plugin_memory_total", PLUGIN_MEMORY_TOTAL)
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(default.plugin_memory_total),
            hosts: section.texts("hosts").unwrap_or_default(),
            origins: parsed_list(&mut section, "origins"),
            trusted_proxies: parsed_list(&mut section, "trusted_proxies"),
            log_json: section.boolean("log_json").unwrap_or(default.log_json),
        };
        section.finish();
        read
    }
}

/// A list of texts, each parsed.
fn parsed_list<T: FromStr<Err = String>>(section: &mut Section<'_>, key: &'static str) -> Vec<T> {
    let texts = section.texts(key).unwrap_or_default();
    let parsed =
        |text: &String| text.parse().map_err(|why| section.error(section.at(key), format!("\"{key}\": {why}"))).ok();
    texts.iter().filter_map(parsed).collect()
}

/// A size from 1 to `max` bytes.
pub(in crate::config) fn bytes(section: &mut Section<'_>, key: &'static str, max: usize) -> Option<usize> {
    section.size(key, 1..=max as u64).and_then(|bytes| usize::try_from(bytes).ok())
}

/// `[sessions]`: conversations stored on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionsConfig {
    /// The database, or `:memory:`.
    pub path: PathBuf,
    /// A session without a new message for this time is deleted.
    pub idle_timeout: Duration,
    /// Maximum messages of one session.
    pub messages_max: usize,
    /// Maximum size of one session, in bytes.
    pub bytes_max: u64,
    /// Maximum size of the database, in bytes.
    pub file_bytes_max: u64,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(":memory:"),
            idle_timeout: limits::SESSION_IDLE_DEFAULT,
            messages_max: limits::MESSAGES_MAX,
            bytes_max: limits::SESSION_BYTES_MAX_DEFAULT,
            file_bytes_max: limits::SESSIONS_FILE_BYTES_MAX_DEFAULT,
        }
    }
}

impl SessionsConfig {
    pub(in crate::config) fn read(mut section: Section<'_>, folder: &Path) -> Self {
        let default = Self::default();
        let path = section.text("path").filter(|path| path != ":memory:");
        let read = Self {
            path: path.map_or(default.path, |path| folder.join(path)),
            idle_timeout: section
                .time("idle_timeout", Duration::from_secs(1)..=limits::SESSION_IDLE_MAX)
                .unwrap_or(default.idle_timeout),
            messages_max: section.count("messages_max", 2..=limits::MESSAGES_MAX).unwrap_or(default.messages_max),
            bytes_max: section.size("bytes_max", 1..=limits::SESSION_BYTES_MAX).unwrap_or(default.bytes_max),
            file_bytes_max: section
                .size("file_bytes_max", limits::SESSIONS_FILE_BYTES_MIN..=limits::SESSIONS_FILE_BYTES_MAX)
                .unwrap_or(default.file_bytes_max),
        };
        section.finish();
        read
    }
}

/// `[audit]`: the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditConfig {
    /// The file; `None` for no log. With a log, work that cannot be logged is refused.
    pub path: Option<PathBuf>,
    /// Whether the text of prompts and the arguments of tool calls are logged.
    pub prompts: bool,
}

impl AuditConfig {
    pub(in crate::config) fn read(mut section: Section<'_>, folder: &Path) -> Self {
        let path = section.text("path");
        if path.as_deref() == Some("") {
            section.error(section.at("path"), "\"path\" is empty; leave it out for no log");
        }
        let read =
            Self { path: path.map(|path| folder.join(path)), prompts: section.boolean("prompts").unwrap_or_default() };
        section.finish();
        read
    }
}

/// `[tools]`: limits of tool calls in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolsConfig {
    /// Maximum tool rounds in a request.
    pub rounds: usize,
    /// Maximum tool calls in a request.
    pub calls_max: usize,
    /// Time to approve a call.
    pub approval_timeout: Duration,
}

impl Default for ToolsConfig {
    fn default() -> Self {
        Self {
            rounds: limits::TOOL_ROUNDS_DEFAULT,
            calls_max: limits::TOOL_CALLS_MAX,
            approval_timeout: limits::APPROVAL_TIMEOUT_DEFAULT,
        }
    }
}

impl ToolsConfig {
    pub(in crate::config) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let read = Self {
            rounds: section.count("rounds", 0..=limits::TOOL_ROUNDS_MAX).unwrap_or(default.rounds),
            calls_max: section.count("calls_max", 1..=limits::TOOL_CALLS_MAX).unwrap_or(default.calls_max),
            approval_timeout: section
                .time("approval_timeout", Duration::from_secs(1)..=limits::APPROVAL_TIMEOUT_MAX)
                .unwrap_or(default.approval_timeout),
        };
        section.finish();
        read
    }
}

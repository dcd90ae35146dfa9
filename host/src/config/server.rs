//! `[server]`, `[sessions]`, `[audit]` and `[tools]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use firebox_contract::limits;

use super::network::Network;
use super::origin::WebOrigin;
use super::reader::Section;

/// `[server]`: the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Where probes and metrics are answered beside the main address; metrics then only there.
    pub admin_listen: Option<SocketAddr>,
    /// Bytes of bodies of all requests at a time, as they came and as they were read; by the memory there is where absent.
    pub request_bytes_max: Option<usize>,
    /// Of these, bytes of one tenant's requests; a half where absent.
    pub tenant_request_bytes_max: Option<usize>,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time of one address, without a good key.
    pub connections_per_address_max: Option<usize>,
    /// Time a client has to send its headers.
    pub header_timeout: Duration,
    /// Time a client may be behind in taking what is sent to it.
    pub reader_timeout: Duration,
    /// Time of one request in all.
    pub request_timeout: Duration,
    /// Time running work has to end at shutdown.
    pub drain_timeout: Duration,
    /// Bytes of memory that the plugins of all requests have together.
    pub plugin_memory_total: usize,
    /// Values of `Host` that are answered at `/mcp`, beside those of this machine itself.
    pub hosts: Vec<String>,
    /// Values of `Origin` (web pages) that are answered; none without an entry here.
    pub origins: Vec<WebOrigin>,
    /// Proxies whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<Network>,
    /// Whether the log is JSON, one object a line.
    pub log_json: bool,
}

/// What `plugin_memory_total` may be.
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
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let second = Duration::from_secs(1);
        let address = |text: &str| {
            text.parse().map_err(|_| format!("\"{text}\" is not an address with a port; write 127.0.0.1:8080"))
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

/// A list of texts, each of which has to be read.
fn parsed_list<T: FromStr<Err = String>>(section: &mut Section<'_>, key: &'static str) -> Vec<T> {
    let texts = section.texts(key).unwrap_or_default();
    let parsed =
        |text: &String| text.parse().map_err(|why| section.error(section.at(key), format!("\"{key}\": {why}"))).ok();
    texts.iter().filter_map(parsed).collect()
}

/// A size from one byte to `max`, as memory counts it.
pub(super) fn bytes(section: &mut Section<'_>, key: &'static str, max: usize) -> Option<usize> {
    section.size(key, 1..=max as u64).and_then(|bytes| usize::try_from(bytes).ok())
}

/// `[sessions]`: conversations kept on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionsConfig {
    /// The database, or `:memory:`.
    pub path: PathBuf,
    /// A session that nobody used for so long is deleted.
    pub idle_timeout: Duration,
    /// Messages of one session.
    pub messages_max: usize,
    /// Bytes of all messages of one session.
    pub bytes_max: u64,
    /// Bytes of the database.
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
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Self {
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

/// `[audit]`: who did what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditConfig {
    /// The log; without it there is none. With it, no work begins that could not be logged.
    pub path: Option<PathBuf>,
    /// Whether the text of prompts and the arguments of tools are logged too.
    pub prompts: bool,
}

impl AuditConfig {
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Self {
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

/// `[tools]`: the tool loop of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolsConfig {
    /// Rounds of tool calls in one request.
    pub rounds: usize,
    /// Calls in all rounds of one request.
    pub calls_max: usize,
    /// Time somebody has to approve a call.
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
    pub(super) fn read(mut section: Section<'_>) -> Self {
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

//! The configuration of an MCP server.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::{
    MCP_CLIENT_REASON_BYTES_MAX, MCP_CLIENT_TIMEOUT_MAX, MCP_CONNECT_TIMEOUT_DEFAULT, MCP_TOTAL_TIMEOUT_DEFAULT,
    TOOL_CALL_TIMEOUT,
};
use firebox_contract::tool::matches_glob;
use firebox_contract::{TenantId, ToolDefinition};
use sha2::{Digest, Sha256};

use crate::McpError;
use crate::client::connection::definition;
use crate::client::pins::ToolPins;

/// Variables of the host's environment that every child process gets: enough to find programs and files and to use the right
/// character set, and none that usually holds a secret.
const ENVIRONMENT: &[&str] = &[
    "APPDATA",
    "HOME",
    "LANG",
    "LC_ALL",
    "LOCALAPPDATA",
    "LOGNAME",
    "PATH",
    "PATHEXT",
    "SHELL",
    "SYSTEMROOT",
    "TEMP",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "USERPROFILE",
    "XDG_CACHE_HOME",
];

/// Minimum length of a secret that is redacted. Shorter values appear in ordinary words, so redacting them would garble
/// messages.
const SECRET_BYTES_MIN: usize = 4;

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret with this value.
    #[must_use]
    pub fn new(value: &str) -> Self {
        Self(Arc::from(value))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A server that runs as a child process and communicates over its standard input and output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StdioServer {
    /// The program, looked up in `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory. The default is that of the host.
    pub cwd: Option<PathBuf>,
    /// Further variables of the host's environment that it gets, in addition to the few that every server gets.
    pub env_allow: Vec<String>,
    /// Variables that are set only for this server.
    pub env: Vec<(String, Secret)>,
}

impl StdioServer {
    /// All environment variables of the child process. Variables of `env` override those of the host.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let passed = ENVIRONMENT.iter().copied().chain(self.env_allow.iter().map(String::as_str));
        let passed = passed.filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        let own = self.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value.expose())));
        passed.chain(own).collect()
    }
}

/// A server that is reached over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpServer {
    /// Its URL.
    pub url: String,
    /// The headers of every request.
    pub headers: Vec<(String, Secret)>,
}

/// The transport of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTransport {
    /// A child process.
    Stdio(StdioServer),
    /// HTTP.
    Http(HttpServer),
}

/// The configuration of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// Its transport.
    pub transport: ServerTransport,
    /// Maximum time to start, agree on a revision and read the tool list.
    pub connect_timeout: Duration,
    /// Maximum time of a call without a message from the server. A progress report restarts it.
    pub call_timeout: Duration,
    /// Maximum time of a call in total, regardless of progress reports.
    pub total_timeout: Duration,
    /// The prefix of its tools' names. Without one, names are qualified by the server's name if two servers offer the same name.
    pub prefix: Option<String>,
    /// Globs for the names of the tools that are offered.
    pub tools: Vec<String>,
    /// Whether the host is ready only with this server.
    pub required: bool,
    /// Whether all tenants share one connection.
    pub shared: bool,
    /// The tools that its operator accepted; `None` for whatever it offers.
    pub pins: Option<Arc<ToolPins>>,
}

impl ServerSpec {
    /// A server with this name and transport, and defaults for everything else.
    #[must_use]
    pub fn new(name: &str, transport: ServerTransport) -> Self {
        Self {
            name: name.to_owned(),
            transport,
            connect_timeout: MCP_CONNECT_TIMEOUT_DEFAULT,
            call_timeout: TOOL_CALL_TIMEOUT,
            total_timeout: MCP_TOTAL_TIMEOUT_DEFAULT,
            prefix: None,
            tools: vec!["*".to_owned()],
            required: false,
            shared: false,
            pins: None,
        }
    }

    /// A server that runs as a child process. `words` is the program and its arguments.
    ///
    /// # Errors
    /// [`McpError::Spec`] if `words` is empty.
    pub fn stdio(name: &str, mut words: Vec<String>) -> Result<Self, McpError> {
        if words.is_empty() {
            return Err(McpError::Spec(format!("mcp server \"{name}\" has no command; write name=PROGRAM ARGUMENTS")));
        }
        let command = words.remove(0);
        Ok(Self::new(name, ServerTransport::Stdio(StdioServer { command, args: words, ..StdioServer::default() })))
    }

    /// A server at `url`.
    #[must_use]
    pub fn http(name: &str, url: &str) -> Self {
        Self::new(name, ServerTransport::Http(HttpServer { url: url.to_owned(), headers: Vec::new() }))
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// [`McpError::Spec`] names the first problem.
    pub fn check(&self) -> Result<(), McpError> {
        let name = &self.name;
        let invalid = |problem: String| Err(McpError::Spec(format!("mcp server \"{name}\": {problem}")));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if name.is_empty() || name.len() > 32 || !is_plain(name) {
            return invalid("its name is not 1 to 32 letters, digits, \"-\" or \"_\"".to_owned());
        }
        if let Some(prefix) = self.prefix.as_deref().filter(|prefix| prefix.len() > 32 || !is_plain(prefix)) {
            return invalid(format!("the prefix \"{prefix}\" is not at most 32 letters, digits, \"-\" or \"_\""));
        }
        let times = [("connect", self.connect_timeout), ("call", self.call_timeout), ("total", self.total_timeout)];
        for (what, time) in times {
            if time.is_zero() || time > MCP_CLIENT_TIMEOUT_MAX {
                let (time, max) = (time.as_secs_f32(), MCP_CLIENT_TIMEOUT_MAX.as_secs());
                return invalid(format!("the {what} timeout \"{time}s\" is not between 1ms and {max}s"));
            }
        }
        match &self.transport {
            ServerTransport::Stdio(server) if server.command.is_empty() => invalid("its command is empty".to_owned()),
            ServerTransport::Stdio(_) => Ok(()),
            ServerTransport::Http(server) => crate::client::transport::http::check(server).or_else(invalid),
        }
    }

    /// Whether the tool of this name is offered.
    pub(super) fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|glob| matches_glob(glob, tool))
    }

    /// The error that withholds `tools`, if they are not the ones that the operator accepted.
    pub(super) fn withheld(&self, tools: &[ToolDefinition]) -> Option<McpError> {
        let changes = self.pins.as_ref()?.summary(&ToolPins::of(tools))?;
        Some(McpError::Changed { server: self.name.clone(), changes })
    }

    /// The key of a connection: server, credentials and, unless the server is shared, the tenant.
    pub(super) fn key(&self, tenant: &TenantId) -> ConnectionKey {
        let mut hasher = Sha256::new();
        let mut add = |part: &[u8]| {
            hasher.update(part.len().to_le_bytes());
            hasher.update(part);
        };
        add(self.name.as_bytes());
        match &self.transport {
            ServerTransport::Stdio(server) => {
                add(b"stdio");
                add(server.command.as_bytes());
                server.args.iter().for_each(|word| add(word.as_bytes()));
                add(server.cwd.as_ref().map_or(&[][..], |path| path.as_os_str().as_encoded_bytes()));
                for (name, value) in server.environment() {
                    add(name.as_encoded_bytes());
                    add(value.as_encoded_bytes());
                }
            }
            ServerTransport::Http(server) => {
                add(b"http");
                add(server.url.as_bytes());
                for (name, value) in &server.headers {
                    add(name.as_bytes());
                    add(value.expose().as_bytes());
                }
            }
        }
        self.tools.iter().for_each(|glob| add(glob.as_bytes()));
        add(format!("{:?}", (self.connect_timeout, self.call_timeout, self.total_timeout)).as_bytes());
        add(if self.shared { b"" } else { tenant.as_str().as_bytes() });
        ConnectionKey(hasher.finalize().into())
    }

    /// `text` shortened, without this server's secrets and without control characters. Servers may print their environment when
    /// they fail, and control characters could act on a terminal.
    pub(super) fn redact(&self, text: &str) -> String {
        let secrets = match &self.transport {
            ServerTransport::Stdio(server) => &server.env,
            ServerTransport::Http(server) => &server.headers,
        };
        let text = definition::cut(text, MCP_CLIENT_REASON_BYTES_MAX);
        let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let ServerTransport::Http(server) = &self.transport {
            // URLs may contain keys, too.
            if let Some(query) = crate::client::transport::http::query(&server.url) {
                text = text.replace(&query, "[secret]");
            }
        }
        for (_, secret) in secrets {
            // The secret of an authorization header follows the scheme: "Bearer ...".
            let token = secret.expose().rsplit(' ').next().unwrap_or_default();
            for value in [secret.expose(), token].into_iter().filter(|value| value.len() >= SECRET_BYTES_MIN) {
                text = text.replace(value, "[secret]");
            }
        }
        text
    }
}

/// The key of a connection. It is a digest, so it contains no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConnectionKey([u8; 32]);

#[cfg(test)]
mod tests {
    use super::*;

    fn server(env: &[(&str, &str)]) -> ServerSpec {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value))).collect();
        let server = StdioServer { command: "server".to_owned(), env, ..StdioServer::default() };
        ServerSpec::new("one", ServerTransport::Stdio(server))
    }

    #[test]
    fn credentials_and_tenant_are_part_of_the_connection_key() {
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let plain = server(&[("TOKEN", "first")]);
        assert_eq!(plain.key(&a), plain.clone().key(&a));
        assert_ne!(plain.key(&a), plain.key(&b), "tenants");
        assert_ne!(plain.key(&a), server(&[("TOKEN", "second")]).key(&a), "environment");
        let shared = ServerSpec { shared: true, ..plain.clone() };
        assert_eq!(shared.key(&a), shared.key(&b), "shared on purpose");
        let (url, other) =
            (ServerSpec::http("one", "http://localhost/a"), ServerSpec::http("one", "http://localhost/b"));
        assert_ne!(url.key(&a), other.key(&a));
    }

    #[test]
    fn secrets_are_never_printed() {
        let spec = server(&[("TOKEN", "hunter22")]);
        assert!(!format!("{spec:?}").contains("hunter22"));
        assert_eq!(spec.redact("TOKEN=hunter22 is wrong"), "TOKEN=[secret] is wrong");
        assert_eq!(spec.redact("\u{1b}[2Jgone\n"), " [2Jgone ");
        let mut http = ServerSpec::http("one", "http://localhost/mcp");
        if let ServerTransport::Http(server) = &mut http.transport {
            server.headers.push(("authorization".to_owned(), Secret::new("Bearer hunter22")));
        }
        assert_eq!(http.redact("token hunter22?"), "token [secret]?");
        let keyed = ServerSpec::http("one", "http://localhost/mcp?key=hunter22");
        assert_eq!(
            keyed.redact("for url (http://localhost/mcp?key=hunter22)"),
            "for url (http://localhost/mcp?[secret])"
        );
        assert!(!format!("{http:?}").contains("hunter22"));
    }

    #[test]
    fn the_error_for_an_invalid_configuration_quotes_the_value() {
        let zero = ServerSpec { call_timeout: Duration::ZERO, ..server(&[]) };
        let cases = [
            (ServerSpec { name: "a b".to_owned(), ..server(&[]) }, "\"a b\""),
            (zero, "the call timeout \"0s\""),
            (ServerSpec { prefix: Some("a.b".to_owned()), ..server(&[]) }, "the prefix \"a.b\""),
            (ServerSpec::http("one", "ftp://localhost"), "\"ftp://localhost\""),
            (ServerSpec::http("one", "http://user:word@localhost"), "password"),
        ];
        for (spec, expected) in cases {
            let error = spec.check().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
        assert_eq!(server(&[]).check(), Ok(()));
    }
}

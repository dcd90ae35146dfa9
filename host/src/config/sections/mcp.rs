//! `[[mcp.server]]`: MCP servers whose tools models can call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firebox_contract::limits;

use super::super::document::{Node, Value};
use super::super::reader::Section;
use super::models::name;
use super::secret::Secret;
use super::tenants::globs;

/// `[mcp]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct McpConfig {
    /// `[[mcp.server]]`.
    pub servers: Vec<McpServerConfig>,
}

/// An MCP server: a program to start, or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServerConfig {
    /// Its name.
    pub name: String,
    /// The program and its arguments; `None` if `url` is set.
    pub command: Option<Vec<String>>,
    /// The URL of a streamable HTTP server; `None` if `command` is set.
    pub url: Option<String>,
    /// Variables of Firebox's environment that the program gets, in addition to basic ones such as `PATH` and `HOME`.
    pub env_pass: Vec<String>,
    /// Further variables of the program.
    pub env: Vec<(String, Secret)>,
    /// Headers of every HTTP request, with `authorization` from `bearer`. Names are lower case.
    pub headers: Vec<(String, Secret)>,
    /// The program's working folder.
    pub cwd: Option<PathBuf>,
    /// Time to start or connect, including the handshake.
    pub connect_timeout: Duration,
    /// Time of one call without a message from the server.
    pub call_timeout: Duration,
    /// Time of one call.
    pub total_timeout: Duration,
    /// Prefix of the names of its tools. Default: none, unless two servers have a tool with the same name.
    pub prefix: Option<String>,
    /// Globs of the tools to offer, by their names on the server.
    pub tools: Vec<String>,
    /// Whether Firebox is not ready while it does not answer.
    pub required: bool,
}

/// Where secrets are read from.
pub(in crate::config) struct SecretSources<'a> {
    pub(in crate::config) folder: &'a Path,
    pub(in crate::config) env: &'a dyn Fn(&str) -> Option<String>,
}

/// Parts of names whose values are secrets. They must be references.
const SECRET_NAMES: &[&str] =
    &["authorization", "cookie", "token", "secret", "password", "passwd", "api-key", "api_key", "apikey"];

impl McpServerConfig {
    pub(in crate::config) fn read(mut section: Section<'_>, sources: &SecretSources<'_>) -> Option<Self> {
        let name = name(&mut section);
        let (command, url) = target(&mut section);
        let env = pairs(&mut section, "env", sources);
        let mut headers = pairs(&mut section, "headers", sources);
        headers.iter_mut().for_each(|header| header.0.make_ascii_lowercase());
        if let Some(text) = section.text("bearer") {
            let at = section.at("bearer").clone();
            match Secret::resolve(&text, sources.folder, sources.env) {
                Some(Ok(secret)) => headers.push(("authorization".to_owned(), secret.prefixed("Bearer "))),
                Some(Err(why)) => section.error(&at, why),
                None => section.error(&at, "\"bearer\" is a secret; write a reference: env:NAME or file:PATH"),
            }
        }
        let range = Duration::from_millis(1)..=limits::REQUEST_TIMEOUT_MAX;
        let mut time = |key, default| section.time(key, range.clone()).unwrap_or(default);
        let connect_timeout = time("connect_timeout", limits::MCP_CONNECT_TIMEOUT_DEFAULT);
        let call_timeout = time("call_timeout", limits::TOOL_CALL_TIMEOUT);
        let total_timeout = time("total_timeout", limits::MCP_TOTAL_TIMEOUT_DEFAULT.max(call_timeout));
        if total_timeout < call_timeout {
            section.error(section.at("total_timeout"), "\"total_timeout\" is shorter than \"call_timeout\"");
        }
        let read = Self {
            env_pass: section.texts("env_pass").unwrap_or_default(),
            cwd: section.text("cwd").map(|cwd| sources.folder.join(cwd)),
            prefix: section.text("prefix"),
            tools: globs(&mut section, "tools").unwrap_or_else(|| vec!["*".to_owned()]),
            required: section.boolean("required").unwrap_or_default(),
            name: name.clone().unwrap_or_default(),
            command,
            url,
            env,
            headers,
            connect_timeout,
            call_timeout,
            total_timeout,
        };
        section.finish();
        name.map(|_| read)
    }
}

fn target(section: &mut Section<'_>) -> (Option<Vec<String>>, Option<String>) {
    let (command, url) = (section.texts("command"), section.text("url"));
    match (&command, &url) {
        (None, None) if section.take("command").is_none() && section.take("url").is_none() => {
            section.error(&section.at, "needs \"command\" (a program and its arguments) or \"url\"");
        }
        (Some(_), Some(_)) => section.error(section.at("url"), "has both \"command\" and \"url\"; remove one"),
        (Some(words), None) if words.first().is_none_or(String::is_empty) => {
            section.error(section.at("command"), "\"command\" is empty; write [\"program\", \"argument\"]");
        }
        (None, Some(url)) if !url.starts_with("http://") && !url.starts_with("https://") => {
            section.error(section.at("url"), format!("\"{url}\" is not an http:// or https:// address"));
        }
        _ => {}
    }
    (command, url)
}

/// A table of names and values. A value is a reference, or plain text if its name does not look like a secret.
fn pairs(section: &mut Section<'_>, key: &'static str, sources: &SecretSources<'_>) -> Vec<(String, Secret)> {
    let entries = section.table(key).into_iter().flatten();
    let read = |(name, node): (&String, &Node)| {
        let Value::Text(text) = &node.value else {
            section.error(&node.at, format!("\"{key}.{name}\" is {}, but must be a text", node.value.kind()));
            return None;
        };
        let lower = name.to_lowercase();
        match Secret::resolve(text, sources.folder, sources.env) {
            Some(Ok(secret)) => return Some((name.clone(), secret)),
            Some(Err(why)) => section.error(&node.at, why),
            None if SECRET_NAMES.iter().any(|word| lower.contains(word)) => {
                section
                    .error(&node.at, format!("\"{key}.{name}\" is a secret; write a reference: env:NAME or file:PATH"));
            }
            None => return Some((name.clone(), Secret::literal(text.clone()))),
        }
        None
    };
    entries.filter_map(read).collect()
}

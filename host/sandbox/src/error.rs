//! The errors of loading a plugin, building a chain or binding it to a request. Faults of later calls are
//! `contract::Fault`.

use std::time::Duration;

use firebox_contract::limits;
use firebox_contract::{Error, ErrorKind, Fault};

/// An error of loading a plugin, building a chain, or binding it to a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The plugin's name is invalid.
    #[error("plugin name \"{name}\" is not 1 to {max} letters, digits, '-', '_' or '.'", max = limits::PLUGIN_NAME_BYTES_MAX)]
    Name {
        /// The name, cut to the maximum length.
        name: String,
    },
    /// The component's file cannot be read.
    #[error("plugin \"{plugin}\": \"{path}\" cannot be read: {reason}; check the path and its permissions")]
    Read {
        /// The plugin's name.
        plugin: String,
        /// The file.
        path: String,
        /// The system's error.
        reason: String,
    },
    /// The component is larger than the host allows.
    #[error(
        "plugin \"{plugin}\": its component has {bytes} bytes; at most {limit} are allowed; strip it or build it smaller"
    )]
    TooLarge {
        /// The plugin's name.
        plugin: String,
        /// The component's size, in bytes. If the file grew while it was read, the bytes read until then.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The bytes are not a WebAssembly component.
    #[error("plugin \"{plugin}\" is {found}, not a WebAssembly component; {remedy}")]
    NotAComponent {
        /// The plugin's name.
        plugin: String,
        /// The kind of the bytes.
        found: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// The component exports other stages than its manifest lists.
    #[error(
        "plugin \"{plugin}\" exports the stages \"{exported}\" and its manifest lists \"{declared}\"; correct stages in plugin.toml"
    )]
    Stages {
        /// The plugin's name.
        plugin: String,
        /// The stages of its manifest.
        declared: String,
        /// The stages that it exports.
        exported: String,
    },
    /// The component is malformed, or needs a WebAssembly feature or a size that the host does not support.
    #[error("plugin \"{plugin}\" cannot run on this host: {reason}")]
    Invalid {
        /// The plugin's name.
        plugin: String,
        /// The validator's message.
        reason: String,
    },
    /// The component would be too expensive to compile.
    #[error("plugin \"{plugin}\" has {found} {what}; Firebox allows {limit}; {remedy}")]
    TooComplex {
        /// The plugin's name.
        plugin: String,
        /// The plural noun of the things that are counted.
        what: &'static str,
        /// The number of things when counting stopped.
        found: u64,
        /// The number that is allowed.
        limit: u64,
        /// The remedy.
        remedy: &'static str,
    },
    /// Compiling the component reached a limit.
    #[error("compiling plugin \"{plugin}\" takes more than {limit}; build it smaller, or with optimisation")]
    Compiling {
        /// The plugin's name.
        plugin: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The component imports an interface that the host does not provide.
    #[error(
        "plugin \"{plugin}\" imports {imports}, which this host does not provide; build it for wasm32-unknown-unknown \
         against the firebox:plugin WIT, or without the library that needs it",
        imports = quoted(imports)
    )]
    UnknownImport {
        /// The plugin's name.
        plugin: String,
        /// The names of the unknown imports, in the component's order.
        imports: Vec<String>,
    },
    /// The component exports no stage in a version that the host supports.
    #[error(
        "plugin \"{plugin}\" exports {exports}, and none of them is a stage that this host supports; export one of {supported}",
        exports = quoted(exports),
        supported = quoted(supported)
    )]
    NoStage {
        /// The plugin's name.
        plugin: String,
        /// The names of its exports.
        exports: Vec<String>,
        /// The names of the supported interfaces.
        supported: Vec<String>,
    },
    /// The manifest asks for something that is not a capability of this host.
    #[error("plugin \"{plugin}\": its manifest asks for a capability that cannot be granted: {reason}")]
    Capability {
        /// The plugin's name.
        plugin: String,
        /// The problem, with the text of the manifest in quotes.
        reason: String,
    },
    /// The component is not the one that its grants are for.
    #[error(
        "plugin \"{plugin}\" is another component than its grants are for: its digest is \"{found}\" and they are for \
         \"{granted}\"; it asks for {asks}; if it may have that, set its digest to \"{found}\"",
        asks = quoted(asks)
    )]
    OtherDigest {
        /// The plugin's name.
        plugin: String,
        /// SHA-256 of the component, in hex.
        found: String,
        /// SHA-256 of the component that was granted something, as the operator wrote it.
        granted: String,
        /// The capabilities that its manifest asks for.
        asks: Vec<String>,
    },
    /// The component is not the one that its operator accepted.
    #[error(
        "plugin \"{plugin}\" was not loaded: its component has the SHA-256 \"{found}\" and not \"{accepted}\", {by}"
    )]
    NotAccepted {
        /// The plugin's name.
        plugin: String,
        /// SHA-256 of the component, in hex.
        found: String,
        /// SHA-256 of the accepted component, in hex.
        accepted: String,
        /// Where the accepted digest is written, and the remedy.
        by: String,
    },
    /// A grant cannot be used.
    #[error("plugin \"{plugin}\": the grant \"{grant}\" {reason}")]
    Grant {
        /// The plugin's name.
        plugin: String,
        /// The grant.
        grant: String,
        /// The problem, as the end of a sentence about the grant.
        reason: String,
    },
    /// The plugin's configuration cannot be used.
    #[error("plugin \"{plugin}\": its configuration {reason}")]
    Config {
        /// The plugin's name.
        plugin: String,
        /// The problem, as the end of a sentence about the configuration.
        reason: String,
    },
    /// A limit is out of range.
    #[error("{owner}: {what} \"{value}\" is not between {low} and {high}")]
    Limit {
        /// The plugin, caller or operator that set the limit.
        owner: String,
        /// The name of the limit.
        what: &'static str,
        /// The value.
        value: String,
        /// The lowest value allowed.
        low: String,
        /// The highest value allowed.
        high: String,
    },
    /// A tool's definition cannot be offered to a model.
    #[error("plugin \"{plugin}\" defines a tool \"{tool}\" that {reason}")]
    Tool {
        /// The plugin's name.
        plugin: String,
        /// The tool's name, cut to the maximum length.
        tool: String,
        /// The problem, as the end of a sentence about the tool.
        reason: String,
    },
    /// Two plugins of a chain offer a tool of the same name.
    #[error("plugins \"{first}\" and \"{second}\" both offer a tool \"{tool}\"; leave one of them out")]
    DuplicateTool {
        /// The tool's name.
        tool: String,
        /// The plugin that comes first.
        first: String,
        /// The other.
        second: String,
    },
    /// Two plugins of a chain have the same name.
    #[error("two plugins of the chain are called \"{name}\"; give one another name")]
    DuplicatePlugin {
        /// The name.
        name: String,
    },
    /// A chain is too long, or its plugins cannot be combined.
    #[error("{0}")]
    Chain(String),
    /// The other instances of the tenant have used up its share of the instance pool.
    #[error(
        "the plugins of this tenant's requests hold {held} of {limit}; {asked} more would exceed the tenant's share; try \
         again when one of the requests has ended"
    )]
    ShareUsed {
        /// The amount that was asked for.
        asked: String,
        /// The amount that the tenant holds.
        held: String,
        /// The capacity of the pool.
        limit: String,
    },
    /// The instances of all requests have used up the instance pool.
    #[error("the host has no room for {asked} more of plugin instances; all of them can have {limit}; try again soon")]
    Full {
        /// The amount that was asked for.
        asked: String,
        /// The capacity of the pool.
        limit: String,
    },
    /// The request needs more than the capacity of the instance pool.
    #[error("the plugins of this request need {asked}; the host has {limit} in total; use fewer plugins")]
    TooMuch {
        /// The amount that was asked for.
        asked: String,
        /// The capacity of the pool.
        limit: String,
    },
    /// The process has less address space than plugins need.
    #[error(
        "plugins need {needed} MiB of address space and the limit leaves {left} MiB; raise it (ulimit -v) or run \
         without plugins"
    )]
    AddressSpace {
        /// The address space that is left, in MiB.
        left: u64,
        /// The minimum that plugins need, in MiB.
        needed: u64,
    },
    /// A guest call failed while the plugin was loaded or bound.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The host itself failed.
    #[error("the sandbox failed: {0}")]
    Host(String),
}

impl SandboxError {
    /// The kind of the error, which decides the exit code and the HTTP status.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. }
            | Self::Config { .. }
            | Self::Limit { .. }
            | Self::Grant { .. }
            | Self::DuplicateTool { .. }
            | Self::DuplicatePlugin { .. }
            | Self::Chain(_) => ErrorKind::Usage,
            Self::TooMuch { .. } => ErrorKind::TooLarge,
            Self::Capability { .. } | Self::OtherDigest { .. } | Self::NotAccepted { .. } => ErrorKind::Denied,
            Self::ShareUsed { .. } => ErrorKind::Limited,
            Self::Full { .. } | Self::AddressSpace { .. } => ErrorKind::Unavailable,
            // Only the author of the plugin can fix these.
            Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::NotAComponent { .. }
            | Self::Invalid { .. }
            | Self::TooComplex { .. }
            | Self::Compiling { .. }
            | Self::UnknownImport { .. }
            | Self::Stages { .. }
            | Self::NoStage { .. }
            | Self::Tool { .. }
            | Self::Fault(_) => ErrorKind::PluginFault,
            Self::Host(_) => ErrorKind::Internal,
        }
    }
}

impl From<SandboxError> for Error {
    fn from(error: SandboxError) -> Self {
        let kind = error.kind();
        match error {
            SandboxError::Fault(fault) => Self::Fault(fault),
            other if kind == ErrorKind::PluginFault => Self::Plugin(other.to_string()),
            other if kind == ErrorKind::Usage => Self::Usage(other.to_string()),
            other if kind == ErrorKind::TooLarge => Self::TooLarge(other.to_string()),
            other if kind == ErrorKind::Denied => Self::Denied(other.to_string()),
            other if kind == ErrorKind::Limited => {
                Self::Limited { message: other.to_string(), retry_after: Duration::from_secs(1) }
            }
            other if kind == ErrorKind::Unavailable => Self::Unavailable(other.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Maximum names of a component in a message.
const SHOWN_NAMES: usize = 8;
/// Maximum characters of each name.
const SHOWN_CHARACTERS: usize = 64;

/// The names in quotes, as `"a", "b"`, or `nothing`.
fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let shown = names.iter().take(SHOWN_NAMES).map(|name| format!("\"{}\"", shown(name)));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_NAMES {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_NAMES));
    }
    text
}

/// A name that a component chose, shortened and without control characters.
fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARACTERS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_quotes_the_bad_value_and_gives_the_remedy() {
        let error = SandboxError::UnknownImport {
            plugin: "spy".to_owned(),
            imports: vec!["wasi:http/outgoing-handler@0.2.0".to_owned()],
        };
        let text = error.to_string();
        assert!(
            text.contains("\"wasi:http/outgoing-handler@0.2.0\"") && text.contains("wasm32-unknown-unknown"),
            "{text}"
        );
        assert_eq!(Error::from(error).kind(), ErrorKind::PluginFault);
    }

    #[test]
    fn a_sandbox_error_keeps_its_kind_as_an_error() {
        let errors = [
            SandboxError::Chain("too long".to_owned()),
            SandboxError::ShareUsed { asked: String::new(), held: String::new(), limit: String::new() },
            SandboxError::Full { asked: String::new(), limit: String::new() },
            SandboxError::TooMuch { asked: String::new(), limit: String::new() },
            SandboxError::AddressSpace { left: 1, needed: 2 },
            SandboxError::Host("gone".to_owned()),
        ];
        for error in errors {
            let kind = error.kind();
            assert_eq!(Error::from(error).kind(), kind);
        }
    }
}

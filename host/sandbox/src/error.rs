//! What can go wrong before a guest runs, or when it first runs. Faults of later calls are `contract::Fault`.

use std::time::Duration;

use firebox_contract::limits;
use firebox_contract::{Error, ErrorKind, Fault};

/// Why a plugin cannot be loaded, or a chain not be built or bound.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The name cannot be used.
    #[error("plugin name \"{name}\" is not 1 to {max} letters, digits, '-', '_' or '.'", max = limits::PLUGIN_NAME_BYTES_MAX)]
    Name {
        /// The name, cut.
        name: String,
    },
    /// The component's file cannot be read.
    #[error("plugin \"{plugin}\": \"{path}\" cannot be read: {reason}; check the path and its permissions")]
    Read {
        /// The plugin's name.
        plugin: String,
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The component is larger than any this host takes.
    #[error(
        "plugin \"{plugin}\": its component has {bytes} bytes where {limit} are allowed; strip it or build it smaller"
    )]
    TooLarge {
        /// The plugin's name.
        plugin: String,
        /// Its size, in bytes; for a file that grew while it was read, the bytes read so far.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The bytes are not a WebAssembly component.
    #[error("plugin \"{plugin}\" is {found}, not a WebAssembly component; {remedy}")]
    NotAComponent {
        /// The plugin's name.
        plugin: String,
        /// What it is.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The component does something else than its manifest says.
    #[error(
        "plugin \"{plugin}\" takes part in \"{found}\" where its manifest says \"{said}\"; correct stages in plugin.toml"
    )]
    Stages {
        /// The plugin's name.
        plugin: String,
        /// The stages of its manifest.
        said: String,
        /// The stages it exports.
        found: String,
    },
    /// The component is broken, or needs a WebAssembly feature or a size that this host does not have.
    #[error("plugin \"{plugin}\" cannot run on this host: {reason}")]
    Invalid {
        /// The plugin's name.
        plugin: String,
        /// The validator's words.
        reason: String,
    },
    /// The component has more of something than compiling it may cost.
    #[error("plugin \"{plugin}\" has {found} {what} where Firebox allows {limit}; {remedy}")]
    TooComplex {
        /// The plugin's name.
        plugin: String,
        /// What there is too much of.
        what: &'static str,
        /// How much of it was found when counting stopped.
        found: u64,
        /// How much is allowed.
        limit: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// Compiling the component took more than Firebox gives it.
    #[error("compiling plugin \"{plugin}\" takes more than {limit}; build it smaller, or with optimisation")]
    Compiling {
        /// The plugin's name.
        plugin: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The component imports what no plugin gets here.
    #[error(
        "plugin \"{plugin}\" imports {imports}, which this host does not offer; build it for wasm32-unknown-unknown \
         against the firebox:plugin WIT, or without the library that needs it",
        imports = quoted(imports)
    )]
    UnknownImport {
        /// The plugin's name.
        plugin: String,
        /// The imports' names, in the component's order.
        imports: Vec<String>,
    },
    /// The component exports no stage of a version that this host calls.
    #[error(
        "plugin \"{plugin}\" exports {exports}, none of which is a stage of this host; export one of {supported}",
        exports = quoted(exports),
        supported = quoted(supported)
    )]
    NoStage {
        /// The plugin's name.
        plugin: String,
        /// What it exports.
        exports: Vec<String>,
        /// What this host calls.
        supported: Vec<String>,
    },
    /// The manifest asks for capabilities that were not granted.
    #[error(
        "plugin \"{plugin}\" asks for {missing}, which its operator did not grant; grant it or choose another plugin \
         (this host can grant {known})",
        missing = quoted(missing),
        known = quoted(known)
    )]
    NotGranted {
        /// The plugin's name.
        plugin: String,
        /// What is missing.
        missing: Vec<String>,
        /// What could be granted at all.
        known: Vec<String>,
    },
    /// The configuration cannot be given to the plugin.
    #[error("plugin \"{plugin}\": its configuration {reason}")]
    Config {
        /// The plugin's name.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// A limit is out of range.
    #[error("{owner}: {what} \"{value}\" is not between {low} and {high}")]
    Limit {
        /// Whose limit it is.
        owner: String,
        /// Which.
        what: &'static str,
        /// The value.
        value: String,
        /// The least allowed.
        low: String,
        /// The most allowed.
        high: String,
    },
    /// A tool's definition cannot be offered to a model.
    #[error("plugin \"{plugin}\" defines a tool \"{tool}\" that {reason}")]
    Tool {
        /// The plugin's name.
        plugin: String,
        /// The tool's name, cut.
        tool: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two plugins of a chain offer a tool of the same name.
    #[error("plugins \"{first}\" and \"{second}\" both offer a tool \"{tool}\"; leave one of them out")]
    DuplicateTool {
        /// The tool.
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
    /// A chain is too long, or of plugins that cannot be together.
    #[error("{0}")]
    Chain(String),
    /// The instances of this owner's other requests leave no room for more of it.
    #[error(
        "the plugins of this tenant's requests hold {held}, and {asked} more would be more than they leave to others, of \
         {limit} in all; try again when one of them has ended"
    )]
    ShareUsed {
        /// What was asked for.
        asked: String,
        /// What the owner holds.
        held: String,
        /// What there is in all.
        limit: String,
    },
    /// The instances of all requests leave no room.
    #[error("the host has no room for {asked} more of its plugins, of {limit} in all; try again soon")]
    Full {
        /// What was asked for.
        asked: String,
        /// What there is in all.
        limit: String,
    },
    /// More than there will ever be.
    #[error("the plugins of this request need {asked} and the host has {limit} in all; use fewer plugins")]
    TooMuch {
        /// What was asked for.
        asked: String,
        /// What there is in all.
        limit: String,
    },
    /// The process may not have as much address space as plugins need.
    #[error(
        "plugins need {needed} MiB of address space and the limit leaves {left} MiB; raise it (ulimit -v) or run \
         without plugins"
    )]
    AddressSpace {
        /// What the limit leaves, in MiB.
        left: u64,
        /// What plugins need at least, in MiB.
        needed: u64,
    },
    /// The plugin ran while it was loaded or bound, and that ended badly.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The host itself failed.
    #[error("the sandbox failed: {0}")]
    Host(String),
}

impl SandboxError {
    /// The kind, from which exit code and status follow.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. }
            | Self::Config { .. }
            | Self::Limit { .. }
            | Self::DuplicateTool { .. }
            | Self::DuplicatePlugin { .. }
            | Self::Chain(_) => ErrorKind::Usage,
            Self::TooMuch { .. } => ErrorKind::TooLarge,
            Self::NotGranted { .. } => ErrorKind::Denied,
            Self::ShareUsed { .. } => ErrorKind::Limited,
            Self::Full { .. } | Self::AddressSpace { .. } => ErrorKind::Unavailable,
            // Whoever wrote the plugin can mend it, and nobody else.
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

/// Names of a component that a message shows, and characters of each.
const SHOWN_NAMES: usize = 8;
const SHOWN_CHARACTERS: usize = 64;

/// `"a", "b"`, or `nothing`.
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

/// A name that a component chose: short, and without what a terminal would obey.
fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARACTERS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_quotes_what_is_wrong_and_says_what_to_do() {
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
    fn a_kind_is_kept_across_the_seam() {
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

//! `firebox.lock`: the components and the tool lists of MCP servers that the operator accepted. While the file is there,
//! another component is not loaded, and a server with another tool list offers no tool.

pub(crate) mod diff;
mod text;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebox_contract::{Error, limits};
use firebox_mcp::client::{ServerSpec, ToolPins};
use firebox_sandbox::{Pinned, PluginSpec, ReadError};

use super::problem::{Problems, SourceLocation};

/// The file name, beside the configuration file.
pub(crate) const FILE: &str = "firebox.lock";

/// What to do about a wanted change, as the end of a sentence.
const ACCEPT: &str = "see the difference with firebox lock --check, and accept it with firebox lock";

/// The content of the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LockFile {
    /// Each accepted plugin, by its name.
    pub plugins: BTreeMap<String, LockedPlugin>,
    /// The accepted tools of each MCP server, by its name.
    pub servers: BTreeMap<String, Arc<ToolPins>>,
    /// Where it was read, for messages.
    path: PathBuf,
}

/// An accepted plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPlugin {
    /// SHA-256 of its component, in hex.
    pub component: String,
    /// SHA-256 of its manifest, in hex; `None` without a manifest.
    pub manifest: Option<String>,
}

impl LockFile {
    /// A lock file for `path` with this content.
    pub(crate) fn new(
        path: &Path,
        plugins: BTreeMap<String, LockedPlugin>,
        servers: BTreeMap<String, Arc<ToolPins>>,
    ) -> Self {
        Self { plugins, servers, path: path.to_owned() }
    }

    /// The lock file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// A message for a file that cannot be read or is not valid. Then nothing may be taken as accepted.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, String> {
        let bytes = match firebox_sandbox::read_file(path, limits::LOCK_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(ReadError::System(error)) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
                return Ok(None);
            }
            Err(error) => return Err(format!("cannot be read: {error}; check its permissions")),
        };
        let text = String::from_utf8(bytes).map_err(|_| format!("is not UTF-8; {}", text::RENEW))?;
        let content = Self::parse(&text)?;
        Ok(Some(Self { path: path.to_owned(), ..content }))
    }

    /// A lock file with this text.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        text::parse(text)
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        text::print(self)
    }

    /// Lets `spec` load only the component that was accepted for the plugin `name`. `manifest` is the SHA-256 of its manifest.
    ///
    /// # Errors
    /// `Error::Denied` if the plugin is not in the file, or its manifest has changed.
    pub(crate) fn pin(&self, name: &str, manifest: Option<&str>, spec: &mut PluginSpec) -> Result<(), Error> {
        let path = self.path.display();
        let Some(locked) = self.plugins.get(name) else {
            return Err(Error::Denied(format!(
                "plugin \"{name}\" is not in \"{path}\"; name it in the configuration, and accept it with firebox lock"
            )));
        };
        if locked.manifest.as_deref() != manifest {
            return Err(Error::Denied(format!(
                "plugin \"{name}\" was not loaded: its manifest differs from the one in \"{path}\"; {ACCEPT}"
            )));
        }
        let by = format!("as \"{path}\" says; {ACCEPT}");
        spec.pins.push(Pinned { digest: locked.component.clone(), by });
        Ok(())
    }

    /// Lets `spec` offer only the tools that were accepted. A server that is not in the file offers none.
    pub(crate) fn pin_server(&self, spec: &mut ServerSpec) {
        spec.pins = Some(self.servers.get(&spec.name).cloned().unwrap_or_default());
    }
}

/// The path of the lock file beside the configuration file `file`.
pub(crate) fn beside(file: Option<&Path>) -> PathBuf {
    super::folder(file).join(FILE)
}

/// The lock file of a command without a configuration: the one beside the file that `firebox serve` would read.
///
/// # Errors
/// `Error::Usage` for a file that is not valid.
pub(crate) fn of_command_line() -> Result<Option<LockFile>, Error> {
    let path = beside(super::default_file().as_deref());
    LockFile::read(&path).map_err(|why| Error::Usage(format!("\"{}\" {why}", path.display())))
}

/// The lock file at `path` of a configuration that is being read.
pub(super) fn of_config(path: &Path, problems: &Problems) -> Option<Arc<LockFile>> {
    match LockFile::read(path) {
        Ok(found) => found.map(Arc::new),
        Err(why) => {
            problems.error(&SourceLocation::whole(path.display().to_string()), why);
            None
        }
    }
}

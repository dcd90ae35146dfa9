//! The configuration of a host: TOML, laid together from options, environment, files and defaults, in this order of
//! precedence. Everything that is wrong is reported at once, with its place.

mod check;
mod document;
mod keys;
mod mcp;
mod models;
mod network;
mod origin;
mod print;
mod problem;
mod reader;
mod secret;
mod server;
mod tenants;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use firebox_contract::limits;

use document::Table;
pub use keys::{Key, keys};
pub use mcp::{McpConfig, McpServerConfig};
pub(crate) use models::check_name;
pub use models::{ModelConfig, PluginConfig, PluginLimitsConfig};
pub use network::Network;
pub use origin::WebOrigin;
pub(crate) use print::list as toml_list;
use problem::Problems;
pub use problem::{ConfigError, Origin, Problem};
use reader::Section;
pub use secret::Secret;
pub use server::{AuditConfig, ServerConfig, SessionsConfig, ToolsConfig};
pub use tenants::{KeyConfig, Scope, TenantConfig, TenantLimits};

/// The file that is taken when none is named and it is there.
pub const FILE: &str = "firebox.toml";
/// The file of tenants beside it, which `firebox tenants` owns.
pub const TENANTS_FILE: &str = "tenants.toml";
/// The variable of the environment that names the file.
pub const FILE_ENV: &str = "FIREBOX_CONFIG";
/// A configuration with every key explained; it passes the check as it stands.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// A whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[[model]]`; the built-in one where none is named. Never empty.
    pub models: Vec<ModelConfig>,
    /// `[[plugin]]`, and the built-in plugins that tenants name.
    pub plugins: Vec<PluginConfig>,
    /// `[[tenant]]`, of both files.
    pub tenants: Vec<TenantConfig>,
    /// `[mcp]`.
    pub mcp: McpConfig,
    /// `[sessions]`.
    pub sessions: SessionsConfig,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// `[tools]`.
    pub tools: ToolsConfig,
    /// The file it was read from; `None` where everything is default, environment or option.
    pub file: Option<PathBuf>,
    /// The file that `firebox tenants` edits; it need not be there.
    pub tenants_file: PathBuf,
    /// What may be meant, and probably is not.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads the configuration at `path`, else at `FIREBOX_CONFIG`, else `firebox.toml` where it is there. `flags`
    /// are `("server.listen", value)` and win over everything.
    ///
    /// # Errors
    /// Every problem there is, with its file and line.
    pub fn load(path: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        Self::load_with(path, flags, &vars()?)
    }

    /// [`Config::load`] in the environment `vars`.
    pub(crate) fn load_with(
        path: Option<&Path>,
        flags: &[(String, String)],
        vars: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let env = |name: &str| vars.iter().find(|var| var.0 == name).map(|var| var.1.clone());
        let file = file(path, env(FILE_ENV));
        let mut tree = file.as_deref().map(|file| read_file(file, &problems)).unwrap_or_default();
        document::overlay_env(&mut tree, vars.iter().cloned(), &problems);
        document::overlay_flags(&mut tree, flags, &problems);
        let mut config = read(&tree, file, &env, &problems);
        check::across(&mut config, &problems);
        config.warnings = problems.finish()?;
        Ok(config)
    }
}

/// What `firebox tenants` needs to know of a configuration. The rest of it is not read: its secrets and folders need
/// not be there where tenants are edited.
#[derive(Debug)]
pub(crate) struct Place {
    /// The file to edit.
    pub(crate) tenants_file: PathBuf,
    /// The audit log to write to.
    pub(crate) audit: Option<PathBuf>,
    /// The tenants that are in the main file.
    pub(crate) tenants: Vec<TenantConfig>,
}

impl Place {
    /// Finds it as [`Config::load`] finds the configuration.
    ///
    /// # Errors
    /// Problems of what is read.
    pub(crate) fn find(path: Option<&Path>) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let file = file(path, std::env::var(FILE_ENV).ok());
        let mut tree = file.as_deref().map(|file| read_file(file, &problems)).unwrap_or_default();
        document::overlay_env(&mut tree, vars()?.into_iter(), &problems);
        let folder = folder(file.as_deref());
        let mut root = Section::new(String::new(), Some(&tree), Origin::whole(FILE), &problems);
        let place = Self {
            tenants_file: folder.join(root.text("tenants_file").unwrap_or_else(|| TENANTS_FILE.to_owned())),
            audit: AuditConfig::read(root.section("audit"), &folder).path,
            tenants: all(&mut root, "tenant", TenantConfig::read),
        };
        problems.finish().map(|_warnings| place)
    }
}

/// The environment, as far as it is text.
///
/// # Errors
/// For each variable that is meant for the configuration and is no text.
fn vars() -> Result<Vec<(String, String)>, ConfigError> {
    texts(std::env::vars_os())
}

fn texts(vars: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, ConfigError> {
    let problems = Problems::default();
    let text = |(name, value): (OsString, OsString)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Some((name, value)),
        (Ok(name), Err(_)) if document::is_setting(&name) => {
            problems.error(&Origin::whole(name.as_str()), "is not UTF-8 text; set it anew");
            None
        }
        _ => None,
    };
    let vars = vars.filter_map(text).collect();
    problems.finish().map(|_warnings| vars)
}

/// The folder that relative paths in `file` begin at; empty for the current one.
fn folder(file: Option<&Path>) -> PathBuf {
    file.and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
}

/// The file to read, if any.
fn file(path: Option<&Path>, env: Option<String>) -> Option<PathBuf> {
    let named = path.map(Path::to_owned).or_else(|| env.filter(|name| !name.is_empty()).map(PathBuf::from));
    named.or_else(|| Some(PathBuf::from(FILE)).filter(|file| file.is_file()))
}

/// The configuration file that [`Config::load`] would read without a path, for commands that do not use it.
pub(crate) fn default_file() -> Option<PathBuf> {
    file(None, std::env::var(FILE_ENV).ok())
}

/// The tree of the file at `path`; what cannot be read is a problem.
fn read_file(path: &Path, problems: &Problems) -> Table {
    let name = path.display().to_string();
    let whole = Origin::whole(name.as_str());
    match std::fs::metadata(path) {
        Ok(about) if about.len() > limits::CONFIG_BYTES_MAX => {
            problems.error(&whole, format!("is larger than {} bytes", limits::CONFIG_BYTES_MAX));
            return Table::new();
        }
        _ => {}
    }
    match std::fs::read_to_string(path) {
        Ok(text) => document::parse(&text, &name, problems),
        Err(error) => {
            problems
                .error(&whole, format!("cannot be read: {error}; check the path, or write one: firebox config init"));
            Table::new()
        }
    }
}

fn read(tree: &Table, file: Option<PathBuf>, env: &dyn Fn(&str) -> Option<String>, problems: &Problems) -> Config {
    let folder = folder(file.as_deref());
    let source = file.as_ref().map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
    let mut root = Section::new(String::new(), Some(tree), Origin::whole(source), problems);
    let mut mcp = root.section("mcp");
    let sources = mcp::Sources { folder: &folder, env };
    let servers = mcp.sections("server", "mcp.server").into_iter();
    let servers = servers.filter_map(|section| McpServerConfig::read(section, &sources)).collect();
    mcp.finish();
    let mut config = Config {
        server: ServerConfig::read(root.section("server")),
        models: all(&mut root, "model", |section| ModelConfig::read(section, &folder)),
        plugins: all(&mut root, "plugin", |section| PluginConfig::read(section, &folder)),
        tenants: all(&mut root, "tenant", TenantConfig::read),
        mcp: McpConfig { servers },
        sessions: SessionsConfig::read(root.section("sessions"), &folder),
        audit: AuditConfig::read(root.section("audit"), &folder),
        tools: ToolsConfig::read(root.section("tools")),
        tenants_file: folder.join(root.text("tenants_file").unwrap_or_else(|| TENANTS_FILE.to_owned())),
        warnings: Vec::new(),
        file,
    };
    let named = root.take("tenants_file").is_some();
    root.finish();
    if config.models.is_empty() && !tree.contains_key("model") {
        config.models.push(ModelConfig::ember());
    }
    if named || config.tenants_file.is_file() {
        if config.tenants_file.is_file() {
            config.tenants.extend(read_tenants(&read_file(&config.tenants_file, problems), problems));
        } else {
            let message =
                format!("there is no \"{}\" yet; firebox tenants add NAME makes it", config.tenants_file.display());
            problems.warning(&Origin::whole("tenants_file"), message);
        }
    }
    config
}

fn all<T>(root: &mut Section<'_>, key: &'static str, read: impl FnMut(Section<'_>) -> Option<T>) -> Vec<T> {
    root.sections(key, key).into_iter().filter_map(read).collect()
}

/// The tenants of a tree that holds nothing else.
fn read_tenants(tree: &Table, problems: &Problems) -> Vec<TenantConfig> {
    let mut root = Section::new(String::new(), Some(tree), Origin::whole(TENANTS_FILE), problems);
    let tenants = all(&mut root, "tenant", TenantConfig::read);
    root.finish();
    tenants
}

/// The tenants in the text of a tenants file called `name`.
///
/// # Errors
/// Every problem there is, with its line.
pub(crate) fn parse_tenants(text: &str, name: &str) -> Result<Vec<TenantConfig>, ConfigError> {
    let problems = Problems::default();
    let tenants = read_tenants(&document::parse(text, name, &problems), &problems);
    check::tenants(&tenants, &problems);
    problems.finish().map(|_warnings| tenants)
}

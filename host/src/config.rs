//! The configuration of `firebox serve`: TOML, merged from options, environment, file and defaults, in this order of precedence.
//! All errors are reported in one run, with file and line.

mod check;
mod document;
mod keys;
pub(crate) mod lock;
mod print;
mod problem;
mod reader;
mod sections;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firebox_contract::limits;
use firebox_hub::{Hub, HubSettings, ModelName};

use crate::host::source::check_download;
use crate::plugins::distribution::policy::SignaturePolicy;
use document::TomlTable;
pub use keys::{ConfigKey, keys};
pub use lock::{LockFile, LockedPlugin};
pub(crate) use print::list as toml_list;
use problem::Problems;
pub use problem::{ConfigError, Problem, SourceLocation};
use reader::Section;
pub use sections::hub::HubConfig;
pub use sections::keyvalue::KeyValueConfig;
pub use sections::mcp::{McpConfig, McpServerConfig};
pub(crate) use sections::models::check_name;
pub use sections::models::{ModelConfig, PluginConfig, PluginLimitsConfig};
pub use sections::network::Network;
pub use sections::origin::WebOrigin;
pub use sections::secret::Secret;
pub(crate) use sections::secret::secret_value;
pub use sections::server::{AuditConfig, ServerConfig, SessionsConfig, ToolsConfig};
pub use sections::tenants::{KeyConfig, Scope, TenantConfig, TenantLimits};

/// The default configuration file, used if it exists.
pub const FILE: &str = "firebox.toml";
/// The default tenants file next to it, which `firebox tenants` edits.
pub const TENANTS_FILE: &str = "tenants.toml";
/// The environment variable with the path of the configuration file.
pub const FILE_ENV: &str = "FIREBOX_CONFIG";
/// The configuration that `firebox config init` writes, with every key.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// A complete, checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[[model]]`. Never empty: the default is the built-in model.
    pub models: Vec<ModelConfig>,
    /// `[[plugin]]`, and the built-in plugins that tenants name.
    pub plugins: Vec<PluginConfig>,
    /// `[plugins]`.
    pub signatures: SignaturePolicy,
    /// `[[tenant]]` of both files.
    pub tenants: Vec<TenantConfig>,
    /// `[mcp]`.
    pub mcp: McpConfig,
    /// `[sessions]`.
    pub sessions: SessionsConfig,
    /// `[keyvalue]`.
    pub keyvalue: KeyValueConfig,
    /// `[audit]`.
    pub audit: AuditConfig,
    /// `[tools]`.
    pub tools: ToolsConfig,
    /// `[hub]`.
    pub hub: HubConfig,
    /// The file it was read from; `None` if there is none.
    pub file: Option<PathBuf>,
    /// The file that `firebox tenants` edits. It need not exist.
    pub tenants_file: PathBuf,
    /// The accepted plugins and tools, from `firebox.lock` beside the file. Without it any are accepted.
    pub lock: Option<Arc<LockFile>>,
    /// Likely mistakes.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads the configuration at `path`, else at `$FIREBOX_CONFIG`, else `firebox.toml` if it exists. `flags` are pairs such as
    /// `("server.listen", value)` and override everything.
    ///
    /// # Errors
    /// All errors of the configuration, with file and line.
    pub fn load(path: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        Self::load_with(path, flags, &vars()?)
    }

    /// [`Config::load`] without `firebox.lock`, which is about to be compared or written.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_unlocked(path: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        Self::assemble(path, flags, &vars()?, false)
    }

    /// [`Config::load`] with the environment variables `vars`.
    pub(crate) fn load_with(
        path: Option<&Path>,
        flags: &[(String, String)],
        vars: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        Self::assemble(path, flags, vars, true)
    }

    fn assemble(
        path: Option<&Path>,
        flags: &[(String, String)],
        vars: &[(String, String)],
        with_lock: bool,
    ) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let env = |name: &str| vars.iter().find(|var| var.0 == name).map(|var| var.1.clone());
        let file = file(path, env(FILE_ENV));
        let mut tree = file.as_deref().map(|file| read_file(file, &problems)).unwrap_or_default();
        document::overlay_env(&mut tree, vars.iter().cloned(), &problems);
        document::overlay_flags(&mut tree, flags, &problems);
        let mut config = read(&tree, file, &env, &problems);
        check::across(&mut config, &problems);
        if with_lock {
            config.lock = lock::of_config(&lock::beside(config.file.as_deref()), &problems);
        }
        config.warnings = problems.finish()?;
        Ok(config)
    }
}

/// The part of a configuration that `firebox tenants` needs. The rest is not read, because its secrets and folders need not
/// exist on the machine where tenants are edited.
#[derive(Debug)]
pub(crate) struct TenantsContext {
    /// The tenants file to edit.
    pub(crate) tenants_file: PathBuf,
    /// The audit log.
    pub(crate) audit: Option<PathBuf>,
    /// The tenants of the main configuration file.
    pub(crate) tenants: Vec<TenantConfig>,
    /// The names of its plugins.
    plugins: Vec<String>,
}

impl TenantsContext {
    /// Reads it from the same file as [`Config::load`].
    ///
    /// # Errors
    /// Errors of the part that is read.
    pub(crate) fn find(path: Option<&Path>) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let file = file(path, std::env::var(FILE_ENV).ok());
        let mut tree = file.as_deref().map(|file| read_file(file, &problems)).unwrap_or_default();
        document::overlay_env(&mut tree, vars()?.into_iter(), &problems);
        let folder = folder(file.as_deref());
        let mut root = Section::new(String::new(), Some(&tree), SourceLocation::whole(FILE), &problems);
        let plugins = root.sections("plugin", "plugin").into_iter().filter_map(|mut plugin| plugin.text("name"));
        let plugins = plugins.collect();
        let place = Self {
            plugins,
            tenants_file: folder.join(root.text("tenants_file").unwrap_or_else(|| TENANTS_FILE.to_owned())),
            audit: AuditConfig::read(root.section("audit"), &folder).path,
            tenants: all(&mut root, "tenant", |section| TenantConfig::read(section, &folder)),
        };
        problems.finish().map(|_warnings| place)
    }

    /// Whether a tenant can have these plugins: a server does not start with a plugin that it does not know.
    ///
    /// # Errors
    /// The first unknown name, and what was probably meant.
    pub(crate) fn check_plugins(&self, names: &[String]) -> Result<(), String> {
        let builtins: Vec<&str> = crate::plugins::builtins().collect();
        let known = self.plugins.iter().map(String::as_str).chain(builtins.iter().copied());
        match names.iter().find(|name| !known.clone().any(|known| known == *name)) {
            Some(name) => Err(format!("there is no plugin \"{name}\"{}", problem::suggestion(name, known))),
            None => Ok(()),
        }
    }
}

/// The environment variables that are UTF-8.
///
/// # Errors
/// For each variable that sets a key and is not UTF-8.
fn vars() -> Result<Vec<(String, String)>, ConfigError> {
    texts(std::env::vars_os())
}

fn texts(vars: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, ConfigError> {
    let problems = Problems::default();
    let text = |(name, value): (OsString, OsString)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Some((name, value)),
        (Ok(name), Err(_)) if document::is_setting(&name) => {
            problems.error(&SourceLocation::whole(name.as_str()), "is not UTF-8");
            None
        }
        _ => None,
    };
    let vars = vars.filter_map(text).collect();
    problems.finish().map(|_warnings| vars)
}

/// The folder that relative paths in `file` are relative to; empty for the current folder.
fn folder(file: Option<&Path>) -> PathBuf {
    file.and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
}

/// The file to read, if there is one.
fn file(path: Option<&Path>, env: Option<String>) -> Option<PathBuf> {
    let named = path.map(Path::to_owned).or_else(|| env.filter(|name| !name.is_empty()).map(PathBuf::from));
    named.or_else(|| Some(PathBuf::from(FILE)).filter(|file| file.is_file()))
}

/// The configuration file that [`Config::load`] would read without a path, for commands that do not use it.
pub(crate) fn default_file() -> Option<PathBuf> {
    file(None, std::env::var(FILE_ENV).ok())
}

/// `[plugins]` of the configuration that [`Config::load`] would read without a path, for commands that do not use the rest.
///
/// # Errors
/// Errors of the part that is read.
pub(crate) fn signature_policy() -> Result<SignaturePolicy, ConfigError> {
    let problems = Problems::default();
    let mut tree = default_file().map(|file| read_file(&file, &problems)).unwrap_or_default();
    document::overlay_env(&mut tree, vars()?.into_iter(), &problems);
    let mut root = Section::new(String::new(), Some(&tree), SourceLocation::whole(FILE), &problems);
    let policy = SignaturePolicy::read(root.section("plugins"));
    problems.finish().map(|_warnings| policy)
}

/// The parsed file at `path`. A file that cannot be read is an error.
fn read_file(path: &Path, problems: &Problems) -> TomlTable {
    let name = path.display().to_string();
    let whole = SourceLocation::whole(name.as_str());
    match std::fs::metadata(path) {
        Ok(about) if about.len() > limits::CONFIG_BYTES_MAX => {
            problems.error(&whole, format!("is larger than {} bytes", limits::CONFIG_BYTES_MAX));
            return TomlTable::new();
        }
        _ => {}
    }
    match std::fs::read_to_string(path) {
        Ok(text) => document::parse(&text, &name, problems),
        Err(error) => {
            problems.error(
                &whole,
                format!("cannot be read: {error}; check the path, or create a file with `firebox config init`"),
            );
            TomlTable::new()
        }
    }
}

fn read(tree: &TomlTable, file: Option<PathBuf>, env: &dyn Fn(&str) -> Option<String>, problems: &Problems) -> Config {
    let folder = folder(file.as_deref());
    let source = file.as_ref().map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
    let mut root = Section::new(String::new(), Some(tree), SourceLocation::whole(source), problems);
    let mut mcp = root.section("mcp");
    let sources = sections::mcp::SecretSources { folder: &folder, env };
    let servers = mcp.sections("server", "mcp.server").into_iter();
    let servers = servers.filter_map(|section| McpServerConfig::read(section, &sources)).collect();
    mcp.finish();
    let hub = HubConfig::read(root.section("hub"));
    let mut config = Config {
        server: ServerConfig::read(root.section("server")),
        models: all(&mut root, "model", |section| {
            ModelConfig::read(section, &folder, &|name| may_serve(name, &hub, env))
        }),
        plugins: all(&mut root, "plugin", |section| PluginConfig::read(section, &folder)),
        signatures: SignaturePolicy::read(root.section("plugins")),
        tenants: all(&mut root, "tenant", |section| TenantConfig::read(section, &folder)),
        mcp: McpConfig { servers },
        sessions: SessionsConfig::read(root.section("sessions"), &folder),
        keyvalue: KeyValueConfig::read(root.section("keyvalue"), &folder),
        audit: AuditConfig::read(root.section("audit"), &folder),
        tools: ToolsConfig::read(root.section("tools")),
        hub: hub.clone(),
        tenants_file: folder.join(root.text("tenants_file").unwrap_or_else(|| TENANTS_FILE.to_owned())),
        lock: None,
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
            let tree = read_file(&config.tenants_file, problems);
            let folder = self::folder(Some(&config.tenants_file));
            config.tenants.extend(read_tenants(&tree, &folder, problems));
        } else {
            let message =
                format!("\"{}\" does not exist; `firebox tenants add NAME` creates it", config.tenants_file.display());
            problems.warning(&SourceLocation::whole("tenants_file"), message);
        }
    }
    config
}

/// Checks that a server can have the model `name`: from the cache, or by a download that `[hub]` allows.
fn may_serve(name: &ModelName, hub: &HubConfig, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let settings = HubSettings::of_environment(&|name| env(name).map(Into::into)).map_err(|error| error.to_string())?;
    match Hub::new(settings.clone()).find(name) {
        Ok(_) => Ok(()),
        Err(_) => check_download(name, hub, &settings),
    }
}

fn all<T>(root: &mut Section<'_>, key: &'static str, read: impl FnMut(Section<'_>) -> Option<T>) -> Vec<T> {
    root.sections(key, key).into_iter().filter_map(read).collect()
}

/// The tenants of a parsed tenants file in `folder`.
fn read_tenants(tree: &TomlTable, folder: &Path, problems: &Problems) -> Vec<TenantConfig> {
    let mut root = Section::new(String::new(), Some(tree), SourceLocation::whole(TENANTS_FILE), problems);
    let tenants = all(&mut root, "tenant", |section| TenantConfig::read(section, folder));
    root.finish();
    tenants
}

/// Parses the text of the tenants file `name`. Relative paths stay as they are.
///
/// # Errors
/// All errors, with their lines.
pub(crate) fn parse_tenants(text: &str, name: &str) -> Result<Vec<TenantConfig>, ConfigError> {
    let problems = Problems::default();
    let tenants = read_tenants(&document::parse(text, name, &problems), Path::new(""), &problems);
    check::tenants(&tenants, &problems);
    problems.finish().map(|_warnings| tenants)
}

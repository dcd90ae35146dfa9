//! `[[model]]` and `[[plugin]]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firebox_contract::limits;
use firebox_engine::Speculation;
use firebox_hub::ModelName;
use firebox_models::{KV_CACHE_TYPES, KvCacheType, Mixture};
use firebox_sandbox::{Grants, OnFault};

use super::super::document::{Node, TomlTable, Value};
use super::super::reader::Section;
use super::server::bytes;
use crate::host::ember;
use crate::plugins;

/// `[[model]]`: a chat model or an embedding model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// The name of the model in requests.
    pub name: String,
    /// The GGUF file or Hugging Face folder; `None` for the built-in model and for a model of a hub.
    pub path: Option<PathBuf>,
    /// The name on a hub.
    pub hub: Option<ModelName>,
    /// The device, as for `--device`.
    pub device: String,
    /// Maximum length of a conversation in tokens, at most the checkpoint's own limit.
    pub context_tokens: Option<usize>,
    /// Maximum size of the KV cache of all sequences, in bytes.
    pub cache_bytes: Option<u64>,
    /// Maximum requests at a time.
    pub in_flight_max: Option<usize>,
    /// Threads that compute on the CPU; `None` is one for each core.
    pub threads: Option<usize>,
    /// Whether the text of a control token in a message becomes that token.
    pub text_control_tokens: bool,
    /// The type in which the matrices of a model in full precision are kept; `None` as they are.
    pub quantize: Option<&'static Mixture>,
    /// Whether quantized matrices on the CPU are repacked where that is faster.
    pub repack: bool,
    /// The type of keys and values in the KV cache of the CPU.
    pub kv_cache: KvCacheType,
    /// Whether tokens are drafted and verified.
    pub speculation: Speculation,
}

/// The values of `speculation`.
const SPECULATIONS: &[(&str, Speculation)] = &[("ngram", Speculation::NGram), ("off", Speculation::Off)];

impl ModelConfig {
    /// The built-in model on the best device.
    pub(crate) fn ember() -> Self {
        Self {
            name: ember::NAME.to_owned(),
            path: None,
            hub: None,
            device: "auto".to_owned(),
            context_tokens: None,
            cache_bytes: None,
            in_flight_max: None,
            threads: None,
            text_control_tokens: false,
            quantize: None,
            repack: true,
            kv_cache: KvCacheType::default(),
            speculation: Speculation::default(),
        }
    }

    /// Whether it is the built-in model.
    #[must_use]
    pub fn is_ember(&self) -> bool {
        self.path.is_none() && self.hub.is_none()
    }

    /// `check_hub` says why a server cannot have a model of a hub.
    pub(in crate::config) fn read(
        mut section: Section<'_>,
        folder: &Path,
        check_hub: &dyn Fn(&ModelName) -> Result<(), String>,
    ) -> Option<Self> {
        let name = name(&mut section);
        let (path, hub) = model_path(&mut section, folder, check_hub);
        if path.is_none()
            && hub.is_none()
            && name.as_deref().is_some_and(|name| name != ember::NAME)
            && section.take("path").is_none()
        {
            let message = format!("\"path\" is missing; only \"{}\" is built in", ember::NAME);
            section.error(&section.at, message);
        }
        let read = Self {
            device: section.text("device").unwrap_or_else(|| "auto".to_owned()),
            context_tokens: section.count("context_tokens", 1..=limits::CONTEXT_TOKENS_MAX),
            cache_bytes: section.size("cache_bytes", 1..=limits::MODEL_CACHE_BYTES_MAX),
            in_flight_max: section.count("in_flight_max", 1..=limits::IN_FLIGHT_MAX),
            threads: section.count("threads", 1..=limits::COMPUTE_THREADS_MAX),
            text_control_tokens: section.boolean("text_control_tokens").unwrap_or(false),
            quantize: quantize(&mut section),
            repack: section.boolean("repack").unwrap_or(true),
            kv_cache: section.choice("kv_cache", KV_CACHE_TYPES).unwrap_or_default(),
            speculation: section.choice("speculation", SPECULATIONS).unwrap_or_default(),
            path,
            hub,
            name: name.clone().unwrap_or_default(),
        };
        if let Err(error) = read.device.parse::<firebox_models::device::DeviceChoice>() {
            section.error(section.at("device"), error);
        }
        section.finish();
        name.map(|_| read)
    }
}

/// The value of `path`: a path that exists, else a name on a hub.
fn model_path(
    section: &mut Section<'_>,
    folder: &Path,
    check_hub: &dyn Fn(&ModelName) -> Result<(), String>,
) -> (Option<PathBuf>, Option<ModelName>) {
    let Some(text) = section.text("path") else { return (None, None) };
    let path = folder.join(&text);
    if path.exists() {
        return (Some(path), None);
    }
    let hub: Option<ModelName> = text.parse().ok();
    let shown = path.display();
    let problem = match &hub {
        Some(name) => check_hub(name).err().map(|why| format!("there is no file or folder \"{shown}\", and {why}")),
        None => Some(format!(
            "there is no file or folder \"{shown}\"; give a .gguf file, the folder of a Hugging Face checkpoint, or the name \
             of a model on a hub (org/name)"
        )),
    };
    if let Some(problem) = problem {
        section.error(section.at("path"), problem);
    }
    (None, hub)
}

/// The mixture of types that `quantize` names.
fn quantize(section: &mut Section<'_>) -> Option<&'static Mixture> {
    let name = section.text("quantize")?;
    Mixture::named(&name).map_err(|error| section.error(section.at("quantize"), error)).ok()
}

/// Limits of a plugin. The default of each is the value in its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginLimitsConfig {
    /// Maximum fuel of one call.
    pub fuel: Option<u64>,
    /// Maximum memory of one instance, in bytes.
    pub memory_bytes: Option<usize>,
    /// Maximum time of one call.
    pub timeout: Option<Duration>,
}

impl PluginLimitsConfig {
    /// Reads the three limits from these keys.
    pub(in crate::config) fn read(section: &mut Section<'_>, [fuel, memory, timeout]: [&'static str; 3]) -> Self {
        Self {
            fuel: section.integer(fuel, 1..=limits::PLUGIN_FUEL_MAX),
            memory_bytes: bytes(section, memory, limits::PLUGIN_MEMORY_BYTES_MAX),
            timeout: section.time(timeout, Duration::from_millis(1)..=limits::PLUGIN_TIMEOUT_MAX),
        }
    }
}

/// `[[plugin]]`: a plugin that tenants can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// The name in the lists of tenants.
    pub name: String,
    /// The name of a built-in plugin, or the path of a component or its folder.
    pub source: String,
    /// Its configuration: the text of one JSON object.
    pub config_json: Option<String>,
    /// Its limits.
    pub limits: PluginLimitsConfig,
    /// Its capabilities, each as its text.
    pub grants: Vec<String>,
    /// SHA-256 of the component that the grants are for, in hex; `None` for whichever component the source has.
    pub digest: Option<String>,
    /// What a fault of the plugin does to the request. The default is the manifest's.
    pub on_fault: Option<OnFault>,
    /// What a call that takes too long does to the request. The default is what any other fault does.
    pub on_timeout: Option<OnFault>,
}

impl PluginConfig {
    /// The built-in plugin `name` with its defaults.
    pub(crate) fn builtin(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            source: name.to_owned(),
            config_json: None,
            limits: PluginLimitsConfig::default(),
            grants: Vec::new(),
            digest: None,
            on_fault: None,
            on_timeout: None,
        }
    }

    pub(in crate::config) fn read(mut section: Section<'_>, folder: &Path) -> Option<Self> {
        let name = name(&mut section);
        let source = section.text("source").or_else(|| name.clone()).unwrap_or_default();
        let source = if plugins::is_builtin(&source) { source } else { existing_path(&mut section, folder, &source) };
        let config = section.table("config").map(|table| object(table).to_string());
        if config.as_ref().is_some_and(|json| json.len() > limits::PLUGIN_CONFIG_BYTES_MAX) {
            let max = limits::PLUGIN_CONFIG_BYTES_MAX;
            section.error(section.at("config"), format!("\"config\" is longer than {max} bytes as JSON"));
        }
        let read = Self {
            source,
            config_json: config,
            limits: PluginLimitsConfig::read(&mut section, ["fuel", "memory", "timeout"]),
            grants: grants(&mut section, folder),
            digest: None,
            on_fault: section.choice("on_fault", EFFECTS),
            on_timeout: section.choice("on_timeout", EFFECTS),
            name: name.clone().unwrap_or_default(),
        };
        let digest = digest(&mut section, &read);
        section.finish();
        name.map(|_| Self { digest, ..read })
    }
}

/// The effects of a fault by name.
const EFFECTS: &[(&str, OnFault)] = &[("fail", OnFault::Fail), ("skip", OnFault::Skip)];

/// The grants, with paths relative to the folder of the file.
fn grants(section: &mut Section<'_>, folder: &Path) -> Vec<String> {
    let grants = section.texts("grants").unwrap_or_default();
    if let Err(reason) = Grants::parse(&grants) {
        section.error(section.at("grants"), format!("\"grants\": {reason}"));
        return Vec::new();
    }
    grants.into_iter().map(|grant| relative_to(folder, grant)).collect()
}

/// The grant with its path, of a folder or of the file of a secret, relative to `folder`.
pub(super) fn relative_to(folder: &Path, grant: String) -> String {
    let marker = if grant.starts_with("files:") { "=" } else { "=file:" };
    let is_path = grant.starts_with("files:") || grant.starts_with("secret:");
    match grant.split_once(marker).filter(|_| is_path) {
        Some((name, path)) => format!("{name}{marker}{}", folder.join(path).display()),
        None => grant,
    }
}

/// The digest of the component that the grants are for. Grants to a component that may change need one, or the word `any`.
fn digest(section: &mut Section<'_>, read: &PluginConfig) -> Option<String> {
    let written = section.text("digest");
    if let Some(digest) = &written {
        if digest == "any" {
            return None;
        }
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = "\"digest\" must be the SHA-256 of the component in 64 hexadecimal digits, or \"any\"";
            section.error(section.at("digest"), message);
        }
        return written;
    }
    let is_bound = plugins::is_builtin(&read.source) || read.grants.iter().all(|grant| grant == "log");
    if !is_bound {
        let digest = plugins::digest_of(&read.source).unwrap_or_else(|| "…".to_owned());
        let message = format!(
            "\"grants\" are for one component, so that another one does not get them; write digest = \"{digest}\", or \
             \"any\" while you develop it"
        );
        section.error(section.at("grants"), message);
    }
    None
}

/// The path of a component or its folder, which must exist.
fn existing_path(section: &mut Section<'_>, folder: &Path, source: &str) -> String {
    let path = folder.join(source);
    if !source.is_empty() && !path.exists() {
        let builtins = plugins::builtins().collect::<Vec<_>>().join(", ");
        let message =
            format!("there is no plugin \"{source}\"; give a component, its folder, or a built-in plugin: {builtins}");
        section.error(section.at("source"), message);
    }
    path.display().to_string()
}

/// The required `name`: letters, digits, `-`, `_`, `.` and `/`.
pub(in crate::config) fn name(section: &mut Section<'_>) -> Option<String> {
    let name = section.required("name")?;
    section.called(&name);
    if let Err(why) = check_name(&name) {
        section.error(section.at("name"), why);
        return None;
    }
    Some(name)
}

/// Checks that a name can be used in a header, a file name and a metric.
///
/// # Errors
/// A message with the allowed characters.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || !name.chars().all(fits) {
        let max = limits::NAME_BYTES_MAX;
        return Err(format!(
            "\"{}\" is not a valid name; use 1 to {max} letters, digits and - _ . / :",
            name.escape_debug()
        ));
    }
    Ok(())
}

fn object(table: &TomlTable) -> serde_json::Value {
    table.iter().map(|(key, node)| (key.clone(), json(node))).collect()
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Text(text) | Value::Raw(text) | Value::Moment(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(table) => object(table),
    }
}

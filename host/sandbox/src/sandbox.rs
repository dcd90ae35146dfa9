//! The sandbox: one wasmtime engine, and how it loads plugins.

pub(crate) mod notice;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use firebox_contract::limits;
use firebox_contract::{ModelHandle, Stage, TenantId, ToolDefinition};
use wasmtime::component::{Component, InstancePre};

use self::notice::Notice;
use crate::capabilities::Services;
use crate::compile::{CancelFlag, CancelOnDrop, CompiledComponent, CompilerCommand, Loader, Shape};
use crate::error::SandboxError;
use crate::instance::guest::{self, GuestData};
use crate::instance::pool::Amount;
use crate::instance::records::Records;
use crate::instance::{Instance, InstanceOptions};
use crate::plugin::grants::{Grants, PluginGrants, TenantGrants};
use crate::plugin::{Blueprint, FaultPolicy, GrantedTo, Plugin, PluginInfo, PluginLimits, PluginShared, PluginSpec};
use crate::runtime::{Allocation, Runtime};
use crate::stages::tool::functions;
use crate::stages::{Exports, STAGES, stage_missing, tool};

/// An extra check of a tool's definition when its plugin is loaded, such as whether the host can validate its schema. The
/// error says what is wrong with the definition.
pub type ToolCheck = fn(&ToolDefinition) -> Result<(), String>;

/// The options of a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The directory for compiled components. Without one nothing is cached. A missing directory is created with mode 700. A
    /// directory that another user has access to is not used.
    pub cache_dir: Option<PathBuf>,
    /// The operator's ceiling for the limits that plugins ask for.
    pub ceiling: PluginLimits,
    /// The capabilities that the operator grants to every plugin that asks for them.
    pub grants: Grants,
    /// Maximum linear memories of all live instances. An instance has as many as its component defines, and counts as at
    /// least one.
    pub pool_memories: usize,
    /// Maximum bytes in all these memories together, and so also of one plugin.
    pub pool_bytes: usize,
    /// How memory for instances is allocated.
    pub allocation: Allocation,
    /// What the host brings for capabilities.
    pub services: Services,
    /// The command that compiles components in a child process. Without one they are compiled in this process, with much lower
    /// limits on their contents.
    pub compiler: Option<CompilerCommand>,
    /// The extra check of each tool definition when a plugin is loaded.
    pub check_tool: ToolCheck,
    /// Receives a status line when compiling takes long.
    pub notice: Notice,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            ceiling: PluginLimits::MAX,
            grants: Grants::default(),
            pool_memories: limits::PLUGIN_POOL_MEMORIES,
            pool_bytes: limits::PLUGIN_POOL_BYTES_DEFAULT,
            allocation: Allocation::default(),
            services: Services::default(),
            compiler: None,
            check_tool: |_| Ok(()),
            notice: Notice::default(),
        }
    }
}

/// Loads and runs plugins. Clones share the engine.
#[derive(Clone)]
pub struct Sandbox {
    runtime: Arc<Runtime>,
    options: Arc<SandboxOptions>,
}

impl Sandbox {
    /// A sandbox with its own engine.
    ///
    /// # Errors
    /// `SandboxError::Limit` for options out of range, `SandboxError::AddressSpace` if the process has too little address
    /// space, `SandboxError::Host` if the engine cannot be created.
    pub fn new(mut options: SandboxOptions) -> Result<Self, SandboxError> {
        options.ceiling.check("the operator's ceiling")?;
        in_range("number of memories", options.pool_memories, 1, limits::PLUGIN_POOL_MEMORIES)?;
        in_range("bytes of memory", options.pool_bytes, limits::PLUGIN_POOL_BYTES_MIN, usize::MAX)?;
        let wanted = Amount { memories: options.pool_memories, bytes: options.pool_bytes };
        let runtime = Arc::new(Runtime::start(options.allocation, wanted)?);
        let bytes = runtime.pool.capacity().bytes;
        options.ceiling.memory_bytes = options.ceiling.memory_bytes.min(bytes);
        Ok(Self { runtime, options: Arc::new(options) })
    }

    /// How memory for instances is allocated. It may differ from the option.
    #[must_use]
    pub fn allocation(&self) -> Allocation {
        self.runtime.allocation()
    }

    /// The reason why memory is not pooled or its capacity is lower, if that differs from the options. Without the pool an
    /// instance takes tens of microseconds to start instead of a few.
    #[must_use]
    pub fn unpooled_because(&self) -> Option<&str> {
        self.runtime.unpooled.as_deref()
    }

    /// The number of components compiled so far, without those taken from the cache.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.runtime.compilations.load(Ordering::Relaxed)
    }

    /// Reads, checks and compiles a component, and starts one instance of it. So a plugin that cannot start, or refuses its
    /// configuration, is reported here and not by the first request.
    ///
    /// # Errors
    /// `SandboxError`: the problem of the plugin, or the fault of its first instance.
    pub async fn load(&self, spec: PluginSpec) -> Result<Arc<Plugin>, SandboxError> {
        spec.check()?;
        let operator = self.options.grants.with(&spec.grants);
        check_folders(&spec.name, &operator)?;
        let mut warnings = Vec::new();
        let (asked, operator) = match spec.has_manifest {
            true => (Grants::asked(&spec.name, &spec.asks)?, operator),
            false => {
                warnings.extend(operator.unnamed().map(|grant| gives_nothing(&spec.name, &grant)));
                (Grants::everything(), operator.named())
            }
        };
        let grants = PluginGrants { name: spec.name.clone(), asked, operator };
        let shared = Arc::new(PluginShared {
            grants: Arc::new(grants),
            services: self.options.services.clone(),
            settings: spec.settings(),
        });
        let spec = Arc::new(spec);
        let compiled = self.compile(&spec).await?;
        let imports = self.imports(&spec.name, &compiled.component)?;
        let invalid =
            |error: wasmtime::Error| SandboxError::Invalid { plugin: spec.name.clone(), reason: format!("{error:#}") };
        let pre = self.runtime.linker.instantiate_pre(&compiled.component).map_err(invalid)?;
        let mut exports = Exports::find(&pre).map_err(invalid)?;
        warnings.extend(compiled.warnings);
        if exports.stages().is_empty() {
            let found = functions::find(&pre, &self.runtime.engine);
            warnings.extend(found.refused.iter().map(|(name, reason)| not_a_tool(&spec.name, name, reason)));
            exports.tool = found.binder;
            if let Some((tool, reason)) = found.refused.into_iter().next().filter(|_| exports.tool.is_none()) {
                return Err(SandboxError::Tool {
                    plugin: spec.name.clone(),
                    tool,
                    reason: format!("cannot be called: it {reason}"),
                });
            }
        }
        self.check_exports(&spec, &exports, &pre, &imports)?;
        let memories = memories(&spec.name, &compiled.component)?;
        let blueprint = Arc::new(Blueprint {
            runtime: Arc::clone(&self.runtime),
            name: spec.name.clone(),
            pre,
            exports,
            limits: spec.limits.least(self.options.ceiling),
            policy: FaultPolicy { on_fault: spec.on_fault, on_timeout: spec.on_timeout.unwrap_or(spec.on_fault) },
            config_json: spec.config_json.clone(),
            shared,
            memories,
            initial_bytes: OnceLock::new(),
        });
        let (info, tools) = describe(&blueprint, self.options.check_tool).await?;
        Ok(Arc::new(Plugin {
            blueprint,
            tools,
            info,
            imports,
            asks: spec.has_manifest.then(|| spec.asks.clone()),
            digest: compiled.digest,
            component_bytes: compiled.bytes,
            from_cache: compiled.from_cache,
            warnings,
        }))
    }

    /// Compiles on a thread for blocking work. Sends a status line if that takes long. Dropping the future kills the compiler's
    /// process.
    async fn compile(&self, spec: &Arc<PluginSpec>) -> Result<CompiledComponent, SandboxError> {
        let (runtime, options, name) = (Arc::clone(&self.runtime), Arc::clone(&self.options), spec.name.clone());
        let (spec, cancelled) = (Arc::clone(spec), CancelFlag::default());
        let _cancel_on_drop = CancelOnDrop(cancelled.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            let (cache_dir, compiler) = (options.cache_dir.as_deref(), options.compiler.as_ref());
            let (runtime, cancelled, precheck) = (&*runtime, &cancelled, |shape: &Shape| precheck(&spec.name, shape));
            let check_digest = &|digest: &str| check_digest(&spec, digest);
            let loader = Loader { runtime, cache_dir, compiler, cancelled, check_digest, precheck: &precheck };
            loader.load(&spec.name, &spec.source)
        });
        let done = match tokio::time::timeout(limits::PLUGIN_COMPILE_NOTICE_AFTER, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.options.notice.send(&format!("compiling plugin \"{name}\" …"));
                work.await
            }
        };
        done.unwrap_or_else(|error| Err(SandboxError::Host(format!("the thread that compiles stopped: {error}"))))
    }

    /// The names of the component's imports.
    ///
    /// # Errors
    /// `SandboxError::UnknownImport` if the host does not provide one of them.
    fn imports(&self, plugin: &str, component: &Component) -> Result<Vec<String>, SandboxError> {
        let ty = component.component_type();
        let imports: Vec<String> = ty.imports(&self.runtime.engine).map(|(name, _)| name.to_owned()).collect();
        check_imports(plugin, &imports)?;
        Ok(imports)
    }

    /// Checks that the component exports a stage and the stages of its manifest, and can read its configuration if it has one.
    fn check_exports(
        &self,
        spec: &PluginSpec,
        exports: &Exports,
        pre: &InstancePre<GuestData>,
        imports: &[String],
    ) -> Result<(), SandboxError> {
        if exports.stages().is_empty() {
            let ty = pre.component().component_type();
            let exports = ty.exports(&self.runtime.engine).map(|(name, _)| name.to_owned()).collect();
            return Err(no_stage(&spec.name, exports));
        }
        check_stages(spec, exports)?;
        let reads_config = exports.lifecycle.is_some() || imports.iter().any(|name| name.starts_with("wasi:config/"));
        if spec.config_json.is_some() && !reads_config {
            let reason = "cannot be used, because the plugin neither exports firebox:plugin/lifecycle nor imports \
                          wasi:config; remove it";
            return Err(SandboxError::Config { plugin: spec.name.clone(), reason: reason.to_owned() });
        }
        Ok(())
    }
}

/// # Errors
/// `SandboxError::Limit` for a `value` below `low` or above `high`.
fn in_range(what: &'static str, value: usize, low: usize, high: usize) -> Result<(), SandboxError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let (value, low, high) = (value.to_string(), low.to_string(), high.to_string());
    Err(SandboxError::Limit { owner: "the sandbox".to_owned(), what, value, low, high })
}

/// Checks that each folder of the grants can be read, so that a mistake is found before a request needs it.
fn check_folders(plugin: &str, grants: &Grants) -> Result<(), SandboxError> {
    for (name, path) in grants.iter().filter_map(|grant| grant.folder()) {
        if !path.is_dir() {
            let grant = format!("files:{name}={}", path.display());
            let reason = "does not name a folder; write the path of a folder that Firebox can read".to_owned();
            return Err(SandboxError::Grant { plugin: plugin.to_owned(), grant, reason });
        }
    }
    Ok(())
}

/// Checks that the component with this digest was accepted, and that the grants are for it.
fn check_digest(spec: &PluginSpec, found: &str) -> Result<(), SandboxError> {
    if let Some(pinned) = spec.pins.iter().find(|pinned| !pinned.digest.eq_ignore_ascii_case(found)) {
        return Err(SandboxError::NotAccepted {
            plugin: spec.name.clone(),
            found: found.to_owned(),
            accepted: pinned.digest.clone(),
            by: pinned.by.clone(),
        });
    }
    match &spec.granted_to {
        GrantedTo::Digest(granted) if !granted.eq_ignore_ascii_case(found) => Err(SandboxError::OtherDigest {
            plugin: spec.name.clone(),
            found: found.to_owned(),
            granted: granted.clone(),
            asks: spec.asks.clone(),
        }),
        _ => Ok(()),
    }
}

/// The note about a grant to a component without a manifest that names nothing.
fn gives_nothing(plugin: &str, grant: &str) -> String {
    format!(
        "plugin \"{plugin}\" has no plugin.toml that says what it needs, so the grant \"{grant}\" gives it nothing; name \
         what it may use, as --explain-grants says"
    )
}

/// The note about a function that is not offered as a tool.
fn not_a_tool(plugin: &str, function: &str, reason: &str) -> String {
    format!("plugin \"{plugin}\": the function \"{function}\" is not offered as a tool: it {reason}")
}

/// Checks before a component is compiled: its imports are known, and it exports a stage or functions.
fn precheck(plugin: &str, shape: &Shape) -> Result<(), SandboxError> {
    check_imports(plugin, &shape.imports)?;
    // Versions are compared later, by wasmtime, which knows which ones are compatible.
    let interface = |name: &str| name.split('@').next().unwrap_or(name).to_owned();
    let known: Vec<String> = stage_interfaces().map(interface).collect();
    if shape.exports.iter().any(|name| known.contains(&interface(name))) || functions::possible(&shape.exports) {
        return Ok(());
    }
    Err(no_stage(plugin, shape.exports.clone()))
}

fn check_imports(plugin: &str, imports: &[String]) -> Result<(), SandboxError> {
    let unknown: Vec<String> = imports.iter().filter(|name| !guest::is_known_import(name)).cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(SandboxError::UnknownImport { plugin: plugin.to_owned(), imports: unknown })
}

/// The interfaces that make a component a plugin.
fn stage_interfaces() -> impl Iterator<Item = &'static str> {
    STAGES.iter().filter(|row| row.stage != Stage::Init).flat_map(|row| (row.interfaces)())
}

fn no_stage(plugin: &str, exports: Vec<String>) -> SandboxError {
    let supported = stage_interfaces().map(str::to_owned).collect();
    SandboxError::NoStage { plugin: plugin.to_owned(), exports, supported }
}

/// Checks that the component exports exactly the stages that its manifest lists, so that the manifest can be trusted.
fn check_stages(spec: &PluginSpec, exports: &Exports) -> Result<(), SandboxError> {
    let Some(declared) = &spec.stages else { return Ok(()) };
    let name = |stages: &[Stage]| stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join(", ");
    let mut declared = declared.clone();
    declared.sort_unstable();
    declared.dedup();
    let exported = exports.stages();
    if declared == exported {
        return Ok(());
    }
    Err(SandboxError::Stages { plugin: spec.name.clone(), declared: name(&declared), exported: name(&exported) })
}

/// The number of linear memories that an instance takes of the instance pool, at least 1.
fn memories(plugin: &str, component: &Component) -> Result<usize, SandboxError> {
    let invalid = |reason: String| SandboxError::Invalid { plugin: plugin.to_owned(), reason };
    let required = component.resources_required().ok_or_else(|| {
        invalid("it imports core modules, so the host cannot know how many memories and tables it needs".to_owned())
    })?;
    let (memories, tables) = (required.num_memories as usize, required.num_tables as usize);
    if memories > limits::PLUGIN_MEMORIES_MAX || tables > limits::PLUGIN_TABLES_MAX {
        return Err(invalid(format!(
            "it has {memories} memories and {tables} tables; at most {} and {} are allowed",
            limits::PLUGIN_MEMORIES_MAX,
            limits::PLUGIN_TABLES_MAX
        )));
    }
    Ok(memories.max(1))
}

/// Starts one instance, and asks it for its description and its tools.
async fn describe(
    blueprint: &Arc<Blueprint>,
    check: ToolCheck,
) -> Result<(Option<PluginInfo>, Vec<ToolDefinition>), SandboxError> {
    let records = Records::default();
    let permit = blueprint.runtime.pool.take_one(None, blueprint.need(), limits::PLUGIN_POOL_WAIT).await?;
    let options = InstanceOptions {
        limits: blueprint.limits,
        budget: None,
        permit,
        records: records.clone(),
        // No tenant grants anything while a plugin is loaded.
        tenant: Arc::new(TenantGrants::new(TenantId::new(""), BTreeMap::new())),
        request: Arc::from("load"),
        own_model: ModelHandle::default(),
    };
    let (instance, started) = Instance::start(Arc::clone(blueprint), options).await;
    started?;
    let mut info = None;
    if instance.has(Stage::Init) {
        let described = instance.call(Stage::Init, |calls, store| match &calls.lifecycle {
            Some(lifecycle) => lifecycle.describe(store),
            None => stage_missing(),
        });
        info = Some(described.await?.0);
    }
    let mut tools = Vec::new();
    if instance.has(Stage::Tool) {
        tools = tool::definitions(&instance, check).await?;
    }
    let peak = records.uses().iter().map(|row| row.memory_peak_bytes).max().unwrap_or_default();
    let _set_once = blueprint.initial_bytes.set(usize::try_from(peak).unwrap_or(usize::MAX));
    Ok((info, tools))
}

//! The sandbox: one engine, and the way from a component to a plugin.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use firebox_contract::limits;
use firebox_contract::{Stage, ToolDefinition};
use wasmtime::component::{Component, InstancePre};

use crate::compiler::{Abandoned, CompilerCommand, Waiting};
use crate::component::{Compiled, Loader};
use crate::error::SandboxError;
use crate::grants::Grants;
use crate::guest::{self, GuestData};
use crate::instance::{Instance, Terms};
use crate::notice::Notice;
use crate::plugin::{Blueprint, Plugin, PluginInfo, PluginLimits, PluginSpec};
use crate::pool::Amount;
use crate::records::Records;
use crate::runtime::{Allocation, Runtime};
use crate::shape::Shape;
use crate::stages::{Exports, STAGES, absent, tool};

/// Says what is wrong with a tool's definition, if anything: for what only whoever checks calls can know.
pub type ToolCheck = fn(&ToolDefinition) -> Result<(), String>;

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where compiled components are kept; nowhere if absent. Made with mode 700 where it is missing, and not used
    /// where another user could write to it.
    pub cache_dir: Option<PathBuf>,
    /// The operator's ceiling over what plugins ask for.
    pub ceiling: PluginLimits,
    /// The capabilities the operator grants to plugins that ask for them.
    pub grants: Grants,
    /// Linear memories of instances alive at once; an instance has as many as its component, and counts as one at least.
    pub pool_memories: usize,
    /// Bytes in these memories together. No plugin may have more than that.
    pub pool_bytes: usize,
    /// Where instances get their memory.
    pub allocation: Allocation,
    /// What compiles components in a process of its own. Without one they are compiled in this process, and may hold much less.
    pub compiler: Option<CompilerCommand>,
    /// What the definition of a tool is held to when it is loaded.
    pub check_tool: ToolCheck,
    /// Hears what takes long.
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
            compiler: None,
            check_tool: |_| Ok(()),
            notice: Notice::default(),
        }
    }
}

/// Runs guests. Cheap to clone: clones share the engine.
#[derive(Clone)]
pub struct Sandbox {
    runtime: Arc<Runtime>,
    options: Arc<SandboxOptions>,
}

impl Sandbox {
    /// A sandbox with an engine of its own.
    ///
    /// # Errors
    /// `SandboxError::Limit` for options out of range, `SandboxError::AddressSpace` where the process may not have enough
    /// of it, `SandboxError::Host` if the machine cannot have an engine.
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

    /// Where instances really get their memory.
    #[must_use]
    pub fn allocation(&self) -> Allocation {
        self.runtime.allocation()
    }

    /// Why there is no pool although one was asked for, or less of it: instances then cost tens of microseconds instead of
    /// a few.
    #[must_use]
    pub fn unpooled_because(&self) -> Option<&str> {
        self.runtime.unpooled.as_deref()
    }

    /// Components compiled so far; those taken from the cache do not count.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.runtime.compilations.load(Ordering::Relaxed)
    }

    /// Reads, checks and compiles a component, then runs one instance of it under its limits: a plugin that cannot
    /// start, or does not take its configuration, is reported here and not by the first request.
    ///
    /// # Errors
    /// `SandboxError`: what is wrong with the plugin, or how its first run ended.
    pub async fn load(&self, spec: PluginSpec) -> Result<Arc<Plugin>, SandboxError> {
        spec.check()?;
        let grants = self.options.grants.with(&spec.grants).settle(&spec.name, &spec.asks)?;
        let spec = Arc::new(spec);
        let compiled = self.compile(&spec).await?;
        let imports = self.imports(&spec.name, &compiled.component)?;
        let invalid =
            |error: wasmtime::Error| SandboxError::Invalid { plugin: spec.name.clone(), reason: format!("{error:#}") };
        let pre = self.runtime.linker.instantiate_pre(&compiled.component).map_err(invalid)?;
        let exports = Exports::find(&pre).map_err(invalid)?;
        self.check_exports(&spec, &exports, &pre)?;
        let memories = memories(&spec.name, &compiled.component)?;
        let blueprint = Arc::new(Blueprint {
            runtime: Arc::clone(&self.runtime),
            name: spec.name.clone(),
            pre,
            exports,
            limits: spec.limits.least(self.options.ceiling),
            on_fault: spec.on_fault,
            config_json: spec.config_json.clone(),
            grants,
            memories,
            usual_bytes: OnceLock::new(),
        });
        let (info, tools) = introduce(&blueprint, self.options.check_tool).await?;
        Ok(Arc::new(Plugin {
            blueprint,
            tools,
            info,
            imports,
            digest: compiled.digest,
            component_bytes: compiled.bytes,
            from_cache: compiled.from_cache,
            warnings: compiled.warnings,
        }))
    }

    /// Compiles on a thread that may block, and says so where that takes long. Dropping the future ends a compiler's process.
    async fn compile(&self, spec: &Arc<PluginSpec>) -> Result<Compiled, SandboxError> {
        let (runtime, options, name) = (Arc::clone(&self.runtime), Arc::clone(&self.options), spec.name.clone());
        let (spec, abandoned) = (Arc::clone(spec), Abandoned::default());
        let _waiting = Waiting(abandoned.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            let (cache_dir, compiler) = (options.cache_dir.as_deref(), options.compiler.as_ref());
            let (runtime, abandoned, admit) = (&*runtime, &abandoned, |shape: &Shape| admit(&spec.name, shape));
            Loader { runtime, cache_dir, compiler, abandoned, admit: &admit }.load(&spec.name, &spec.source)
        });
        let done = match tokio::time::timeout(limits::PLUGIN_COMPILE_NOTICE_AFTER, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.options.notice.say(&format!("compiling plugin \"{name}\" …"));
                work.await
            }
        };
        done.unwrap_or_else(|error| Err(SandboxError::Host(format!("compiling stopped: {error}"))))
    }

    /// The component's imports, all of them known.
    fn imports(&self, plugin: &str, component: &Component) -> Result<Vec<String>, SandboxError> {
        let ty = component.component_type();
        let imports: Vec<String> = ty.imports(&self.runtime.engine).map(|(name, _)| name.to_owned()).collect();
        check_imports(plugin, &imports)?;
        Ok(imports)
    }

    fn check_exports(
        &self,
        spec: &PluginSpec,
        exports: &Exports,
        pre: &InstancePre<GuestData>,
    ) -> Result<(), SandboxError> {
        if exports.stages().is_empty() {
            let ty = pre.component().component_type();
            let exports = ty.exports(&self.runtime.engine).map(|(name, _)| name.to_owned()).collect();
            return Err(no_stage(&spec.name, exports));
        }
        check_stages(spec, exports)?;
        if spec.config_json.is_some() && exports.lifecycle.is_none() {
            let reason = "cannot be given to it, for it does not export firebox:plugin/lifecycle; leave it out";
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

/// What can be said of a component before it is compiled: it imports what there is, and exports a stage.
fn admit(plugin: &str, shape: &Shape) -> Result<(), SandboxError> {
    check_imports(plugin, &shape.imports)?;
    // Which version it is of, and whether it is one of this host's, only wasmtime knows.
    let interface = |name: &str| name.split('@').next().unwrap_or(name).to_owned();
    let known: Vec<String> = stage_interfaces().map(interface).collect();
    if shape.exports.iter().any(|name| known.contains(&interface(name))) {
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

/// What a plugin is said to do is what it does: who reads the manifest must not be surprised.
fn check_stages(spec: &PluginSpec, exports: &Exports) -> Result<(), SandboxError> {
    let Some(said) = &spec.stages else { return Ok(()) };
    let name = |stages: &[Stage]| stages.iter().map(|stage| stage.as_str()).collect::<Vec<_>>().join(", ");
    let mut said = said.clone();
    said.sort_unstable();
    said.dedup();
    let found = exports.stages();
    if said == found {
        return Ok(());
    }
    Err(SandboxError::Stages { plugin: spec.name.clone(), said: name(&said), found: name(&found) })
}

/// The memories that an instance takes of the pool.
fn memories(plugin: &str, component: &Component) -> Result<usize, SandboxError> {
    let invalid = |reason: String| SandboxError::Invalid { plugin: plugin.to_owned(), reason };
    let required = component
        .resources_required()
        .ok_or_else(|| invalid("it imports core modules, so its needs are unknown".to_owned()))?;
    let (memories, tables) = (required.num_memories as usize, required.num_tables as usize);
    if memories > limits::PLUGIN_MEMORIES_MAX || tables > limits::PLUGIN_TABLES_MAX {
        return Err(invalid(format!(
            "it has {memories} memories and {tables} tables where {} and {} are allowed",
            limits::PLUGIN_MEMORIES_MAX,
            limits::PLUGIN_TABLES_MAX
        )));
    }
    Ok(memories.max(1))
}

/// Runs an instance once, to hear who it is and what it offers.
async fn introduce(
    blueprint: &Arc<Blueprint>,
    check: ToolCheck,
) -> Result<(Option<PluginInfo>, Vec<ToolDefinition>), SandboxError> {
    let records = Records::default();
    let room = blueprint.runtime.pool.take_one(None, blueprint.need(), limits::PLUGIN_POOL_WAIT).await?;
    let terms =
        Terms { limits: blueprint.limits, account: None, room, records: records.clone(), request: Arc::from("load") };
    let (instance, started) = Instance::start(Arc::clone(blueprint), terms).await;
    started?;
    let mut info = None;
    if instance.has(Stage::Init) {
        let described = instance.call(Stage::Init, |calls, store| match &calls.lifecycle {
            Some(lifecycle) => lifecycle.describe(store),
            None => absent(),
        });
        info = Some(described.await?.0);
    }
    let mut tools = Vec::new();
    if instance.has(Stage::Tool) {
        tools = tool::definitions(&instance, check).await?;
    }
    let peak = records.uses().iter().map(|row| row.memory_peak_bytes).max().unwrap_or_default();
    let _set_once = blueprint.usual_bytes.set(usize::try_from(peak).unwrap_or(usize::MAX));
    Ok((info, tools))
}

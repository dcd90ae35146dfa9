//! Limits of component files, of their manifests and of compiling them.

use std::time::Duration;

use super::{KIB, MIB};

// ---- Content of a component -----------------------------------------------------------------------------------

/// Bytes of one component file.
pub const PLUGIN_COMPONENT_BYTES_MAX: u64 = 64 * MIB as u64;
/// Linear memories of one component.
pub const PLUGIN_MEMORIES_MAX: usize = 8;
/// Tables of one component.
pub const PLUGIN_TABLES_MAX: usize = 32;
/// Elements of one table.
pub const PLUGIN_TABLE_ELEMENTS_MAX: usize = 20_000;
/// Core instances of one component, including the instances of nested components.
pub const PLUGIN_INSTANCES_MAX: usize = 128;
/// Core modules of one component.
pub const PLUGIN_MODULES_MAX: u64 = 128;
/// Components nested in one component.
pub const PLUGIN_NESTED_COMPONENTS_MAX: u64 = 64;
/// Levels of nesting of components and modules.
pub const PLUGIN_NESTING_DEPTH_MAX: u64 = 8;
/// Component instances of one component, including the instances of nested components.
pub const PLUGIN_COMPONENT_INSTANCES_MAX: u64 = 128;
/// Imports, exports, aliases, arguments and conversions of one component, counted for each instance.
pub const PLUGIN_ITEMS_MAX: u64 = 20_000;
/// Core types of one component.
pub const PLUGIN_CORE_TYPES_MAX: u64 = 20_000;
/// Bytes of the component types of one component.
pub const PLUGIN_TYPE_BYTES_MAX: u64 = 64 * KIB as u64;
/// Levels of nesting of component types in one section.
pub const PLUGIN_TYPE_NESTING_DEPTH_MAX: u64 = 100;
/// Parts of one component type, with all named types expanded.
pub const PLUGIN_TYPE_PARTS_MAX: u64 = 20_000;
/// Parts of all component types of one component, counted for each use of a type.
pub const PLUGIN_TYPE_USED_PARTS_MAX: u64 = 4_000_000;
/// Functions of one component.
pub const PLUGIN_FUNCTIONS_MAX: u64 = 120_000;
/// Core imports of one component.
pub const PLUGIN_CORE_IMPORTS_MAX: u64 = 20_000;
/// Core exports of one component.
pub const PLUGIN_CORE_EXPORTS_MAX: u64 = 40_000;
/// Globals of one component.
pub const PLUGIN_GLOBALS_MAX: u64 = 20_000;
/// Element segments of one component.
pub const PLUGIN_ELEMENT_SEGMENTS_MAX: u64 = 1_000;
/// Elements of all element segments of one component.
pub const PLUGIN_ELEMENTS_MAX: u64 = 100_000;
/// Data segments of one component.
pub const PLUGIN_DATA_SEGMENTS_MAX: u64 = 50_000;
/// Bytes of the name of one import or export.
pub const PLUGIN_ITEM_NAME_BYTES_MAX: u64 = 4 * KIB as u64;
/// Bytes of code of one component.
pub const PLUGIN_CODE_BYTES_MAX: u64 = 20 * MIB as u64;
/// Bytes of code of one function.
pub const PLUGIN_FUNCTION_BYTES_MAX: u64 = MIB as u64;
/// Local variables of one function, parameters and results included.
pub const PLUGIN_FUNCTION_LOCALS_MAX: u64 = 4_000;
/// Local variables of all functions of one component.
pub const PLUGIN_LOCALS_MAX: u64 = 1_000_000;
/// Levels of nesting of the blocks of one function.
pub const PLUGIN_FUNCTION_DEPTH_MAX: u64 = 2_000;
/// Blocks and branches of all functions of one component.
pub const PLUGIN_BLOCKS_MAX: u64 = 2_000_000;
/// Targets of all branch tables of one component.
pub const PLUGIN_BRANCH_TARGETS_MAX: u64 = 400_000;
/// Call instructions of all functions of one component, each counted with its arguments and results.
pub const PLUGIN_CALL_OPERANDS_MAX: u64 = 2_000_000;
/// Local variables multiplied by blocks and calls, for one function: the size of the compiler's liveness analysis.
pub const PLUGIN_FUNCTION_LIVENESS_MAX: u64 = 4_000_000;
/// Local variables multiplied by blocks and calls, added up over all functions of one component.
pub const PLUGIN_LIVENESS_MAX: u64 = 100_000_000;
/// Percentage of each compile-cost limit that every component may use, however little code it has.
pub const PLUGIN_SMALL_COMPONENT_PERCENT: u64 = 2;
/// Bytes of code from which a component may use the full compile-cost limits. With less code the limits are proportionally
/// lower.
pub const PLUGIN_FULL_LIMITS_CODE_BYTES: u64 = 16 * MIB as u64;
/// Divisor of the compile-cost limits on platforms where the compiler does not run in a limited child process.
pub const PLUGIN_UNLIMITED_COMPILER_DIVISOR: u64 = 16;

// ---- Manifests and tool definitions ---------------------------------------------------------------------------

/// Bytes of `plugin.toml`.
pub const PLUGIN_MANIFEST_BYTES_MAX: u64 = 64 * KIB as u64;
/// Fuel of one call that `plugin.toml` can ask for. An operator can set more.
pub const PLUGIN_MANIFEST_FUEL_MAX: u64 = 10_000_000_000;
/// Bytes of memory of one instance that `plugin.toml` can ask for. An operator can set more.
pub const PLUGIN_MANIFEST_MEMORY_BYTES_MAX: usize = 256 * MIB;
/// Time of one call that `plugin.toml` can ask for. An operator can set more.
pub const PLUGIN_MANIFEST_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Maximum timeout of the manifest of a plugin that asks for the model.
pub const PLUGIN_MANIFEST_MODEL_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Bytes of the description of one tool of a plugin.
pub const PLUGIN_TOOL_TEXT_BYTES_MAX: usize = 16 * KIB;
/// Bytes of the title of one tool of a plugin.
pub const PLUGIN_TOOL_TITLE_BYTES_MAX: usize = 256;
/// Bytes of the media type of a tool result. The rest is cut.
pub const PLUGIN_MIME_BYTES_MAX: usize = 256;
/// Bytes of the definitions of all tools of one plugin.
pub const PLUGIN_TOOLS_BYTES_MAX: usize = MIB;

// ---- Compiling components -------------------------------------------------------------------------------------

/// CPU time to compile a component, in addition to `PLUGIN_COMPILE_CPU_PER_MIB`.
pub const PLUGIN_COMPILE_CPU: Duration = Duration::from_secs(4);
/// CPU time to compile a component, for each MiB of its code.
pub const PLUGIN_COMPILE_CPU_PER_MIB: Duration = Duration::from_secs(8);
/// Wall-clock time to compile a component, as a multiple of its CPU time, because the machine can be busy.
pub const PLUGIN_COMPILE_WALL_FACTOR: u32 = 10;
/// Bytes of memory to compile a component, in addition to `PLUGIN_COMPILE_MEMORY_PER_BYTE`.
pub const PLUGIN_COMPILE_MEMORY_BYTES: u64 = 320 * MIB as u64;
/// Bytes of memory to compile a component, for each byte of its code.
pub const PLUGIN_COMPILE_MEMORY_PER_BYTE: u64 = 128;
/// Bytes of a compiled component, in addition to `PLUGIN_COMPILED_PER_BYTE`.
pub const PLUGIN_COMPILED_BYTES: u64 = 2 * MIB as u64;
/// Bytes of a compiled component, for each byte of the component file.
pub const PLUGIN_COMPILED_PER_BYTE: u64 = 8;
/// Bytes of one compiled component in the cache.
pub const PLUGIN_ARTIFACT_BYTES_MAX: u64 = 8 * PLUGIN_COMPONENT_BYTES_MAX;
/// Compiled components in the cache. The oldest one is evicted first.
pub const PLUGIN_ARTIFACTS_MAX: usize = 256;
/// Time after which a message on standard error tells that a plugin is being compiled.
pub const PLUGIN_COMPILE_NOTICE_AFTER: Duration = Duration::from_secs(1);
/// Period at which the child process of the compiler is checked.
pub const PLUGIN_COMPILE_POLL_PERIOD: Duration = Duration::from_millis(2);
/// Bytes of the error message of the compiler.
pub const PLUGIN_COMPILE_OUTPUT_BYTES_MAX: u64 = 4 * KIB as u64;

// ---- Projects of authors --------------------------------------------------------------------------------------

/// Period at which a build that is running is reported.
pub const PLUGIN_BUILD_NOTICE_PERIOD: Duration = Duration::from_secs(5);
/// Time of one program of a toolchain: a compiler, or a download of its packages.
pub const PLUGIN_BUILD_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// Bytes of `cases.toml`.
pub const PLUGIN_CASES_BYTES_MAX: u64 = MIB as u64;
/// Period at which `firebox plugins watch` looks for changed files.
pub const PLUGIN_WATCH_PERIOD: Duration = Duration::from_millis(500);
/// Files that `firebox plugins watch` compares. Further files are not watched.
pub const PLUGIN_WATCH_FILES_MAX: usize = 10_000;
/// Levels of folders that `firebox plugins watch` looks into.
pub const PLUGIN_WATCH_DEPTH_MAX: usize = 8;

// ---- Functions as tools ---------------------------------------------------------------------------------------

/// Levels of nesting in the types of a function that becomes a tool.
pub const PLUGIN_FUNCTION_TYPE_DEPTH_MAX: usize = 16;
/// Parts in the types of one function that becomes a tool, with all named types expanded.
pub const PLUGIN_FUNCTION_TYPE_PARTS_MAX: usize = 1_000;

const _: () = assert!(PLUGIN_TYPE_NESTING_DEPTH_MAX < 1_000, "each level takes a stack frame of the reader");

// ---- Components from the web and from registries --------------------------------------------------------------

/// Attempts of one request, if its failure may pass.
pub const COMPONENT_ATTEMPTS_MAX: u32 = 4;
/// Time of one answer, and of reading its body.
pub const COMPONENT_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of the reference to an artifact in a registry.
pub const OCI_REFERENCE_BYTES_MAX: usize = 512;
/// Bytes of the manifest of an artifact, of a token, and of the file with the passwords for registries.
pub const OCI_DOCUMENT_BYTES_MAX: usize = 4 * MIB;
/// Time for a credential helper of Docker to answer.
pub const REGISTRY_HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers of a credential helper of Docker that wait to be read.
pub const REGISTRY_HELPER_ANSWERS_MAX: usize = 1;
/// Bytes that a credential helper of Docker answers with.
pub const REGISTRY_HELPER_BYTES_MAX: usize = 64 * KIB;

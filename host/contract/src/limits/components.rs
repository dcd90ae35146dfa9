//! Of plugins before they run: what a component's file may hold, and what compiling it may take.

use std::time::Duration;

use super::{KIB, MIB};

// ---- What a component holds -----------------------------------------------------------------------------------

/// Core instances in one component, those of what it instantiates included.
pub const PLUGIN_INSTANCES_MAX: usize = 128;
/// Core modules in one component.
pub const PLUGIN_MODULES_MAX: u64 = 128;
/// Components nested in one component.
pub const PLUGIN_NESTED_COMPONENTS_MAX: u64 = 64;
/// Levels of components and modules in one another.
pub const PLUGIN_NESTING_MAX: u64 = 8;
/// Component instances in one component, those of what it instantiates included.
pub const PLUGIN_COMPONENT_INSTANCES_MAX: u64 = 128;
/// Imports, exports, aliases, arguments and conversions of one component, counted each time it is instantiated.
pub const PLUGIN_ITEMS_MAX: u64 = 20_000;
/// Core types in one component.
pub const PLUGIN_CORE_TYPES_MAX: u64 = 20_000;
/// Bytes of the component types of one component.
pub const PLUGIN_TYPE_BYTES_MAX: u64 = 64 * KIB as u64;
/// Component types that stand in other types, in one section.
pub const PLUGIN_TYPE_NESTING_MAX: u64 = 100;
/// Parts of one component type, with every type it names written out.
pub const PLUGIN_TYPE_SIZE_MAX: u64 = 10_000;
/// Parts of all component types of one component at each of their uses.
pub const PLUGIN_TYPE_WORK_MAX: u64 = 2_000_000;
/// Functions in one component.
pub const PLUGIN_FUNCTIONS_MAX: u64 = 120_000;
/// Core imports in one component.
pub const PLUGIN_CORE_IMPORTS_MAX: u64 = 20_000;
/// Core exports in one component.
pub const PLUGIN_CORE_EXPORTS_MAX: u64 = 40_000;
/// Globals in one component.
pub const PLUGIN_GLOBALS_MAX: u64 = 20_000;
/// Element segments in one component.
pub const PLUGIN_ELEMENT_SEGMENTS_MAX: u64 = 1_000;
/// Elements of all segments of one component.
pub const PLUGIN_ELEMENTS_MAX: u64 = 100_000;
/// Data segments in one component.
pub const PLUGIN_DATA_SEGMENTS_MAX: u64 = 50_000;
/// Bytes of the name of one import or export.
pub const PLUGIN_ITEM_NAME_BYTES_MAX: u64 = 4 * KIB as u64;
/// Bytes of code in one component.
pub const PLUGIN_CODE_BYTES_MAX: u64 = 20 * MIB as u64;
/// Bytes of code in one function.
pub const PLUGIN_FUNCTION_BYTES_MAX: u64 = MIB as u64;
/// Locals in one function of a plugin, its parameters and results included.
pub const PLUGIN_FUNCTION_LOCALS_MAX: u64 = 4_000;
/// Locals of all functions of one component.
pub const PLUGIN_LOCALS_MAX: u64 = 1_000_000;
/// Blocks in one another in one function.
pub const PLUGIN_FUNCTION_DEPTH_MAX: u64 = 2_000;
/// Blocks and branches of all functions of one component.
pub const PLUGIN_BLOCKS_MAX: u64 = 2_000_000;
/// Targets of all branch tables of one component.
pub const PLUGIN_BRANCH_TARGETS_MAX: u64 = 400_000;
/// Calls of all functions of one component, each with its arguments and results.
pub const PLUGIN_CALLS_MAX: u64 = 2_000_000;
/// Locals times blocks and calls of one function: how much a compiler may have to keep in mind.
pub const PLUGIN_FUNCTION_LIVENESS_MAX: u64 = 4_000_000;
/// The same of all functions of one component.
pub const PLUGIN_LIVENESS_MAX: u64 = 100_000_000;
/// What a small component may have, in percent of each limit above on what costs the compiler time, however little its code.
pub const PLUGIN_SMALL_PERCENT: u64 = 2;
/// Bytes of code for which a component may have all that these limits allow; one with less code may have less in proportion.
pub const PLUGIN_DENSITY_CODE_BYTES: u64 = 16 * MIB as u64;
/// Where no compiler under limits of its own is there, a component may have of what costs the compiler time one part of so many.
pub const PLUGIN_UNGUARDED_DIVISOR: u64 = 16;

// ---- What a plugin says ---------------------------------------------------------------------------------------

/// Bytes of `plugin.toml`.
pub const PLUGIN_MANIFEST_BYTES_MAX: u64 = 64 * KIB as u64;
/// Fuel of one call that a manifest gets without anybody else's word.
pub const PLUGIN_ASKED_FUEL_MAX: u64 = 10_000_000_000;
/// Bytes of memory of one instance that a manifest gets without anybody else's word.
pub const PLUGIN_ASKED_MEMORY_BYTES_MAX: usize = 256 * MIB;
/// Time of one call that a manifest gets without anybody else's word.
pub const PLUGIN_ASKED_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Bytes of the description of one tool of a plugin.
pub const PLUGIN_TOOL_TEXT_BYTES_MAX: usize = 16 * KIB;
/// Bytes of the title of one tool of a plugin.
pub const PLUGIN_TOOL_TITLE_BYTES_MAX: usize = 256;
/// Bytes of the type that a plugin gives its media; the rest is cut.
pub const PLUGIN_MIME_BYTES_MAX: usize = 256;
/// Bytes of the definitions of all tools of one plugin.
pub const PLUGIN_TOOLS_BYTES_MAX: usize = MIB;
/// Messages by which a plugin may make a conversation longer.
pub const PLUGIN_MESSAGES_ADDED_MAX: usize = 64;
/// Bytes by which a plugin may make a conversation longer.
pub const PLUGIN_MESSAGE_BYTES_ADDED_MAX: usize = MIB;

// ---- Compiling ------------------------------------------------------------------------------------------------

/// Processor time for compiling a component, its code aside.
pub const PLUGIN_COMPILE_CPU: Duration = Duration::from_secs(4);
/// Processor time for compiling a component, for each MiB of its code: twice what honest code takes.
pub const PLUGIN_COMPILE_CPU_PER_MIB: Duration = Duration::from_secs(8);
/// Time for compiling a component, in times of the processor time it is allowed: the machine may be busy.
pub const PLUGIN_COMPILE_WALL_FACTOR: u32 = 10;
/// Bytes of memory for compiling a component, its code aside.
pub const PLUGIN_COMPILE_MEMORY_BYTES: u64 = 320 * MIB as u64;
/// Bytes of memory for compiling a component, for each byte of its code.
pub const PLUGIN_COMPILE_MEMORY_PER_BYTE: u64 = 128;
/// Bytes of what a compiler makes of a component, its own bytes aside.
pub const PLUGIN_COMPILED_BYTES: u64 = 2 * MIB as u64;
/// Bytes of what a compiler makes of a component, for each byte of it.
pub const PLUGIN_COMPILED_PER_BYTE: u64 = 8;
/// Time after which a person hears that a plugin is being compiled.
pub const PLUGIN_COMPILE_QUIET: Duration = Duration::from_secs(1);
/// How often a compiler's process is looked at.
pub const PLUGIN_COMPILE_POLL: Duration = Duration::from_millis(2);
/// Bytes of the words with which a compiler says what is wrong.
pub const PLUGIN_COMPILE_OUTPUT_BYTES_MAX: u64 = 4 * KIB as u64;

const _: () = assert!(PLUGIN_TYPE_NESTING_MAX < 1_000, "reading a type in a type takes a stack frame");

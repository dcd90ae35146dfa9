//! Counts with limits: how many functions, locals, types and so on a component has, and how many are allowed.

use firebox_contract::limits;

/// A limit that a component exceeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitExceeded {
    /// The plural noun of the things that are counted.
    pub(crate) what: &'static str,
    /// The number of things when counting stopped.
    pub(crate) found: u64,
    /// The number that is allowed.
    pub(crate) limit: u64,
    /// The advice for the author of the component.
    pub(crate) remedy: &'static str,
}

const SPLIT: &str = "split the plugin, or build it with less in it";
const OPTIMISE: &str = "build it with optimisation, or split the function";

/// How strict the limits are: the limits that add up to the cost of compiling are divided by `divisor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    divisor: u64,
}

impl Bounds {
    /// For a compiler in a child process, which has limits of its own.
    pub(crate) const GUARDED: Self = Self { divisor: 1 };
    /// For a compiler in this process, which only these limits stop.
    pub(crate) const UNGUARDED: Self = Self { divisor: limits::PLUGIN_UNLIMITED_COMPILER_DIVISOR };

    /// A limit on a thing that is cheap to compile even at its limit.
    fn fixed(what: &'static str, limit: u64, remedy: &'static str) -> Tally {
        Tally { what, limit, small: limit, remedy, found: 0 }
    }

    /// A limit on a thing that costs the compiler time or memory.
    fn cost(self, what: &'static str, limit: u64, remedy: &'static str) -> Tally {
        let small = limit * limits::PLUGIN_SMALL_COMPONENT_PERCENT / 100;
        Tally { small, ..Self::fixed(what, limit / self.divisor, remedy) }
    }
}

/// A count with its limit.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) what: &'static str,
    pub(crate) limit: u64,
    /// The number that is always allowed, even if the component has little code.
    small: u64,
    remedy: &'static str,
    pub(crate) found: u64,
}

impl Tally {
    /// Adds `more` to the count.
    ///
    /// # Errors
    /// `LimitExceeded` as soon as the count exceeds the limit.
    pub(crate) fn add(&mut self, more: u64) -> Result<(), LimitExceeded> {
        self.found = self.found.saturating_add(more);
        self.check(self.found)
    }

    /// Records one value, if it is the largest so far. For limits that apply to each value and not to the sum.
    ///
    /// # Errors
    /// `LimitExceeded` if `one` exceeds the limit.
    pub(crate) fn record(&mut self, one: u64) -> Result<(), LimitExceeded> {
        self.found = self.found.max(one);
        self.check(one)
    }

    /// Checks the count against the size of the code. The output of an ordinary compiler has a bounded number of these things
    /// for each byte of code. A component that was built to be expensive has more.
    ///
    /// # Errors
    /// `LimitExceeded` if there are too many for `code_bytes` bytes of code.
    fn check_density(&self, code_bytes: u64) -> Result<(), LimitExceeded> {
        let allowed =
            u128::from(self.limit) * u128::from(code_bytes) / u128::from(limits::PLUGIN_FULL_LIMITS_CODE_BYTES);
        let limit = u64::try_from(allowed).unwrap_or(u64::MAX).max(self.small).min(self.limit);
        Self { limit, ..self.clone() }.check(self.found)
    }

    fn check(&self, found: u64) -> Result<(), LimitExceeded> {
        if found <= self.limit {
            return Ok(());
        }
        Err(LimitExceeded { what: self.what, found, limit: self.limit, remedy: self.remedy })
    }
}

/// All counts of a component.
#[derive(Debug, Clone)]
pub(crate) struct Tallies {
    pub(crate) modules: Tally,
    pub(crate) components: Tally,
    pub(crate) nesting: Tally,
    pub(crate) core_instances: Tally,
    pub(crate) component_instances: Tally,
    pub(crate) items: Tally,
    pub(crate) core_types: Tally,
    pub(crate) type_bytes: Tally,
    pub(crate) type_nesting: Tally,
    pub(crate) type_size: Tally,
    pub(crate) type_work: Tally,
    pub(crate) functions: Tally,
    pub(crate) core_imports: Tally,
    pub(crate) core_exports: Tally,
    pub(crate) globals: Tally,
    pub(crate) tables: Tally,
    pub(crate) table_elements: Tally,
    pub(crate) memories: Tally,
    pub(crate) element_segments: Tally,
    pub(crate) elements: Tally,
    pub(crate) data_segments: Tally,
    pub(crate) name_bytes: Tally,
    pub(crate) code_bytes: Tally,
    pub(crate) function_bytes: Tally,
    pub(crate) function_locals: Tally,
    pub(crate) locals: Tally,
    pub(crate) function_depth: Tally,
    pub(crate) blocks: Tally,
    pub(crate) branch_targets: Tally,
    pub(crate) calls: Tally,
    pub(crate) function_liveness: Tally,
    pub(crate) liveness: Tally,
}

impl Tallies {
    /// All counts at zero, with the limits of `bounds`.
    pub(crate) fn new(bounds: Bounds) -> Self {
        use firebox_contract::limits as max;
        let fixed = Bounds::fixed;
        let cost = |what, limit, remedy| bounds.cost(what, limit, remedy);
        Self {
            modules: fixed("core modules", max::PLUGIN_MODULES_MAX, SPLIT),
            components: fixed("nested components", max::PLUGIN_NESTED_COMPONENTS_MAX, SPLIT),
            nesting: fixed("components in one another", max::PLUGIN_NESTING_DEPTH_MAX, SPLIT),
            core_instances: fixed("core instances", max::PLUGIN_INSTANCES_MAX as u64, SPLIT),
            component_instances: fixed("component instances", max::PLUGIN_COMPONENT_INSTANCES_MAX, SPLIT),
            items: cost("imports, exports, aliases and conversions", max::PLUGIN_ITEMS_MAX, SPLIT),
            core_types: cost("core types", max::PLUGIN_CORE_TYPES_MAX, SPLIT),
            type_bytes: cost("bytes of component types", max::PLUGIN_TYPE_BYTES_MAX, SPLIT),
            type_nesting: fixed("component types in one another", max::PLUGIN_TYPE_NESTING_DEPTH_MAX, SPLIT),
            type_size: fixed("parts in one component type", max::PLUGIN_TYPE_PARTS_MAX, SPLIT),
            type_work: cost("parts in all uses of component types", max::PLUGIN_TYPE_USED_PARTS_MAX, SPLIT),
            functions: cost("functions", max::PLUGIN_FUNCTIONS_MAX, SPLIT),
            core_imports: cost("core imports", max::PLUGIN_CORE_IMPORTS_MAX, SPLIT),
            core_exports: cost("core exports", max::PLUGIN_CORE_EXPORTS_MAX, SPLIT),
            globals: cost("globals", max::PLUGIN_GLOBALS_MAX, SPLIT),
            tables: fixed("tables", max::PLUGIN_TABLES_MAX as u64, SPLIT),
            table_elements: fixed("elements in one table", max::PLUGIN_TABLE_ELEMENTS_MAX as u64, SPLIT),
            memories: fixed("memories", max::PLUGIN_MEMORIES_MAX as u64, SPLIT),
            element_segments: cost("element segments", max::PLUGIN_ELEMENT_SEGMENTS_MAX, SPLIT),
            elements: cost("elements of segments", max::PLUGIN_ELEMENTS_MAX, SPLIT),
            data_segments: cost("data segments", max::PLUGIN_DATA_SEGMENTS_MAX, SPLIT),
            name_bytes: fixed("bytes in one name", max::PLUGIN_ITEM_NAME_BYTES_MAX, SPLIT),
            code_bytes: cost("bytes of code", max::PLUGIN_CODE_BYTES_MAX, SPLIT),
            function_bytes: fixed("bytes of code in one function", max::PLUGIN_FUNCTION_BYTES_MAX, OPTIMISE),
            function_locals: fixed("locals in one function", max::PLUGIN_FUNCTION_LOCALS_MAX, OPTIMISE),
            locals: cost("locals in all functions", max::PLUGIN_LOCALS_MAX, OPTIMISE),
            function_depth: fixed("blocks in one another", max::PLUGIN_FUNCTION_DEPTH_MAX, OPTIMISE),
            blocks: cost("blocks in all functions", max::PLUGIN_BLOCKS_MAX, OPTIMISE),
            branch_targets: cost("targets of branches", max::PLUGIN_BRANCH_TARGETS_MAX, OPTIMISE),
            calls: cost("calls with their arguments", max::PLUGIN_CALL_OPERANDS_MAX, OPTIMISE),
            function_liveness: cost(
                "locals times blocks and calls in one function",
                max::PLUGIN_FUNCTION_LIVENESS_MAX,
                OPTIMISE,
            ),
            liveness: cost("locals times blocks and calls in all functions", max::PLUGIN_LIVENESS_MAX, OPTIMISE),
        }
    }

    /// Checks the counts that cost the compiler time against the size of the code.
    ///
    /// # Errors
    /// `LimitExceeded` if one count is too high for the code.
    pub(crate) fn check_density(&self) -> Result<(), LimitExceeded> {
        let code_bytes = self.code_bytes.found;
        let dense = [&self.functions, &self.locals, &self.blocks, &self.branch_targets, &self.calls, &self.liveness];
        dense.into_iter().try_for_each(|tally| tally.check_density(code_bytes))
    }
}

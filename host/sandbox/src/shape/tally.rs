//! How much of one thing a component has, and how much of it may be there.

use firebox_contract::limits;

/// A bound that a component is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    /// What there is too much of.
    pub(crate) what: &'static str,
    /// How much there is, or how much was found when counting stopped.
    pub(crate) found: u64,
    /// How much is allowed.
    pub(crate) limit: u64,
    /// What whoever built it can do.
    pub(crate) remedy: &'static str,
}

/// What may stand in the way of an honest component is a defect of the limits, not of the component.
const REPORT: &str = "split the plugin, or build it with less in it";
const OPTIMISE: &str = "build it with optimisation, or split the function";

/// How strict the limits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// What adds up to the cost of compiling may be this much less.
    divisor: u64,
}

impl Bounds {
    /// For a compiler that is itself under limits.
    pub(crate) const GUARDED: Self = Self { divisor: 1 };
    /// For a compiler that nothing stops but these counts.
    pub(crate) const UNGUARDED: Self = Self { divisor: limits::PLUGIN_UNLIMITED_COMPILER_DIVISOR };

    /// A bound on what is cheap to compile however much of it the limit allows.
    fn fixed(what: &'static str, limit: u64, remedy: &'static str) -> Tally {
        Tally { what, limit, small: limit, remedy, found: 0 }
    }

    /// A bound on what costs the compiler time or memory.
    fn cost(self, what: &'static str, limit: u64, remedy: &'static str) -> Tally {
        let small = limit * limits::PLUGIN_SMALL_COMPONENT_PERCENT / 100;
        Tally { small, ..Self::fixed(what, limit / self.divisor, remedy) }
    }
}

/// A count with its limit.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    what: &'static str,
    limit: u64,
    /// What there may be however little the code.
    small: u64,
    remedy: &'static str,
    pub(crate) found: u64,
}

impl Tally {
    /// Counts `more`.
    ///
    /// # Errors
    /// `Over` as soon as there is too much.
    pub(crate) fn add(&mut self, more: u64) -> Result<(), Over> {
        self.found = self.found.saturating_add(more);
        self.check(self.found)
    }

    /// Remembers the most of what is counted one at a time.
    ///
    /// # Errors
    /// `Over` if `one` is too much.
    pub(crate) fn most(&mut self, one: u64) -> Result<(), Over> {
        self.found = self.found.max(one);
        self.check(one)
    }

    /// Holds what was counted to what `code_bytes` of code explain: an honest compiler makes so much of everything for so much
    /// code, and who builds a component to be dear does not.
    ///
    /// # Errors
    /// `Over` if there is more.
    fn hold_to(&self, code_bytes: u64) -> Result<(), Over> {
        let explained =
            u128::from(self.limit) * u128::from(code_bytes) / u128::from(limits::PLUGIN_FULL_LIMITS_CODE_BYTES);
        let limit = u64::try_from(explained).unwrap_or(u64::MAX).max(self.small).min(self.limit);
        Self { limit, ..self.clone() }.check(self.found)
    }

    fn check(&self, found: u64) -> Result<(), Over> {
        if found <= self.limit {
            return Ok(());
        }
        Err(Over { what: self.what, found, limit: self.limit, remedy: self.remedy })
    }
}

/// Everything that is counted.
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
    /// Nothing counted yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        use firebox_contract::limits as max;
        let fixed = Bounds::fixed;
        let cost = |what, limit, remedy| bounds.cost(what, limit, remedy);
        Self {
            modules: fixed("core modules", max::PLUGIN_MODULES_MAX, REPORT),
            components: fixed("nested components", max::PLUGIN_NESTED_COMPONENTS_MAX, REPORT),
            nesting: fixed("components in one another", max::PLUGIN_NESTING_DEPTH_MAX, REPORT),
            core_instances: fixed("core instances", max::PLUGIN_INSTANCES_MAX as u64, REPORT),
            component_instances: fixed("component instances", max::PLUGIN_COMPONENT_INSTANCES_MAX, REPORT),
            items: cost("imports, exports, aliases and conversions", max::PLUGIN_ITEMS_MAX, REPORT),
            core_types: cost("core types", max::PLUGIN_CORE_TYPES_MAX, REPORT),
            type_bytes: cost("bytes of component types", max::PLUGIN_TYPE_BYTES_MAX, REPORT),
            type_nesting: fixed("component types in one another", max::PLUGIN_TYPE_NESTING_DEPTH_MAX, REPORT),
            type_size: fixed("parts in one component type", max::PLUGIN_TYPE_PARTS_MAX, REPORT),
            type_work: cost("parts in all uses of component types", max::PLUGIN_TYPE_USED_PARTS_MAX, REPORT),
            functions: cost("functions", max::PLUGIN_FUNCTIONS_MAX, REPORT),
            core_imports: cost("core imports", max::PLUGIN_CORE_IMPORTS_MAX, REPORT),
            core_exports: cost("core exports", max::PLUGIN_CORE_EXPORTS_MAX, REPORT),
            globals: cost("globals", max::PLUGIN_GLOBALS_MAX, REPORT),
            tables: fixed("tables", max::PLUGIN_TABLES_MAX as u64, REPORT),
            table_elements: fixed("elements in one table", max::PLUGIN_TABLE_ELEMENTS_MAX as u64, REPORT),
            memories: fixed("memories", max::PLUGIN_MEMORIES_MAX as u64, REPORT),
            element_segments: cost("element segments", max::PLUGIN_ELEMENT_SEGMENTS_MAX, REPORT),
            elements: cost("elements of segments", max::PLUGIN_ELEMENTS_MAX, REPORT),
            data_segments: cost("data segments", max::PLUGIN_DATA_SEGMENTS_MAX, REPORT),
            name_bytes: fixed("bytes in one name", max::PLUGIN_ITEM_NAME_BYTES_MAX, REPORT),
            code_bytes: cost("bytes of code", max::PLUGIN_CODE_BYTES_MAX, REPORT),
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

    /// Holds what costs the compiler time to what the code explains.
    ///
    /// # Errors
    /// `Over` if there is more.
    pub(crate) fn hold_to_code(&self) -> Result<(), Over> {
        let code_bytes = self.code_bytes.found;
        let dense = [&self.functions, &self.locals, &self.blocks, &self.branch_targets, &self.calls, &self.liveness];
        dense.into_iter().try_for_each(|tally| tally.hold_to(code_bytes))
    }
}

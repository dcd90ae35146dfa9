//! The wasmtime engine of a sandbox, and what belongs to it: linker, executor, ticker and instance pool.

pub(crate) mod address_space;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use firebox_contract::limits;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use self::address_space::MemoryPlan;
use crate::background::{Executor, Ticker};
use crate::error::SandboxError;
use crate::instance::guest::{self, GuestData};
use crate::instance::pool::{Amount, InstancePool};

/// How memory for instances is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocation {
    /// From a pool that is reserved at the start, which takes a few microseconds. If the address space is too small, on demand.
    #[default]
    Pooled,
    /// From the system, at each start of an instance.
    OnDemand,
}

/// Bytes of address space for one pooled memory. With this size compiled code needs no bounds checks.
pub(crate) const SLOT_BYTES: usize = 1 << 32;
/// Bytes of the guard region after a memory on demand. Compiled code checks bounds there.
const GUARD_BYTES: u64 = 64 << 10;
/// Bytes by which a memory on demand can grow before it is moved.
const GROWTH_BYTES: u64 = 1 << 20;

/// The engine and everything that belongs to it.
pub(crate) struct Runtime {
    // Must come first: its thread must end before the engine is dropped.
    pub(crate) ticker: Ticker,
    /// Runs the calls of guests.
    pub(crate) executor: Executor,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestData>,
    pub(crate) compilations: AtomicU64,
    /// The reason, if memory is not pooled or its capacity is lower than asked for.
    pub(crate) unpooled: Option<String>,
    allocation: Allocation,
    /// The memories of live instances, and the waiting requests.
    pub(crate) pool: Arc<InstancePool>,
}

impl Runtime {
    /// An engine whose live instances can have `wanted` in total, or less if the address space is limited.
    ///
    /// # Errors
    /// `SandboxError::AddressSpace` if the address space is below the minimum, `SandboxError::Host` if the engine cannot be created.
    pub(crate) fn start(asked: Allocation, wanted: Amount) -> Result<Self, SandboxError> {
        let host = |error: wasmtime::Error| SandboxError::Host(format!("{error:#}"));
        let MemoryPlan { mut allocation, capacity, reason: mut unpooled } =
            address_space::plan(asked, wanted, address_space::left())?;
        let made = match Engine::new(&config(allocation, capacity.memories)) {
            Err(reason) if allocation == Allocation::Pooled => {
                allocation = Allocation::OnDemand;
                unpooled = Some(format!("plugins have no pool: {reason:#}"));
                Engine::new(&config(allocation, capacity.memories))
            }
            made => made,
        };
        let engine = made.map_err(host)?;
        let mut linker = Linker::new(&engine);
        guest::link(&mut linker).map_err(host)?;
        let no_thread = |error| SandboxError::Host(format!("the ticker thread cannot be started: {error}"));
        let ticker = Ticker::start(engine.weak()).map_err(no_thread)?;
        Ok(Self {
            ticker,
            executor: Executor::default(),
            engine,
            linker,
            compilations: AtomicU64::new(0),
            unpooled,
            allocation,
            pool: InstancePool::new(capacity),
        })
    }

    /// As `start`, for this number of memories of any size.
    #[cfg(test)]
    pub(crate) fn new(asked: Allocation, memories: usize) -> Result<Self, SandboxError> {
        Self::start(asked, Amount { memories, bytes: usize::MAX })
    }

    /// The allocation in use.
    pub(crate) fn allocation(&self) -> Allocation {
        self.allocation
    }

    /// Identifies the engine's version and settings. Artifacts of another engine cannot be loaded.
    pub(crate) fn compatibility(&self) -> u64 {
        compatibility(&self.engine)
    }
}

/// An engine that compiles for the engine with the hash `wanted`. `None` if that engine has another version.
///
/// # Errors
/// Wasmtime's error, if the engine cannot be created.
pub(crate) fn compiler(wanted: u64) -> wasmtime::Result<Option<Engine>> {
    // The allocation decides whether bounds checks are compiled, so the code differs.
    for allocation in [Allocation::OnDemand, Allocation::Pooled] {
        let engine = Engine::new(&config(allocation, 1))?;
        if compatibility(&engine) == wanted {
            return Ok(Some(engine));
        }
    }
    Ok(None)
}

/// Identifies an engine's version and settings.
pub(crate) fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

fn config(allocation: Allocation, slot_count: usize) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        // Makes calls three to four times cheaper. No world of version 0.1 is async.
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(limits::PLUGIN_STACK_BYTES)
        .async_stack_size(limits::PLUGIN_ASYNC_STACK_BYTES)
        // A fault has the plugin's own message. A backtrace would cost time at every trap and have no names.
        .wasm_backtrace_max_frames(None);
    match allocation {
        Allocation::Pooled => config
            .memory_reservation(SLOT_BYTES as u64)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slot_count))),
        // Without a pool the address space may be small, so a memory reserves only its size.
        Allocation::OnDemand => {
            config.memory_reservation(0).memory_guard_size(GUARD_BYTES).memory_reservation_for_growth(GROWTH_BYTES)
        }
    };
    config
}

fn pool(slot_count: usize) -> PoolingAllocationConfig {
    let slots = u32::try_from(slot_count).unwrap_or(u32::MAX);
    let (instances, memories, tables) =
        (limits::PLUGIN_INSTANCES_MAX as u32, limits::PLUGIN_MEMORIES_MAX as u32, limits::PLUGIN_TABLES_MAX as u32);
    let mut pool = PoolingAllocationConfig::new();
    // The instance pool counts memories. Everything else is as much as that many components can need.
    pool.total_component_instances(slots)
        .total_memories(slots)
        .total_stacks(slots)
        .total_core_instances(slots.saturating_mul(instances))
        .total_tables(slots.saturating_mul(tables))
        .max_core_instances_per_component(instances)
        .max_memories_per_component(memories)
        .max_tables_per_component(tables)
        .max_memories_per_module(memories)
        .max_tables_per_module(tables)
        .table_elements(limits::PLUGIN_TABLE_ELEMENTS_MAX)
        // The limiter enforces the limit, so that both allocations fail in the same way.
        .max_memory_size(SLOT_BYTES);
    // Pages that an instance wrote are unmapped, although the next instance then has a page fault for each. Wasmtime could keep them
    // resident and set back those that the kernel lists as written (`pagemap_scan`). But it asks for pages that are present, and
    // a page that is swapped out or on its way to another place at that moment is not: it would come back with the data of
    // another tenant.
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_too_large_falls_back_to_allocation_on_demand_with_a_reason() {
        let runtime = Runtime::new(Allocation::Pooled, 100_000).expect("an engine all the same");
        assert_eq!(runtime.allocation(), Allocation::OnDemand);
        assert!(runtime.unpooled.is_some());
    }
}

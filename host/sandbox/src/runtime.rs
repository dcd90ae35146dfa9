//! The one engine: how guests are compiled, where they live, and how many there are at once.

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
use crate::guest::{self, GuestData};
use crate::instance::pool::{Amount, InstancePool};

/// Where instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocation {
    /// From a pool reserved at the start, in a few microseconds; from the system where the address space is too small.
    #[default]
    Pooled,
    /// From the system, every time.
    OnDemand,
}

/// Bytes of address space for one memory in a pool: what lets Cranelift leave out bounds checks.
pub(crate) const SLOT_BYTES: usize = 1 << 32;
/// Bytes of address space behind a memory from the system, where compiled code checks bounds.
const GUARD_BYTES: u64 = 64 << 10;
/// Bytes of address space for which such a memory may grow before it is moved.
const GROWTH_BYTES: u64 = 1 << 20;

/// The engine with what belongs to it.
pub(crate) struct Runtime {
    // First, so that the thread ends while the engine is still there.
    pub(crate) ticker: Ticker,
    /// Runs the calls of guests.
    pub(crate) executor: Executor,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestData>,
    pub(crate) compilations: AtomicU64,
    /// Why there is no pool although one was asked for.
    pub(crate) unpooled: Option<String>,
    allocation: Allocation,
    /// What instances hold, and who waits for some.
    pub(crate) pool: Arc<InstancePool>,
}

impl Runtime {
    /// An engine for instances that hold at most `wanted` together; for fewer where the address space is limited.
    ///
    /// # Errors
    /// `SandboxError::AddressSpace` if not even a few fit, `SandboxError::Host` if the machine cannot have one.
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
        let no_thread = |error| SandboxError::Host(format!("its clock thread cannot start: {error}"));
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

    /// As `start`, for so many memories of any size.
    #[cfg(test)]
    pub(crate) fn new(asked: Allocation, memories: usize) -> Result<Self, SandboxError> {
        Self::start(asked, Amount { memories, bytes: usize::MAX })
    }

    /// What is really used.
    pub(crate) fn allocation(&self) -> Allocation {
        self.allocation
    }

    /// Names the engine's version and settings: an artifact of another cannot be loaded.
    pub(crate) fn compatibility(&self) -> u64 {
        compatibility(&self.engine)
    }
}

/// An engine that only compiles, for another that is named `wanted`; none if that is of another version.
///
/// # Errors
/// Wasmtime's, if the machine cannot have one.
pub(crate) fn compiler(wanted: u64) -> wasmtime::Result<Option<Engine>> {
    // How memory lies decides which checks are compiled, so there are two kinds of code.
    for allocation in [Allocation::OnDemand, Allocation::Pooled] {
        let engine = Engine::new(&config(allocation, 1))?;
        if compatibility(&engine) == wanted {
            return Ok(Some(engine));
        }
    }
    Ok(None)
}

/// Names an engine's version and settings.
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
        // Three to four times cheaper calls; no 0.1 world is async.
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(limits::PLUGIN_STACK_BYTES)
        .async_stack_size(limits::PLUGIN_ASYNC_STACK_BYTES)
        // Faults carry the plugin's own words; a backtrace without names is worth nothing and costs at every trap.
        .wasm_backtrace_max_frames(None);
    match allocation {
        Allocation::Pooled => config
            .memory_reservation(SLOT_BYTES as u64)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slot_count))),
        // Whoever has no pool may have little address space: a memory takes as much as it has bytes.
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
    // Memories are counted, so of everything else there is as much as that many components can have.
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
        // The limiter decides, so that both kinds of allocation fail alike.
        .max_memory_size(SLOT_BYTES);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_beyond_the_address_space_falls_back_and_says_so() {
        let runtime = Runtime::new(Allocation::Pooled, 100_000).expect("an engine all the same");
        assert_eq!(runtime.allocation(), Allocation::OnDemand);
        assert!(runtime.unpooled.is_some());
    }
}

//! The one engine: how guests are compiled, where they live, and how many there are at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use firebox_contract::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::error::SandboxError;
use crate::guest::{self, GuestData};
use crate::lane::Lanes;
use crate::ticker::Ticker;

/// Where instances get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocation {
    /// From a pool reserved at the start, in a few microseconds; from the system where the address space is too small.
    #[default]
    Pooled,
    /// From the system, every time.
    OnDemand,
}

/// Places in the pool, given back when the last who holds this is gone.
pub(crate) type Room = Arc<OwnedSemaphorePermit>;

/// Bytes of address space for one memory: what lets Cranelift leave out bounds checks.
const SLOT_BYTES: usize = 1 << 32;

/// The engine with what belongs to it.
pub(crate) struct Runtime {
    // First, so that the thread ends while the engine is still there.
    pub(crate) ticker: Ticker,
    /// Where long calls go on.
    pub(crate) lanes: Lanes,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestData>,
    pub(crate) compilations: AtomicU64,
    /// Why there is no pool although one was asked for.
    pub(crate) unpooled: Option<String>,
    allocation: Allocation,
    slots: Arc<Semaphore>,
    slot_count: usize,
}

impl Runtime {
    /// An engine for `slot_count` memories at once.
    ///
    /// # Errors
    /// `SandboxError::Host` if the machine cannot have one.
    pub(crate) fn new(asked: Allocation, slot_count: usize) -> Result<Self, SandboxError> {
        let host = |error: wasmtime::Error| SandboxError::Host(format!("{error:#}"));
        let (engine, allocation, unpooled) = match asked {
            Allocation::OnDemand => (Engine::new(&config(asked, slot_count)).map_err(host)?, asked, None),
            Allocation::Pooled => match Engine::new(&config(asked, slot_count)) {
                Ok(engine) => (engine, asked, None),
                Err(reason) => {
                    let engine = Engine::new(&config(Allocation::OnDemand, slot_count)).map_err(host)?;
                    (engine, Allocation::OnDemand, Some(format!("{reason:#}")))
                }
            },
        };
        let mut linker = Linker::new(&engine);
        guest::link(&mut linker).map_err(host)?;
        let no_thread = |error| SandboxError::Host(format!("its clock thread cannot start: {error}"));
        let ticker = Ticker::start(engine.weak()).map_err(no_thread)?;
        Ok(Self {
            ticker,
            lanes: Lanes::default(),
            engine,
            linker,
            compilations: AtomicU64::new(0),
            unpooled,
            allocation,
            slots: Arc::new(Semaphore::new(slot_count)),
            slot_count,
        })
    }

    /// What is really used.
    pub(crate) fn allocation(&self) -> Allocation {
        self.allocation
    }

    /// Names the engine's version and settings: an artifact of another cannot be loaded.
    pub(crate) fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    /// Room for `slots` memories, all at once so that two requests cannot each hold what the other needs. Shared by
    /// the calls of a request, since one that was cut off may hold its memory for a moment longer.
    ///
    /// # Errors
    /// `SandboxError::NoRoom` if nothing became free within `wait`, or there could never be enough.
    pub(crate) async fn room(&self, slots: u32, wait: Duration) -> Result<Room, SandboxError> {
        let no_room = |waited| SandboxError::NoRoom { asked: slots, limit: self.slot_count, waited };
        if slots as usize > self.slot_count {
            return Err(no_room(Duration::ZERO));
        }
        match tokio::time::timeout(wait, Arc::clone(&self.slots).acquire_many_owned(slots)).await {
            Ok(Ok(permit)) => Ok(Arc::new(permit)),
            Ok(Err(_)) | Err(_) => Err(no_room(wait)),
        }
    }
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
        .wasm_backtrace_max_frames(None)
        .memory_reservation(SLOT_BYTES as u64);
    if allocation == Allocation::Pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slot_count)));
    }
    config
}

fn pool(slot_count: usize) -> PoolingAllocationConfig {
    let slots = u32::try_from(slot_count).unwrap_or(u32::MAX);
    let (instances, memories, tables) =
        (limits::PLUGIN_INSTANCES_MAX as u32, limits::PLUGIN_MEMORIES_MAX as u32, limits::PLUGIN_TABLES_MAX as u32);
    let mut pool = PoolingAllocationConfig::new();
    // The semaphore counts memories, so of everything else there is as much as that many components can have.
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

    #[tokio::test]
    async fn room_is_refused_when_it_stays_taken() {
        let runtime = Runtime::new(Allocation::OnDemand, 2).expect("an engine");
        let held = runtime.room(2, Duration::from_millis(1)).await.expect("all is free");
        let error = runtime.room(1, Duration::from_millis(5)).await.expect_err("nothing is free");
        assert!(matches!(error, SandboxError::NoRoom { asked: 1, limit: 2, .. }), "{error}");
        drop(held);
        assert!(runtime.room(1, Duration::from_millis(5)).await.is_ok());
    }

    #[tokio::test]
    async fn more_than_there_will_ever_be_is_refused_at_once() {
        let runtime = Runtime::new(Allocation::OnDemand, 2).expect("an engine");
        let error = runtime.room(3, Duration::from_secs(3_600)).await.expect_err("too many");
        assert!(matches!(error, SandboxError::NoRoom { asked: 3, .. }), "{error}");
    }

    #[test]
    fn a_pool_beyond_the_address_space_falls_back_and_says_so() {
        let runtime = Runtime::new(Allocation::Pooled, 100_000).expect("an engine all the same");
        assert_eq!(runtime.allocation(), Allocation::OnDemand);
        assert!(runtime.unpooled.is_some());
    }
}

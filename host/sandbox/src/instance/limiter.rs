//! Limits the memories and tables of an instance, and remembers the first growth that it denied in a call.

use firebox_contract::limits;
use wasmtime::ResourceLimiter;

use crate::error::SandboxError;
use crate::instance::pool::SharedPermit;

/// A growth that was denied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DeniedGrowth {
    /// The guest's own limit was reached.
    Limit {
        /// The limit, in bytes.
        limit_bytes: u64,
        /// The size that the guest asked for, in bytes.
        asked_bytes: u64,
    },
    /// The instance pool had no room.
    Pool(SandboxError),
}

/// Counts the linear memory of one store, the sum of all its memories, in bytes.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_limit: usize,
    memory_now: usize,
    memory_peak: usize,
    /// The growth that wasmtime is carrying out. It is subtracted again if it fails.
    growing_by: usize,
    denied: Option<DeniedGrowth>,
    /// The permit of the store's instance.
    permit: Option<SharedPermit>,
}

impl Limiter {
    /// Allows `memory_limit` bytes in total, as far as the pool has room.
    pub(crate) fn new(memory_limit: usize, permit: Option<SharedPermit>) -> Self {
        Self { memory_limit, memory_now: 0, memory_peak: 0, growing_by: 0, denied: None, permit }
    }

    /// Forgets a denial, at the start of a call.
    pub(crate) fn rearm(&mut self) {
        self.denied = None;
    }

    /// The first growth denied since `rearm`.
    pub(crate) fn denied(&self) -> Option<&DeniedGrowth> {
        self.denied.as_ref()
    }

    /// The peak linear memory of the store, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.memory_peak as u64
    }

    fn deny(&mut self, limit_bytes: usize, asked_bytes: usize) {
        let denied = DeniedGrowth::Limit { limit_bytes: limit_bytes as u64, asked_bytes: asked_bytes as u64 };
        self.denied.get_or_insert(denied);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growing_by = desired.saturating_sub(current);
        let asked = self.memory_now.saturating_add(growing_by);
        // A memory cannot grow beyond its own declared maximum. That denial is not due to the limit of the plugin.
        if maximum.is_some_and(|maximum| desired > maximum) && asked <= self.memory_limit {
            self.growing_by = 0;
            return Ok(false);
        }
        if asked > self.memory_limit {
            self.deny(self.memory_limit, asked);
            self.growing_by = 0;
            return Ok(false);
        }
        if let Some(Err(error)) = self.permit.as_ref().map(|permit| permit.cover(asked)) {
            self.denied.get_or_insert(DeniedGrowth::Pool(error));
            self.growing_by = 0;
            return Ok(false);
        }
        self.growing_by = growing_by;
        self.memory_now = asked;
        self.memory_peak = self.memory_peak.max(asked);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_now = self.memory_now.saturating_sub(self.growing_by);
        self.growing_by = 0;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired <= limits::PLUGIN_TABLE_ELEMENTS_MAX {
            return Ok(true);
        }
        // An element is a pointer.
        let element = size_of::<usize>();
        self.deny(limits::PLUGIN_TABLE_ELEMENTS_MAX * element, desired.saturating_mul(element));
        Ok(false)
    }

    fn instances(&self) -> usize {
        limits::PLUGIN_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        limits::PLUGIN_TABLES_MAX
    }

    fn memories(&self) -> usize {
        limits::PLUGIN_MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65_536;

    #[test]
    fn the_limit_applies_to_the_sum_of_all_memories() {
        let mut limiter = Limiter::new(3 * PAGE, None);
        assert!(limiter.memory_growing(0, PAGE, None).expect("no error"));
        assert!(limiter.memory_growing(0, 2 * PAGE, None).expect("no error"));
        assert!(!limiter.memory_growing(PAGE, 2 * PAGE, None).expect("no error"));
        assert_eq!(limiter.peak_bytes(), 3 * PAGE as u64);
        assert_eq!(
            limiter.denied(),
            Some(&DeniedGrowth::Limit { limit_bytes: 3 * PAGE as u64, asked_bytes: 4 * PAGE as u64 })
        );
    }

    #[test]
    fn a_growth_that_failed_is_subtracted_again() {
        let mut limiter = Limiter::new(4 * PAGE, None);
        assert!(limiter.memory_growing(0, 3 * PAGE, None).expect("no error"));
        limiter.memory_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert!(limiter.memory_growing(0, 4 * PAGE, None).expect("no error"));
    }

    #[test]
    fn the_next_call_forgets_a_denial() {
        let mut limiter = Limiter::new(0, None);
        assert!(!limiter.memory_growing(0, PAGE, None).expect("no error"));
        limiter.rearm();
        assert_eq!(limiter.denied(), None);
    }
}

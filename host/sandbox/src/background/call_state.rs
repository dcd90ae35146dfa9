//! What the executor and the host read of a call while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use firebox_contract::limits;
use tokio::sync::SemaphorePermit;

use super::CpuBudget;

/// One for all calls of an instance, which never overlap.
#[derive(Debug, Default)]
pub(crate) struct CallState {
    /// The CPU budget of the tenant; `None` if the process has one tenant only.
    budget: Option<Arc<CpuBudget>>,
    /// Epoch ticks at which the call computed, or waited for a core to compute.
    ticks: AtomicU32,
    fuel_left: AtomicU64,
    memory_peak_bytes: AtomicU64,
    /// Tokens of the model that the call has used.
    model_tokens: AtomicU64,
}

impl CallState {
    /// For calls that are charged to `budget`.
    pub(crate) fn new(budget: Option<Arc<CpuBudget>>) -> Self {
        Self { budget, ..Self::default() }
    }

    /// A call begins with `fuel`.
    pub(crate) fn begin(&self, fuel: u64) {
        self.ticks.store(0, Ordering::Relaxed);
        self.fuel_left.store(fuel, Ordering::Relaxed);
        self.model_tokens.store(0, Ordering::Relaxed);
    }

    /// The epoch advanced while the guest computed.
    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.charge(limits::EPOCH_TICK);
        }
    }

    /// Whether the call may continue at normal priority: for `PLUGIN_NORMAL_TIME`, or to its first tick if the tenant's CPU
    /// budget is used up.
    pub(crate) fn has_normal_time(&self) -> bool {
        let ticks = self.ticks.load(Ordering::Relaxed);
        ticks == 0 || (limits::EPOCH_TICK * ticks < limits::PLUGIN_NORMAL_TIME && !self.is_over_budget())
    }

    /// Whether the tenant has used up its CPU budget.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.is_used_up())
    }

    /// Waits until the call may have a slice at low priority among the calls of its tenant.
    pub(crate) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        match &self.budget {
            // The semaphore is never closed.
            Some(budget) => budget.slots().acquire().await.ok(),
            None => None,
        }
    }

    /// Records the fuel and the memory of the call, for a reader that cannot ask the engine.
    pub(crate) fn record(&self, fuel_left: u64, memory_peak_bytes: u64) {
        self.fuel_left.store(fuel_left, Ordering::Relaxed);
        self.memory_peak_bytes.store(memory_peak_bytes, Ordering::Relaxed);
    }

    /// Adds tokens of the model.
    pub(crate) fn add_model_tokens(&self, tokens: u64) {
        self.model_tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Tokens of the model that the call has used.
    pub(crate) fn model_tokens(&self) -> u64 {
        self.model_tokens.load(Ordering::Relaxed)
    }

    /// Fuel that was left at the last record.
    pub(crate) fn fuel_left(&self) -> u64 {
        self.fuel_left.load(Ordering::Relaxed)
    }

    /// The highest amount of linear memory up to the last record, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.memory_peak_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_ticks(state: &CallState, ticks: u32) -> bool {
        state.begin(0);
        (0..ticks).for_each(|_| state.tick());
        state.has_normal_time()
    }

    #[test]
    fn a_call_has_normal_priority_for_its_first_10_ms() {
        let state = CallState::new(Some(Arc::default()));
        assert!(after_ticks(&state, 0) && after_ticks(&state, 9));
        assert!(!after_ticks(&state, 10) && !after_ticks(&state, 100));
        assert!(after_ticks(&state, 1), "the next call starts at 0");
    }

    #[test]
    fn a_call_beyond_the_budget_has_normal_priority_to_its_first_tick() {
        let budget = Arc::new(CpuBudget::default());
        budget.charge(limits::PLUGIN_CPU_BUDGET_DECAY);
        let state = CallState::new(Some(budget));
        assert!(after_ticks(&state, 0) && !after_ticks(&state, 1));
        assert!(after_ticks(&CallState::default(), 1), "without a budget there is none to use up");
    }
}

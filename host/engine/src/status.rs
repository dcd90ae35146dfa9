//! The status and the counters of an engine, for readiness checks and metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::{CacheUse, Error};

/// Whether a model can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineStatus {
    /// The model is loaded.
    Ready,
    /// The model failed and is being reloaded. Requests wait.
    Loading,
    /// The model failed and could not be reloaded, for this reason. Requests are refused until a later reload succeeds.
    Failed(String),
}

/// Counters and gauges of one engine, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineCounters {
    /// Requests that hold a permit now.
    pub running: usize,
    /// Requests that wait for a permit now.
    pub waiting: usize,
    /// Sequences in the prefix cache now.
    pub sequences_cached: usize,
    /// Requests that got a permit.
    pub admitted: u64,
    /// Requests that were refused or timed out in the queue.
    pub refused: u64,
    /// Time in the queue, summed over all admitted requests.
    pub queue_wait: Duration,
    /// Tokens of all prompts, including those from the prefix cache.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
    /// Drafted tokens that steps verified.
    pub drafted_tokens: u64,
    /// Drafted tokens that were accepted. Each saved a step.
    pub accepted_tokens: u64,
    /// Prompts that were looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Prompts that had a match in the prefix cache.
    pub prefix_hits: u64,
    /// Prompt tokens that came from the prefix cache and were not computed.
    pub prefix_hit_tokens: u64,
    /// Completed steps (forward passes).
    pub steps: u64,
    /// Sequences in all completed steps together. Divided by `steps`, it is the mean batch size.
    pub batched_sequences: u64,
    /// Steps that were aborted for a request of another tenant.
    pub steps_aborted: u64,
    /// Sequences that lost their KV cache to others and were computed again.
    pub preemptions: u64,
    /// Times the model was reloaded after a failure.
    pub reloads: u64,
    /// Bytes of all KV caches now.
    pub cache: CacheUse,
}

/// The counters and the status that the parts of an engine write.
pub(crate) struct EngineMetrics {
    counters: Mutex<EngineCounters>,
    status: Mutex<EngineStatus>,
}

impl EngineMetrics {
    pub(crate) fn new() -> Self {
        Self { counters: Mutex::new(EngineCounters::default()), status: Mutex::new(EngineStatus::Ready) }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut EngineCounters)) {
        change(&mut lock(&self.counters));
    }

    pub(crate) fn counters(&self) -> EngineCounters {
        *lock(&self.counters)
    }

    pub(crate) fn set_status(&self, status: EngineStatus) {
        *lock(&self.status) = status;
    }

    pub(crate) fn status(&self) -> EngineStatus {
        lock(&self.status).clone()
    }

    /// Fails if the model could not be reloaded.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &*lock(&self.status) {
            EngineStatus::Ready | EngineStatus::Loading => Ok(()),
            EngineStatus::Failed(reason) => Err(unavailable(reason)),
        }
    }
}

/// The error of requests while the model is gone.
pub(crate) fn unavailable(reason: &str) -> Error {
    Error::Unavailable(format!("the model failed and could not be reloaded ({reason}); retry later"))
}

/// Locks `mutex`, even if a thread panicked while it held the lock: every holder leaves the content consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

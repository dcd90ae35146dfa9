//! How an engine is doing: what readiness asks and what metrics show.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firebox_contract::{CacheUse, Error};

/// Whether a model can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineStatus {
    /// It can.
    Ready,
    /// It failed and is being loaded again; requests wait.
    Loading,
    /// It failed and could not be loaded again, for this reason; requests are refused until a later try succeeds.
    Failed(String),
}

/// Numbers of one engine since its start, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineCounters {
    /// Requests that hold a place now.
    pub running: usize,
    /// Requests that wait for one now.
    pub waiting: usize,
    /// Sequences whose caches are kept for a later prompt now.
    pub kept: usize,
    /// Requests that got a place.
    pub admitted: u64,
    /// Requests that were refused one, or gave up waiting.
    pub refused: u64,
    /// Time between asking for a place and getting it, of all that were admitted together.
    pub queue_wait: Duration,
    /// Tokens of all prompts, kept ones included.
    pub prompt_tokens: u64,
    /// Tokens made.
    pub completion_tokens: u64,
    /// Prompts for which a kept cache was looked for.
    pub prefix_queries: u64,
    /// Of these, prompts for which one was found.
    pub prefix_hits: u64,
    /// Prompt tokens that did not have to be computed.
    pub prefix_hit_tokens: u64,
    /// Forward passes.
    pub steps: u64,
    /// Sequences in all forward passes together; divided by `steps`, the mean batch.
    pub batched: u64,
    /// Forward passes that were given up for a tenant that used less, and computed again.
    pub given_up: u64,
    /// Sequences that gave up their cache for others and were computed again.
    pub preemptions: u64,
    /// Times the model was loaded again.
    pub reloads: u64,
    /// Bytes of all caches now.
    pub cache: CacheUse,
}

/// Where the parts of an engine write and its owner reads.
pub(crate) struct Meter {
    counters: Mutex<EngineCounters>,
    status: Mutex<EngineStatus>,
}

impl Meter {
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

    /// An error while no answer can come.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &*lock(&self.status) {
            EngineStatus::Ready | EngineStatus::Loading => Ok(()),
            EngineStatus::Failed(reason) => Err(unavailable(reason)),
        }
    }
}

/// What requests are told while the model is gone.
pub(crate) fn unavailable(reason: &str) -> Error {
    Error::Unavailable(format!("the model failed and could not be loaded again ({reason}); try again later"))
}

/// The lock's content, also after a panic elsewhere: every holder leaves it whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

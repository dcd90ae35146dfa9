//! The clocks of a store. Times of creation and change are times of day. Idle time is measured in running time, the time in
//! which a store was open, so that a change of the system's clock does not expire sessions.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Returns the time of day.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Returns a time that only grows, since any moment.
pub type RunningClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The clocks of a store.
#[derive(Clone)]
pub struct Clocks {
    /// The time of day.
    pub wall: WallClock,
    /// A time that only grows.
    pub running: RunningClock,
}

impl Default for Clocks {
    fn default() -> Self {
        let started = Instant::now();
        Self { wall: Arc::new(SystemTime::now), running: Arc::new(move || started.elapsed()) }
    }
}

/// The running time of a file: the time before it was opened, and the time since.
pub(super) struct RunningTime {
    before: i64,
    opened: Duration,
    clock: RunningClock,
}

impl RunningTime {
    /// Continues from `before`, in milliseconds.
    pub(super) fn new(before: i64, clock: RunningClock) -> Self {
        Self { before, opened: clock(), clock }
    }

    /// The total time in which stores of this file were open, in milliseconds.
    pub(super) fn millis(&self) -> i64 {
        let since = (self.clock)().saturating_sub(self.opened).as_millis();
        self.before.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

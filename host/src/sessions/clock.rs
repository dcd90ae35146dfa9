//! The clocks of a store. Sessions are named and shown by the time of day; how long nobody used one is measured in time
//! that a store was open, so that no change of the machine's clock makes any session older.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The time of day as a store is given it.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Time that only grows, since any moment.
pub type RunningClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What a store tells the time by; tests give others.
#[derive(Clone)]
pub struct Clocks {
    /// The time of day.
    pub wall: WallClock,
    /// Time that only grows.
    pub running: RunningClock,
}

impl Default for Clocks {
    fn default() -> Self {
        let begun = Instant::now();
        Self { wall: Arc::new(SystemTime::now), running: Arc::new(move || begun.elapsed()) }
    }
}

/// The running time of a store: what it was when the file was opened, and the time since.
pub(super) struct Running {
    before: i64,
    opened: Duration,
    clock: RunningClock,
}

impl Running {
    /// Goes on from `before`, in milliseconds.
    pub(super) fn new(before: i64, clock: RunningClock) -> Self {
        Self { before, opened: clock(), clock }
    }

    /// Milliseconds that stores of this file were open, all together.
    pub(super) fn millis(&self) -> i64 {
        let since = (self.clock)().saturating_sub(self.opened).as_millis();
        self.before.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

//! The clock of the machine, for crates that read no clock themselves.

use std::time::{Duration, Instant};

use firebox_contract::{BoxFuture, Clock};

/// Measures the time since it was created.
pub struct MachineClock(Instant);

impl Default for MachineClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

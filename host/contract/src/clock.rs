//! Time as it is given to those who must not take it themselves (invariant I3).

use std::time::Duration;

use crate::BoxFuture;

/// A monotonic clock.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Ends after `time` has passed on this clock.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

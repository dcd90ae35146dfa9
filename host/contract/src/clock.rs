//! What the engine is given because it reads no clock of its own (invariant I3): a clock, and a tracker of tokens on their
//! way to a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;

/// A monotonic clock.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Ends after `time` has passed on this clock.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// Counts tokens that have left a model and are not with their client yet. The host measures how long they take.
pub trait DeliveryTracker: Send + Sync {
    /// A token has left a model.
    fn sent(&self);

    /// A token is with its client, or no client waits for it any more.
    fn delivered(&self);
}

/// A token on its way to a client: counted as sent when this is made, and as delivered when it is dropped.
pub struct PendingDelivery(Arc<dyn DeliveryTracker>);

impl PendingDelivery {
    /// Counts one token as sent.
    #[must_use]
    pub fn new(tracker: &Arc<dyn DeliveryTracker>) -> Self {
        tracker.sent();
        Self(Arc::clone(tracker))
    }
}

impl Clone for PendingDelivery {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for PendingDelivery {
    fn drop(&mut self) {
        self.0.delivered();
    }
}

impl fmt::Debug for PendingDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingDelivery")
    }
}

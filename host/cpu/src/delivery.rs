//! Tokens on their way from a model to the thread that sends them to a client. That thread needs a core for a few
//! microseconds only, but the system may leave the core to a computing thread for milliseconds. Threads that compute
//! therefore check whether a token is late, and yield once if one is.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use firebox_contract::DeliveryTracker;
use firebox_contract::limits::DELIVERY_LATE_AFTER;

/// The deliveries of this process.
static DELIVERIES: LazyLock<Arc<Deliveries>> = LazyLock::new(Arc::default);

#[derive(Debug)]
struct Deliveries {
    start: Instant,
    sent: AtomicU64,
    delivered: AtomicU64,
    /// When a token was sent while no other was pending, in microseconds after `start`.
    pending_since: AtomicU64,
}

impl Default for Deliveries {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self { start: Instant::now(), sent: zero(), delivered: zero(), pending_since: zero() }
    }
}

impl DeliveryTracker for Deliveries {
    fn sent(&self) {
        if self.sent.load(Ordering::Relaxed) == self.delivered.load(Ordering::Relaxed) {
            self.pending_since.store(self.now(), Ordering::Relaxed);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Deliveries {
    fn is_late(&self, marker: &LateMarker) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        if sent == self.delivered.load(Ordering::Relaxed) || sent == marker.0.get() {
            return false;
        }
        let waited = self.now().saturating_sub(self.pending_since.load(Ordering::Relaxed));
        let late = u128::from(waited) >= DELIVERY_LATE_AFTER.as_micros();
        if late {
            marker.0.set(sent);
        }
        late
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
    }
}

/// The number of sent tokens for which one computing thread has already yielded.
#[derive(Debug, Default)]
pub struct LateMarker(Cell<u64>);

/// The tracker of this process, for [`firebox_contract::PendingDelivery::new`].
#[must_use]
pub fn tracker() -> Arc<dyn DeliveryTracker> {
    Arc::clone(&*DELIVERIES) as Arc<dyn DeliveryTracker>
}

/// Whether a token has been pending for `DELIVERY_LATE_AFTER` and the thread of `marker` has not yielded for it yet. A token
/// that stays pending, because its client reads slowly, is late once for each thread; sending another token resets that.
pub fn is_late(marker: &LateMarker) -> bool {
    DELIVERIES.is_late(marker)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use firebox_contract::PendingDelivery;

    use super::*;

    #[test]
    fn a_slow_delivery_is_late_once_for_each_thread() {
        let deliveries = Arc::new(Deliveries::default());
        let tracker: Arc<dyn DeliveryTracker> = Arc::clone(&deliveries) as _;
        let [first, second] = [LateMarker::default(), LateMarker::default()];
        assert!(!deliveries.is_late(&first), "nothing was sent");
        let slow = PendingDelivery::new(&tracker);
        sleep(DELIVERY_LATE_AFTER);
        assert!(deliveries.is_late(&first) && !deliveries.is_late(&first));
        assert!(deliveries.is_late(&second));
        let more = slow.clone();
        assert!(deliveries.is_late(&first), "the first token is still pending");
        drop((slow, more));
        assert!(!deliveries.is_late(&second), "all tokens are delivered");
        let last = PendingDelivery::new(&tracker);
        let waited = deliveries.now() - deliveries.pending_since.load(Ordering::Relaxed);
        assert!(u128::from(waited) < 1_000 * DELIVERY_LATE_AFTER.as_micros(), "its time starts at 0");
        drop(last);
    }
}

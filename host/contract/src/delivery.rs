//! Tokens on their way from a model to who reads them. The thread that delivers one may wait for its core although it asks
//! for little: the system looks at a core every few milliseconds, and until then whoever computes there keeps it. So who
//! computes looks whether something is late, and offers its core once.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::DELIVERY_LATE_AFTER;

/// All of this process.
static DELIVERIES: LazyLock<Deliveries> = LazyLock::new(Deliveries::default);

#[derive(Debug)]
struct Deliveries {
    begun: Instant,
    sent: AtomicU64,
    done: AtomicU64,
    /// Microseconds from `begun` to when something was sent and nothing else was on its way.
    since: AtomicU64,
}

impl Default for Deliveries {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self { begun: Instant::now(), sent: zero(), done: zero(), since: zero() }
    }
}

impl Deliveries {
    fn send(&'static self) -> OnItsWay {
        let sent = self.sent.load(Ordering::Relaxed);
        if sent == self.done.load(Ordering::Relaxed) {
            self.since.store(self.now(), Ordering::Relaxed);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        OnItsWay(self)
    }

    fn is_late(&self, noted: &Noted) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        if sent == self.done.load(Ordering::Relaxed) || sent == noted.0.get() {
            return false;
        }
        let waited = self.now().saturating_sub(self.since.load(Ordering::Relaxed));
        let late = u128::from(waited) >= DELIVERY_LATE_AFTER.as_micros();
        if late {
            noted.0.set(sent);
        }
        late
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
    }
}

/// Something on its way, until it is dropped.
#[derive(Debug)]
pub struct OnItsWay(&'static Deliveries);

impl Clone for OnItsWay {
    fn clone(&self) -> Self {
        self.0.send()
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a thread that computes has offered its core for.
#[derive(Debug, Default)]
pub struct Noted(Cell<u64>);

/// Something goes on its way now. Whoever delivers it holds the result until that is done.
#[must_use]
pub fn send() -> OnItsWay {
    DELIVERIES.send()
}

/// Whether something has been on its way for too long, and the thread that `noted` is of has not yet heard so. What stays on
/// its way, since who reads it is slow, is late once and not again until more is sent.
pub fn is_late(noted: &Noted) -> bool {
    DELIVERIES.is_late(noted)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn what_takes_long_is_late_once_for_each_thread() {
        let deliveries: &Deliveries = Box::leak(Box::default());
        let [first, second] = [Noted::default(), Noted::default()];
        assert!(!deliveries.is_late(&first), "nothing was sent");
        let slow = deliveries.send();
        sleep(DELIVERY_LATE_AFTER);
        assert!(deliveries.is_late(&first) && !deliveries.is_late(&first));
        assert!(deliveries.is_late(&second));
        let more = deliveries.send();
        assert!(deliveries.is_late(&first), "the first is still on its way");
        drop((slow, more));
        assert!(!deliveries.is_late(&second), "all is delivered");
        let now = deliveries.send();
        let waited = deliveries.now() - deliveries.since.load(Ordering::Relaxed);
        assert!(u128::from(waited) < 1_000 * DELIVERY_LATE_AFTER.as_micros(), "its time begins anew");
        drop(now);
    }
}

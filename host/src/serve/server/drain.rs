//! The state of a shutdown: the number of running requests, and whether new ones may begin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Counts running requests and refuses new ones during a shutdown. Clones share the count.
#[derive(Debug, Clone)]
pub struct Drain {
    closing: Arc<AtomicBool>,
    running: Arc<watch::Sender<usize>>,
}

/// A running request. It ends on drop.
#[derive(Debug)]
pub struct DrainGuard {
    running: Arc<watch::Sender<usize>>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { closing: Arc::new(AtomicBool::new(false)), running: Arc::new(watch::Sender::new(0)) }
    }
}

impl Drain {
    /// Counts a request; `None` during a shutdown.
    #[must_use]
    pub fn enter(&self) -> Option<DrainGuard> {
        self.running.send_modify(|count| *count += 1);
        let running = DrainGuard { running: Arc::clone(&self.running) };
        // After counting: a request either sees the shutdown, or the shutdown sees the request and waits for it.
        (!self.is_closing()).then_some(running)
    }

    /// Begins the shutdown: no new request may begin.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// The number of running requests.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Waits until no request runs.
    pub async fn idle(&self) {
        let mut watch = self.running.subscribe();
        // The wait cannot fail: `self` owns the sender.
        let _zero = watch.wait_for(|count| *count == 0).await;
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.running.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shutdown_waits_for_the_last_request_and_refuses_new_ones() {
        let drain = Drain::default();
        let first = drain.enter().expect("open");
        drain.close();
        assert!(drain.enter().is_none());
        assert_eq!(drain.running(), 1);
        let waits = drain.clone();
        let wait = tokio::spawn(async move { waits.idle().await });
        tokio::task::yield_now().await;
        assert!(!wait.is_finished());
        drop(first);
        wait.await.expect("ends");
    }
}

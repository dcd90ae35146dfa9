//! How a server ends: which requests run, whether new ones may begin, and when the last has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Counts running requests and closes the door. Cheap to clone: clones share the count.
#[derive(Debug, Clone)]
pub struct Drain {
    closing: Arc<AtomicBool>,
    running: Arc<watch::Sender<usize>>,
}

/// One running request; it runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    running: Arc<watch::Sender<usize>>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { closing: Arc::new(AtomicBool::new(false)), running: Arc::new(watch::Sender::new(0)) }
    }
}

impl Drain {
    /// Counts a request; `None` once the door is closed.
    #[must_use]
    pub fn enter(&self) -> Option<Running> {
        self.running.send_modify(|count| *count += 1);
        let running = Running { running: Arc::clone(&self.running) };
        // After counting, so that a request either sees the closed door or is seen by who waits for the last.
        (!self.is_closing()).then_some(running)
    }

    /// Lets no new request begin.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    /// Whether the door is closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Requests that run now.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Ends when no request runs.
    pub async fn idle(&self) {
        let mut watch = self.running.subscribe();
        // The sender is held by `self`, so waiting cannot fail.
        let _held = watch.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_request_ends_the_wait_and_none_comes_after_closing() {
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

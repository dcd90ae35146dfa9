//! A counter of changes that tasks can wait on.

use firebox_contract::BoxFuture;
use tokio::sync::watch;

/// Counts changes of a tool list, for `ToolSource::revision` and `ToolSource::changed`.
#[derive(Debug, Default)]
pub struct Revision(watch::Sender<u64>);

impl Revision {
    /// The number of changes so far.
    #[must_use]
    pub fn now(&self) -> u64 {
        *self.0.borrow()
    }

    /// Counts a change, and wakes all waiting tasks.
    pub fn advance(&self) {
        self.0.send_modify(|revision| *revision += 1);
    }

    /// Waits until the count differs from `seen`, and returns it.
    pub fn after(&self, seen: u64) -> BoxFuture<'_, u64> {
        let mut revision = self.0.subscribe();
        Box::pin(async move {
            let found = revision.wait_for(|now| *now != seen).await.map(|now| *now);
            match found {
                Ok(now) => now,
                // Cannot happen, because the sender lives as long as `self`. Without a sender nothing would change any more.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Revision;

    #[tokio::test]
    async fn a_waiting_task_sees_each_change_once_and_a_missed_change_at_once() {
        let revision = Revision::default();
        let mut waiting = revision.after(0);
        assert_eq!((&mut waiting).now_or_never(), None);
        revision.advance();
        revision.advance();
        assert_eq!((waiting.await, revision.now()), (2, 2));
        assert_eq!(revision.after(1).await, 2);
        assert_eq!(revision.after(2).now_or_never(), None);
    }
}

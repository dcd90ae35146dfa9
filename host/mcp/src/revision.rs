//! How often something changed, for those who wait for the next time.

use firebox_contract::BoxFuture;
use tokio::sync::watch;

/// Counts changes, of lists of tools above all: what `ToolSource::revision` and `ToolSource::changed` say.
#[derive(Debug, Default)]
pub struct Revision(watch::Sender<u64>);

impl Revision {
    /// How many there were.
    #[must_use]
    pub fn now(&self) -> u64 {
        *self.0.borrow()
    }

    /// One more; whoever waits hears of it.
    pub fn advance(&self) {
        self.0.send_modify(|revision| *revision += 1);
    }

    /// The count, once it is another than `seen`.
    pub fn after(&self, seen: u64) -> BoxFuture<'_, u64> {
        let mut revision = self.0.subscribe();
        Box::pin(async move {
            let found = revision.wait_for(|now| *now != seen).await.map(|now| *now);
            match found {
                Ok(now) => now,
                // The sender lives as long as `self`, so this cannot be; and if it were, nothing would change any more.
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
    async fn a_change_is_heard_once_and_one_that_was_missed_at_once() {
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

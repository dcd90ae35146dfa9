//! Notifies clients that their tool list has changed.

use std::sync::Arc;

use firebox_contract::Caller;
use rmcp::RoleServer;
use rmcp::service::{Peer, SubscriptionSink};

use super::ServerContext;

/// The receiver of notifications, which depends on the revision.
pub(super) enum ListSubscriber {
    /// A session of a revision with a handshake.
    Session(Peer<RoleServer>),
    /// An open `subscriptions/listen` request.
    Subscription(SubscriptionSink),
}

impl ListSubscriber {
    /// Sends a notification. Returns false if the client has gone.
    async fn notify(&self) -> bool {
        match self {
            Self::Session(peer) => peer.notify_tool_list_changed().await.is_ok(),
            Self::Subscription(sink) => sink.notify_tool_list_changed().await.is_ok(),
        }
    }
}

/// Sends a notification to `subscriber` each time the list of `caller` differs from the one it saw last. Ends when the client
/// has gone, the caller ends or the server closes.
pub(super) async fn watch(shared: &ServerContext, caller: &Caller, subscriber: &ListSubscriber) {
    let ended = caller.liveness.ended();
    tokio::select! {
        biased;
        _ = ended => {}
        () = watch_lists(shared, caller, subscriber) => {}
    }
}

async fn watch_lists(shared: &ServerContext, caller: &Caller, subscriber: &ListSubscriber) {
    let (mut seen, mut known) = shared.lists.seen(&*shared.source, caller).await;
    loop {
        tokio::select! {
            revision = shared.source.changed(seen) => seen = revision,
            () = shared.closing.cancelled() => return,
        }
        let list = shared.lists.of(&*shared.source, caller).await;
        let changed = !Arc::ptr_eq(&list, &known) && list != known;
        known = list;
        // A reload changes lists and ends callers. A caller that has ended gets no notification.
        if caller.liveness.check().is_err() || (changed && !subscriber.notify().await) {
            return;
        }
    }
}

//! Telling clients that their tool list is another one now. Always from the server to the client.

use std::sync::Arc;

use firebox_contract::Caller;
use rmcp::RoleServer;
use rmcp::service::{Peer, SubscriptionSink};

use super::Shared;

/// Where a notice goes: each kind of revision has its own way.
pub(super) enum Listener {
    /// A session of a revision with a handshake.
    Session(Peer<RoleServer>),
    /// An open `subscriptions/listen` request.
    Subscription(SubscriptionSink),
}

impl Listener {
    /// Whether the client still hears.
    async fn tell(&self) -> bool {
        match self {
            Self::Session(peer) => peer.notify_tool_list_changed().await.is_ok(),
            Self::Subscription(sink) => sink.notify_tool_list_changed().await.is_ok(),
        }
    }
}

/// Tells `listener` each time that the list of `caller` differs from what it saw last, until it does not hear any more,
/// the caller ends or the server closes. A change of somebody else's list is none of its business.
pub(super) async fn watch(shared: &Shared, caller: &Caller, listener: &Listener) {
    let ended = caller.liveness.ended();
    tokio::select! {
        biased;
        _ = ended => {}
        () = watch_lists(shared, caller, listener) => {}
    }
}

async fn watch_lists(shared: &Shared, caller: &Caller, listener: &Listener) {
    let (mut seen, mut known) = shared.lists.seen(&*shared.source, caller).await;
    loop {
        tokio::select! {
            revision = shared.source.changed(seen) => seen = revision,
            () = shared.closing.cancelled() => return,
        }
        let list = shared.lists.of(&*shared.source, caller).await;
        let changed = !Arc::ptr_eq(&list, &known) && list != known;
        known = list;
        // A reload changes lists and ends callers; whoever ended hears of neither.
        if caller.liveness.check().is_err() || (changed && !listener.tell().await) {
            return;
        }
    }
}

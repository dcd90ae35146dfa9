//! Transports to servers, and the wrapper around each of them: it records why a connection ended, and it ends a connection
//! whose server sends too many messages or requests.

pub(super) mod child;
pub(super) mod http;
pub(super) mod orphan;
pub(super) mod rate;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use firebox_contract::limits::MCP_CLIENT_SERVER_REQUESTS_MAX;
use rmcp::RoleClient;
use rmcp::model::JsonRpcMessage;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio_util::sync::CancellationToken;

use crate::client::transport::rate::InboundRate;
use crate::client::wire::Exchange;

/// Whether and why a connection has ended. All users of the connection share it.
#[derive(Debug, Default)]
pub(super) struct CloseReason {
    gone: CancellationToken,
    text: OnceLock<String>,
    handshake_done: AtomicBool,
    flooded: AtomicBool,
}

impl CloseReason {
    /// Marks the connection as ended. Only the first reason is kept.
    pub(super) fn close(&self, why: &str) {
        // A later reason is a consequence of the first.
        drop(self.text.set(why.to_owned()));
        self.gone.cancel();
    }

    /// Marks the handshake as done.
    pub(super) fn handshake_done(&self) {
        self.handshake_done.store(true, Ordering::Relaxed);
    }

    /// Whether the handshake is done.
    pub(super) fn is_handshake_done(&self) -> bool {
        self.handshake_done.load(Ordering::Relaxed)
    }

    /// Records that the server sends too much, before the connection ends.
    pub(super) fn flood(&self, why: String) {
        self.flooded.store(true, Ordering::Relaxed);
        self.set_reason(why);
    }

    /// Whether the connection ended because the server sent too much.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// Records the reason before the connection ends.
    pub(super) fn set_reason(&self, why: String) {
        drop(self.text.set(why));
    }

    /// Waits for the end of the connection.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Whether the connection has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// The reason why the connection ended.
    pub(super) fn text(&self) -> &str {
        self.text.get().map_or("it closed the connection", String::as_str)
    }
}

/// A transport with limits on what the server sends, which records why the connection ends.
pub(super) struct WatchedTransport<T> {
    inner: T,
    close_reason: Arc<CloseReason>,
    exchange: Arc<Exchange>,
    /// The time that the server has to answer whether it knows the newest revision.
    probe: Duration,
    unanswered: Arc<AtomicUsize>,
    inbound: InboundRate,
}

impl<T> WatchedTransport<T> {
    pub(super) fn new(inner: T, close_reason: Arc<CloseReason>, exchange: Arc<Exchange>, probe: Duration) -> Self {
        Self { inner, close_reason, exchange, probe, unanswered: Arc::default(), inbound: InboundRate::default() }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for WatchedTransport<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let answers = matches!(item, JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_));
        let unanswered = Arc::clone(&self.unanswered);
        self.exchange.sent(&item, self.probe);
        let sent = self.inner.send(item);
        async move {
            let result = sent.await;
            if answers {
                // Does not go below zero: an error may answer a message that was not a request.
                let _below_zero =
                    unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
            }
            result
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        if self.close_reason.is_gone() {
            return None;
        }
        let message = self.inner.receive().await;
        // Bytes are counted by the reader, before they are parsed.
        if let Err(why) = self.inbound.note(Instant::now(), 1, 0, self.close_reason.is_handshake_done()) {
            self.close_reason.flood(why);
            self.close_reason.close("it sends too much");
            return None;
        }
        match &message {
            None => self.close_reason.close("it closed the connection"),
            Some(JsonRpcMessage::Request(_)) => {
                if self.unanswered.fetch_add(1, Ordering::Relaxed) >= MCP_CLIENT_SERVER_REQUESTS_MAX {
                    self.close_reason.close("it sent more requests than it reads answers");
                    return None;
                }
            }
            Some(_) => {}
        }
        message
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.close_reason.close("the connection was closed");
        self.inner.close().await
    }
}

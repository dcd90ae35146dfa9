//! What every transport gets around it: it says at once when nothing can be heard any more, and it ends a connection
//! whose server asks faster than it lets itself be answered.

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

use super::inbound::InboundRate;
use super::wire::Exchange;

/// What became of a connection, shared by all who wait on it.
#[derive(Debug, Default)]
pub(super) struct Fate {
    gone: CancellationToken,
    why: OnceLock<String>,
    settled: AtomicBool,
    flooded: AtomicBool,
}

impl Fate {
    /// Nothing will be heard any more. The first reason is the one that counts.
    pub(super) fn seal(&self, why: &str) {
        // A second reason follows from the first.
        drop(self.why.set(why.to_owned()));
        self.gone.cancel();
    }

    /// The handshake is over.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Whether the handshake is over.
    pub(super) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// It says more than a host can be asked to hear; known before the end itself.
    pub(super) fn flood(&self, why: String) {
        self.flooded.store(true, Ordering::Relaxed);
        self.explain(why);
    }

    /// Whether that is why it ended.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }

    /// A reason that is known before the end itself.
    pub(super) fn explain(&self, why: String) {
        drop(self.why.set(why));
    }

    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    pub(super) fn why(&self) -> &str {
        self.why.get().map_or("it closed the connection", String::as_str)
    }
}

/// A transport that is watched.
pub(super) struct Watched<T> {
    inner: T,
    fate: Arc<Fate>,
    exchange: Arc<Exchange>,
    /// Time to say whether the newest revision is known.
    probe: Duration,
    unanswered: Arc<AtomicUsize>,
    inbound: InboundRate,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, fate: Arc<Fate>, exchange: Arc<Exchange>, probe: Duration) -> Self {
        Self { inner, fate, exchange, probe, unanswered: Arc::default(), inbound: InboundRate::default() }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Watched<T> {
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
                // Saturating: an error may answer a message that was no request.
                let _below_zero =
                    unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
            }
            result
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        if self.fate.is_gone() {
            return None;
        }
        let message = self.inner.receive().await;
        // Bytes are counted where they are read, before they are parsed.
        if let Err(why) = self.inbound.note(Instant::now(), 1, 0, self.fate.is_settled()) {
            self.fate.flood(why);
            self.fate.seal("it floods");
            return None;
        }
        match &message {
            None => self.fate.seal("it closed the connection"),
            Some(JsonRpcMessage::Request(_)) => {
                if self.unanswered.fetch_add(1, Ordering::Relaxed) >= MCP_CLIENT_SERVER_REQUESTS_MAX {
                    self.fate.seal("it sent more requests than it reads answers");
                    return None;
                }
            }
            Some(_) => {}
        }
        message
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.fate.seal("the connection was closed");
        self.inner.close().await
    }
}

//! How a connection comes about: which way of speaking is tried first, which after it, and in what time.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use firebox_contract::limits::MCP_CLIENT_PROBE_TIME;
use rmcp::RoleClient;
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, serve_client_with_lifecycle_and_ct};
use rmcp::transport::Transport;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::child::{self, Stderr};
use super::connection::{Connection, Engine, Parts};
use super::handler::{Handler, ProgressTable};
use super::http;
use super::spec::{HttpServer, ServerSpec, ServerTransport};
use super::transport::{Fate, Watched};
use super::wire::{Exchange, Remarks, excerpt};
use crate::McpError;

/// A way of speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Dialect {
    /// The newest revision is asked for, then an older one.
    #[default]
    Newest,
    /// The newest revision and no other.
    OnlyNewest,
    /// An older revision.
    Older,
    /// The HTTP transport of 2024-11-05.
    FirstHttp,
}

impl Dialect {
    fn lifecycle(self) -> ClientLifecycleMode {
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        match self {
            Self::Newest => {
                let legacy_version = Some(ProtocolVersion::LATEST_WITH_INITIALIZE);
                ClientLifecycleMode::Auto { preferred_versions, legacy_version }
            }
            Self::OnlyNewest => ClientLifecycleMode::Discover { preferred_versions },
            Self::Older | Self::FirstHttp => ClientLifecycleMode::Initialize,
        }
    }
}

/// An attempt that failed.
struct Refused {
    error: McpError,
    /// What to try after it.
    next: Option<Dialect>,
}

impl From<McpError> for Refused {
    fn from(error: McpError) -> Self {
        Self { error, next: None }
    }
}

/// Starts or reaches the server, agrees on a revision and lists its tools, all within its connect timeout; `known` is how
/// this server was spoken to before. An attempt that fails is followed by at most two in other ways.
pub(super) async fn open(
    spec: &Arc<ServerSpec>,
    alive: &Arc<AtomicUsize>,
    known: Dialect,
) -> Result<(Connection, Engine), McpError> {
    let remarks = Remarks::new(spec);
    let started = Instant::now();
    let all = async {
        let mut tried = vec![known];
        let mut last = match attempt(spec, alive, known, &remarks).await {
            Ok(opened) => return Ok(opened),
            Err(refused) => refused,
        };
        while let Some(next) = last.next.filter(|next| tried.len() < 3 && !tried.contains(next)) {
            tried.push(next);
            last = match attempt(spec, alive, next, &remarks).await {
                Ok(opened) => return Ok(opened),
                // Whoever has no stream of the old kind was right to refuse: the first words tell more.
                Err(_) if next == Dialect::FirstHttp => Refused { next: None, ..last },
                Err(refused) => refused,
            };
        }
        Err(last.error)
    };
    match timeout(spec.connect_timeout, all).await {
        Ok(result) => result,
        Err(_) => {
            let meanwhile = remarks.since(started).map(|what| format!(" (meanwhile {what})")).unwrap_or_default();
            let reason = format!(
                "it did not finish the handshake within {} s{meanwhile}; raise its connect timeout if it is slow to start",
                spec.connect_timeout.as_secs_f32()
            );
            Err(McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) })
        }
    }
}

/// What an attempt is made with.
struct Attempt<'a> {
    spec: &'a Arc<ServerSpec>,
    dialect: Dialect,
    fate: Arc<Fate>,
    exchange: Arc<Exchange>,
    probe: Duration,
}

async fn attempt(
    spec: &Arc<ServerSpec>,
    alive: &Arc<AtomicUsize>,
    dialect: Dialect,
    remarks: &Arc<Remarks>,
) -> Result<(Connection, Engine), Refused> {
    // Only where another revision follows on the same connection is there a time to hurry to.
    let probe = if dialect == Dialect::Newest {
        MCP_CLIENT_PROBE_TIME.min(spec.connect_timeout / 4)
    } else {
        spec.connect_timeout
    };
    let attempt = Attempt { spec, dialect, fate: Arc::default(), exchange: Exchange::new(remarks), probe };
    match &spec.transport {
        ServerTransport::Stdio(server) => {
            let (transport, stderr) = child::spawn(spec, server, &attempt.fate, &attempt.exchange, alive)?;
            attempt.handshake(transport, stderr).await
        }
        ServerTransport::Http(server) => attempt.over_http(server).await,
    }
}

impl Attempt<'_> {
    async fn over_http(self, server: &HttpServer) -> Result<(Connection, Engine), Refused> {
        if self.dialect == Dialect::FirstHttp {
            let transport = http::open_first(self.spec, server, &self.fate, &self.exchange).await?;
            return self.handshake(transport, Stderr::default()).await;
        }
        let transport = http::open(self.spec, server, &self.fate, &self.exchange, self.probe)?;
        self.handshake(transport, Stderr::default()).await
    }

    async fn handshake<T: Transport<RoleClient> + 'static>(
        self,
        transport: T,
        mut stderr: Stderr,
    ) -> Result<(Connection, Engine), Refused> {
        let (progress, list_changed) = (Arc::new(ProgressTable::default()), Arc::new(Notify::new()));
        let (spec, fate, exchange) = (self.spec, &self.fate, &self.exchange);
        let handler = Handler {
            server: spec.name.clone(),
            progress: Arc::clone(&progress),
            list_changed: Arc::clone(&list_changed),
        };
        let transport = Watched::new(transport, Arc::clone(fate), Arc::clone(exchange), self.probe);
        let mode = self.dialect.lifecycle();
        let served = serve_client_with_lifecycle_and_ct(handler, transport, mode, CancellationToken::new()).await;
        let service = match served {
            Ok(service) => service,
            Err(error) => {
                let next = self.after(&error);
                let mut reason = words(&error).unwrap_or_else(|| fate.why().to_owned());
                if let Some(words) = stderr.last_words().await {
                    reason = format!("{reason}; it said: {words}");
                }
                return Err(Refused { error: self.failed(&reason), next });
            }
        };
        let parts = Parts { progress, list_changed, dialect: self.dialect };
        let connection = Connection::new(spec, &service, parts, Arc::clone(fate), Arc::clone(exchange));
        let mut engine = Engine::new(service, stderr);
        fate.settle();
        if let Err(failure) = connection.refresh().await {
            let mut reason = format!("it did not list its tools: {}", failure.words());
            if let Some(words) = engine.last_words().await {
                reason = format!("{reason}; it said: {words}");
            }
            // Here and now, so that its child is not left to somebody later.
            engine.close().await;
            return Err(self.failed(&reason).into());
        }
        Ok((connection, engine))
    }

    fn failed(&self, reason: &str) -> McpError {
        McpError::Connect { server: self.spec.name.clone(), reason: self.spec.redact(reason) }
    }

    /// What to try after this failure.
    fn after(&self, error: &ClientInitializeError) -> Option<Dialect> {
        let first_http = matches!(self.exchange.status(), 400 | 404 | 405 | 406 | 415 | 501);
        match self.dialect {
            // So slow to start that it was taken for an old one: it is not.
            Dialect::Newest if self.exchange.is_late() => Some(Dialect::OnlyNewest),
            Dialect::Newest | Dialect::Older if first_http => Some(Dialect::FirstHttp),
            Dialect::Newest => match error {
                // It has refused both.
                ClientInitializeError::LegacyFallbackFailed { fallback, .. }
                    if matches!(**fallback, ClientInitializeError::JsonRpcError(_)) =>
                {
                    None
                }
                // Some old servers end, or close the connection, at a first message they do not know.
                _ => Some(Dialect::Older),
            },
            // It was replaced by a newer one.
            Dialect::OnlyNewest | Dialect::Older | Dialect::FirstHttp => None,
        }
    }
}

/// A failed handshake as people read it; nothing where the connection ended, whose fate says why.
fn words(error: &ClientInitializeError) -> Option<String> {
    Some(match error {
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::Cancelled => return None,
        ClientInitializeError::TransportError { error, .. } => match http::told(error.error.as_ref()) {
            Some((words, _)) => words,
            // What cannot be written to has ended; how, is known better where it is read.
            None if error.error.is::<std::io::Error>() => return None,
            None => http::chain(error.error.as_ref()),
        },
        ClientInitializeError::JsonRpcError(error) => super::connection::rejection(error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => return words(fallback),
        ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
            let theirs: Vec<&str> = server_supported.iter().map(ProtocolVersion::as_str).collect();
            format!("it speaks no revision that is spoken here: {}", excerpt(&theirs.join(", "), 200))
        }
        ClientInitializeError::ExpectedInitResult(_) | ClientInitializeError::ExpectedInitResponse(_) => {
            "its answer to the handshake is none".to_owned()
        }
        ClientInitializeError::ConflictInitResponseId(asked, got)
        | ClientInitializeError::UncorrelatedErrorResponse { expected: asked, received: got } => {
            format!("it answered the request \"{got}\" where \"{asked}\" was asked")
        }
        other => http::chain(other),
    })
}

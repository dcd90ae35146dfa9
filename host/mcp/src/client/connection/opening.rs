//! Opens a connection: tries the dialects of the protocol one after the other, within the connect timeout.

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

use crate::McpError;
use crate::client::connection::handler::{Handler, ProgressTable};
use crate::client::connection::{Connection, ConnectionParts, ConnectionRunner};
use crate::client::spec::{HttpServer, ServerSpec, ServerTransport};
use crate::client::transport::child::{self, StderrTail};
use crate::client::transport::http;
use crate::client::transport::{CloseReason, WatchedTransport};
use crate::client::wire::{Exchange, ServerWarnings, excerpt};

/// A dialect of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::client) enum Dialect {
    /// Ask for the newest revision, then for an older one.
    #[default]
    Newest,
    /// The newest revision only.
    OnlyNewest,
    /// An older revision.
    Older,
    /// The HTTP+SSE transport of revision 2024-11-05.
    LegacySse,
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
            Self::Older | Self::LegacySse => ClientLifecycleMode::Initialize,
        }
    }
}

/// An attempt that failed.
struct FailedAttempt {
    error: McpError,
    /// The dialect to try next.
    next: Option<Dialect>,
}

impl From<McpError> for FailedAttempt {
    fn from(error: McpError) -> Self {
        Self { error, next: None }
    }
}

/// Starts or reaches the server, agrees on a revision and reads its tools, all within its connect timeout. The first attempt
/// uses `known`, the dialect of the last connection. After a failure at most two other dialects are tried.
///
/// # Errors
/// `McpError::Connect` with the reason of the failure.
pub(in crate::client) async fn open(
    spec: &Arc<ServerSpec>,
    alive: &Arc<AtomicUsize>,
    known: Dialect,
) -> Result<(Connection, ConnectionRunner), McpError> {
    let warnings = ServerWarnings::new(spec);
    let started = Instant::now();
    let all = async {
        let mut tried = vec![known];
        let mut last = match attempt(spec, alive, known, &warnings).await {
            Ok(opened) => return Ok(opened),
            Err(refused) => refused,
        };
        while let Some(next) = last.next.filter(|next| tried.len() < 3 && !tried.contains(next)) {
            tried.push(next);
            last = match attempt(spec, alive, next, &warnings).await {
                Ok(opened) => return Ok(opened),
                // If the old transport fails too, the error of the earlier attempt is more helpful.
                Err(_) if next == Dialect::LegacySse => FailedAttempt { next: None, ..last },
                Err(refused) => refused,
            };
        }
        Err(last.error)
    };
    match timeout(spec.connect_timeout, all).await {
        Ok(result) => result,
        Err(_) => {
            let meanwhile = warnings.since(started).map(|what| format!(" (meanwhile {what})")).unwrap_or_default();
            let reason = format!(
                "it did not finish the handshake within {} s{meanwhile}; raise its connect timeout if it is slow to start",
                spec.connect_timeout.as_secs_f32()
            );
            Err(McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) })
        }
    }
}

/// One attempt to open a connection.
struct Attempt<'a> {
    spec: &'a Arc<ServerSpec>,
    dialect: Dialect,
    close_reason: Arc<CloseReason>,
    exchange: Arc<Exchange>,
    probe: Duration,
}

async fn attempt(
    spec: &Arc<ServerSpec>,
    alive: &Arc<AtomicUsize>,
    dialect: Dialect,
    warnings: &Arc<ServerWarnings>,
) -> Result<(Connection, ConnectionRunner), FailedAttempt> {
    // Only this dialect continues on the same connection with an older revision, so only here the probe must end early.
    let probe = if dialect == Dialect::Newest {
        MCP_CLIENT_PROBE_TIME.min(spec.connect_timeout / 4)
    } else {
        spec.connect_timeout
    };
    let attempt = Attempt { spec, dialect, close_reason: Arc::default(), exchange: Exchange::new(warnings), probe };
    match &spec.transport {
        ServerTransport::Stdio(server) => {
            let (transport, stderr) = child::spawn(spec, server, &attempt.close_reason, &attempt.exchange, alive)?;
            attempt.handshake(transport, stderr).await
        }
        ServerTransport::Http(server) => attempt.over_http(server).await,
    }
}

impl Attempt<'_> {
    async fn over_http(self, server: &HttpServer) -> Result<(Connection, ConnectionRunner), FailedAttempt> {
        if self.dialect == Dialect::LegacySse {
            let transport = http::open_legacy_sse(self.spec, server, &self.close_reason, &self.exchange).await?;
            return self.handshake(transport, StderrTail::default()).await;
        }
        let transport = http::open(self.spec, server, &self.close_reason, &self.exchange, self.probe)?;
        self.handshake(transport, StderrTail::default()).await
    }

    async fn handshake<T: Transport<RoleClient> + 'static>(
        self,
        transport: T,
        mut stderr: StderrTail,
    ) -> Result<(Connection, ConnectionRunner), FailedAttempt> {
        let (progress, list_changed) = (Arc::new(ProgressTable::default()), Arc::new(Notify::new()));
        let (spec, close_reason, exchange) = (self.spec, &self.close_reason, &self.exchange);
        let handler = Handler {
            server: spec.name.clone(),
            progress: Arc::clone(&progress),
            list_changed: Arc::clone(&list_changed),
        };
        let transport = WatchedTransport::new(transport, Arc::clone(close_reason), Arc::clone(exchange), self.probe);
        let mode = self.dialect.lifecycle();
        let served = serve_client_with_lifecycle_and_ct(handler, transport, mode, CancellationToken::new()).await;
        let service = match served {
            Ok(service) => service,
            Err(error) => {
                let next = self.after(&error);
                let mut reason = message(&error).unwrap_or_else(|| close_reason.text().to_owned());
                if let Some(lines) = stderr.last_lines().await {
                    reason = format!("{reason}; its output: {lines}");
                }
                return Err(FailedAttempt { error: self.failed(&reason), next });
            }
        };
        let parts = ConnectionParts { progress, list_changed, dialect: self.dialect };
        let connection = Connection::new(spec, &service, parts, Arc::clone(close_reason), Arc::clone(exchange));
        let mut runner = ConnectionRunner::new(service, stderr);
        close_reason.handshake_done();
        if let Err(failure) = connection.refresh().await {
            let mut reason = format!("it did not list its tools: {}", failure.message());
            if let Some(lines) = runner.last_lines().await {
                reason = format!("{reason}; its output: {lines}");
            }
            // Close it here, so that the child process has ended when the error is returned.
            runner.close().await;
            return Err(self.failed(&reason).into());
        }
        Ok((connection, runner))
    }

    fn failed(&self, reason: &str) -> McpError {
        McpError::Connect { server: self.spec.name.clone(), reason: self.spec.redact(reason) }
    }

    /// The dialect to try after this failure.
    fn after(&self, error: &ClientInitializeError) -> Option<Dialect> {
        let may_be_legacy_sse = matches!(self.exchange.status(), 400 | 404 | 405 | 406 | 415 | 501);
        match self.dialect {
            // The server was slow to start and was taken for an old one, but it knows the newest revision.
            Dialect::Newest if self.exchange.is_late() => Some(Dialect::OnlyNewest),
            Dialect::Newest | Dialect::Older if may_be_legacy_sse => Some(Dialect::LegacySse),
            Dialect::Newest => match error {
                // The server refused both revisions.
                ClientInitializeError::LegacyFallbackFailed { fallback, .. }
                    if matches!(**fallback, ClientInitializeError::JsonRpcError(_)) =>
                {
                    None
                }
                // Some old servers exit or close the connection at an unknown first message.
                _ => Some(Dialect::Older),
            },
            // Probably another version of the server runs now.
            Dialect::OnlyNewest | Dialect::Older | Dialect::LegacySse => None,
        }
    }
}

/// A failed handshake as a message. `None` if the connection ended; then its `CloseReason` has the message.
fn message(error: &ClientInitializeError) -> Option<String> {
    Some(match error {
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::Cancelled => return None,
        ClientInitializeError::TransportError { error, .. } => match http::describe(error.error.as_ref()) {
            Some((message, _)) => message,
            // Writing fails because the connection has ended. The reader knows the reason.
            None if error.error.is::<std::io::Error>() => return None,
            None => http::chain(error.error.as_ref()),
        },
        ClientInitializeError::JsonRpcError(error) => crate::client::connection::rejection(error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => return message(fallback),
        ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
            let theirs: Vec<&str> = server_supported.iter().map(ProtocolVersion::as_str).collect();
            format!("it supports no revision that this host supports: {}", excerpt(&theirs.join(", "), 200))
        }
        ClientInitializeError::ExpectedInitResult(_) | ClientInitializeError::ExpectedInitResponse(_) => {
            "its answer to the handshake is not valid".to_owned()
        }
        ClientInitializeError::ConflictInitResponseId(asked, got)
        | ClientInitializeError::UncorrelatedErrorResponse { expected: asked, received: got } => {
            format!("it answered the request \"{got}\", and \"{asked}\" was sent")
        }
        other => http::chain(other),
    })
}

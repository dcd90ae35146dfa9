//! The HTTP server of `firebox mcp serve`, until a signal.

use std::time::Duration;

use axum::Router;
use firebox_contract::limits;
use firebox_mcp::server::HttpTools;
use futures_util::future::{Either, select};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::serve::connections::address::TrustedProxies;
use crate::serve::connections::cors::Cors;
use crate::serve::connections::counters::ConnectionCounters;
use crate::serve::connections::listener::{self, ConnectionLimits};
use crate::serve::connections::table::ConnectionsMax;

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn stop_signal() {
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            // Without a handler, SIGTERM ends the process.
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

/// Serves `router` until `stop`, the first signal. Then waits for the calls of `tools`; a second signal cancels them.
/// Returns the number of cancelled calls.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    tools: &HttpTools,
    stop: impl Future<Output = ()>,
) -> usize {
    let total = limits::MCP_SERVER_CONNECTIONS_MAX;
    let bounds = ConnectionLimits {
        max: ConnectionsMax { total, per_address: total },
        header_timeout: limits::MCP_HEADER_TIMEOUT,
        reader_timeout: limits::READER_TIMEOUT_DEFAULT,
        trusted_proxies: TrustedProxies::default(),
        probes: Vec::new(),
        // No web page may read an answer.
        cors: Cors::default(),
    };
    let counters = ConnectionCounters::default();
    let (ending, stopping) = watch::channel(false);
    let connections = listener::serve(listener, router, bounds, counters, stopping, limits::MCP_DRAIN_TIMEOUT);
    let calls = async {
        stop.await;
        // There is no receiver if there is no connection.
        let _no_receiver = ending.send(true);
        tokio::select! {
            cut = tools.drain(limits::MCP_DRAIN_TIMEOUT) => cut,
            () = stop_signal() => tools.drain(Duration::ZERO).await,
        }
    };
    let calls = std::pin::pin!(calls);
    let connections = std::pin::pin!(connections);
    // Connections without calls need not be waited for.
    match select(calls, connections).await {
        Either::Left((cut, _)) => cut,
        Either::Right(((), calls)) => calls.await,
    }
}

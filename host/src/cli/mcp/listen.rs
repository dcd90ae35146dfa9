//! Connections to one router, bounded, until a signal.

use std::time::Duration;

use axum::Router;
use firebox_contract::limits;
use firebox_mcp::server::HttpTools;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// The first wish to stop: Ctrl-C, or the system's.
pub(super) async fn stop_signal() {
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            // Without a handler the system's own way of ending a process holds.
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

/// Serves `router` until `stop`, the first signal, ends; then lets calls of `tools` end; a second signal cuts them off at once.
/// Returns how many were cut off.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    tools: &HttpTools,
    stop: impl Future<Output = ()>,
) -> usize {
    let places = std::sync::Arc::new(Semaphore::new(limits::MCP_SERVER_CONNECTIONS_MAX));
    let (ending, stopping) = watch::channel(false);
    let accept = async {
        loop {
            // The semaphore is never closed. Who finds no place waits in the system's own short queue.
            let Ok(place) = std::sync::Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (router, stopping) = (router.clone(), stopping.clone());
                    tokio::spawn(async move {
                        connection(stream, router, stopping).await;
                        drop(place);
                    });
                }
                // Out of handles, for one; accepting again at once would only spin.
                Err(_) => tokio::time::sleep(limits::MCP_ACCEPT_RETRY).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    // Nobody listens only where there is no connection.
    let _connections = ending.send(true);
    tokio::select! {
        cut = tools.drain(limits::MCP_DRAIN) => cut,
        () = stop_signal() => tools.drain(Duration::ZERO).await,
    }
}

async fn connection(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    // A failure only means that small answers wait a little for company.
    let _slower = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::MCP_HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    tokio::select! {
        // What went wrong on one connection is its client's to see.
        _ended = served.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ended = served.await;
}

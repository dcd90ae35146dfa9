//! Connections: accepted up to a limit, each under header, write and size limits, ended in order.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use firebox_contract::limits;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::connections::address::TrustedProxies;
use super::stall::Stalling;

/// What bounds connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Time to send a request's headers.
    pub header_timeout: Duration,
    /// Time a connection may take nothing of what is written to it.
    pub write_stall_timeout: Duration,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<TrustedProxies>,
}

/// What a connection beyond the limit is told.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 139\r\n\r\n{\"error\":{\"message\":\"the server holds all the connections \
    it may; try again soon\",\"type\":\"server_error\",\"param\":null,\"code\":\"unavailable\"}}";

/// Accepts until `stop` says so, then lets connections end their request for `grace` and cuts the rest.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: ConnectionLimits,
    open: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let refusals = Arc::new(Semaphore::new(limits::HTTP_REFUSALS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        match Arc::clone(&open).try_acquire_owned() {
            Ok(permit) => {
                connections.spawn(connection(stream, peer, router.clone(), bounds.clone(), stop.clone(), permit));
            }
            Err(_) => {
                if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    connections.spawn(refuse(stream, permit));
                }
            }
        }
    }
    drop(listener);
    let done = async { while connections.join_next().await.is_some() {} };
    // Those who are not done by then are cut: that is what the deadline is for.
    let _cut_or_done = tokio::time::timeout(grace, done).await;
    connections.shutdown().await;
}

/// Ends when it is time to stop; also when nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _told_or_alone = stop.wait_for(|stop| *stop).await;
}

/// Out of files, say: accepting at once again would only spin.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tokio::time::sleep(limits::HTTP_ACCEPT_PAUSE).await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    router: Router,
    bounds: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    // Events are small and each is wanted at once; where it cannot be set they only come a little later.
    let _as_it_was = stream.set_nodelay(true);
    let io = TokioIo::new(Stalling::new(stream, bounds.write_stall_timeout));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_headers(limits::HTTP_HEADER_LINES_MAX)
        .max_header_size(limits::HTTP_HEADER_BYTES_MAX)
        .max_buf_size(limits::HTTP_BUFFER_BYTES_MAX);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let client = bounds.trusted_proxies.client(peer, request.headers());
        request.extensions_mut().insert(client);
        router.clone().oneshot(request)
    });
    let mut served = std::pin::pin!(builder.serve_connection(io, service));
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = told(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Says no, and reads a little so that closing does not take the words back.
async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let talk = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4_096];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Told or not, the connection ends here.
    let _told = tokio::time::timeout(limits::HTTP_REFUSAL_TIMEOUT, talk).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(REFUSAL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).expect("JSON");
    }
}

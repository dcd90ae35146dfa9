//! The listener: accepts connections within their limits, serves their requests, and closes them at the shutdown.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderValue, ORIGIN};
use axum::http::{Request, Response};
use firebox_contract::limits;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::address::TrustedProxies;
use super::cors::{Cors, is_preflight};
use super::counters::{ConnectionCounters, Refusal};
use super::guarded_body::GuardedBody;
use super::table::{Connection, Connections, ConnectionsMax};
use super::write_timeout::WriteTimeout;
use crate::http::{Failure, discard, normalized};

/// The limits of a listener's connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The maximum number of connections.
    pub max: ConnectionsMax,
    /// The longest time until the headers of a request are complete.
    pub header_timeout: Duration,
    /// The maximum time by which a client may be behind in reading its answers.
    pub reader_timeout: Duration,
    /// The proxies whose `X-Forwarded-For` is used.
    pub trusted_proxies: TrustedProxies,
    /// The paths that are answered on connections beyond the limit.
    pub probes: Vec<&'static str>,
    /// The web pages that may read the answers, including refusals of connections.
    pub cors: Cors,
}

/// Listens on `address`, with small socket buffers: they bound the memory of unread answers, and show early that a client
/// reads slowly.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On other systems it would let two servers share the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit the buffer sizes.
    socket.set_send_buffer_size(limits::HTTP_SOCKET_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(limits::HTTP_SOCKET_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(limits::HTTP_ACCEPT_QUEUE)
}

/// The state that all connections of a listener share.
struct ListenerState {
    router: Router,
    bounds: ConnectionLimits,
    counters: ConnectionCounters,
    stop: watch::Receiver<bool>,
}

/// Accepts connections until `stop` is true. Then connections may finish their request for `grace`, and the rest is closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: ConnectionLimits,
    counters: ConnectionCounters,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let all = Connections::new(bounds.max, bounds.trusted_proxies.clone(), counters.clone());
    let reserve = ConnectionsMax {
        total: limits::HTTP_OVERFLOW_CONNECTIONS_MAX,
        per_address: limits::HTTP_OVERFLOW_CONNECTIONS_MAX,
    };
    let reserve = Connections::new(reserve, bounds.trusted_proxies.clone(), ConnectionCounters::default());
    let shared = Arc::new(ListenerState { router, bounds, counters, stop: stop.clone() });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_true(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                pause_after(&error, &all).await;
                continue;
            }
        };
        match all.admit(peer) {
            Ok(admitted) => drop(connections.spawn(connection(Arc::clone(&shared), stream, admitted, None))),
            Err(refusal) => {
                shared.counters.refused(refusal);
                refuse(&mut connections, &shared, &reserve, stream, peer, refusal);
            }
        }
    }
    drop(listener);
    let done = async { while connections.join_next().await.is_some() {} };
    // Connections that are not done by the deadline are closed.
    let _done_or_late = tokio::time::timeout(grace, done).await;
    connections.shutdown().await;
}

/// Serves a connection beyond the limit: answers probes and refuses all other requests. At most `limits::HTTP_OVERFLOW_CONNECTIONS_MAX` of
/// them are open, for `limits::HTTP_OVERFLOW_TIME` each.
fn refuse(
    connections: &mut JoinSet<()>,
    shared: &Arc<ListenerState>,
    reserve: &Connections,
    stream: TcpStream,
    peer: IpAddr,
    refusal: Refusal,
) {
    // If the reserve is full, the connection is closed without an answer.
    let Ok(admitted) = reserve.admit(peer) else { return };
    let answer = connection(Arc::clone(shared), stream, admitted, Some(refusal));
    connections.spawn(async move {
        // The connection is closed after its answer or after this time.
        let _answered = tokio::time::timeout(limits::HTTP_OVERFLOW_TIME, answer).await;
    });
}

/// Waits until the value is true, or until its sender is gone.
async fn until_true(stop: &mut watch::Receiver<bool>) {
    let _true_or_closed = stop.wait_for(|stop| *stop).await;
}

/// Pauses after an error of the system, such as too many open files: an immediate retry would fail again. Closes an idle
/// connection to free a file.
async fn pause_after(error: &io::Error, all: &Connections) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%error, "a connection could not be accepted");
        all.close_one();
        tokio::time::sleep(limits::HTTP_ACCEPT_PAUSE).await;
    }
}

/// Serves one connection. A `refused` connection is closed after one answer.
async fn connection(shared: Arc<ListenerState>, stream: TcpStream, mut admitted: Connection, refused: Option<Refusal>) {
    // Events are small and are to be sent at once. Without this option they arrive a little later.
    let _unchanged = stream.set_nodelay(true);
    let (bounds, mut stop) = (&shared.bounds, shared.stop.clone());
    let stream = WriteTimeout::new(stream, bounds.reader_timeout, limits::HTTP_READER_BYTES_PER_SECOND_MIN);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_headers(limits::HTTP_HEADER_LINES_MAX)
        .max_header_size(limits::HTTP_HEADER_BYTES_MAX)
        .max_buf_size(limits::HTTP_BUFFER_BYTES_MAX);
    let closed = admitted.closed();
    let service = service_fn(|request| answer(&shared, &admitted, refused, request));
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = closed => return,
        () = until_true(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        if is_slow_reader(&error) {
            shared.counters.refused(Refusal::SlowReader);
        }
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Whether the error is a write timeout.
fn is_slow_reader(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut)
}

/// Answers one request and adds the headers for web pages.
async fn answer(
    shared: &ListenerState,
    admitted: &Connection,
    refused: Option<Refusal>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let origin = request.headers().get(ORIGIN).cloned();
    if let Some(uri) = normalized(request.uri()) {
        *request.uri_mut() = uri;
    }
    let mut response = routed(shared, admitted, refused, request).await?;
    shared.bounds.cors.add_headers(origin.as_ref(), response.headers_mut());
    Ok(response)
}

/// Answers one request. It occupies its connection until its answer is complete.
async fn routed(
    shared: &ListenerState,
    admitted: &Connection,
    refused: Option<Refusal>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    // Preflight requests are answered too, since a page could not read the refusal of its request otherwise.
    let is_always_answered =
        shared.bounds.probes.contains(&request.uri().path()) || is_preflight(request.method(), request.headers());
    let started = match refused {
        Some(refusal) if !is_always_answered => Err(refusal),
        _ => admitted.begin(request.headers()).inspect_err(|refusal| shared.counters.refused(*refusal)),
    };
    let (client, handle, running) = match started {
        Ok(started) => started,
        Err(refusal) => return Ok(closing(refusal_of(refusal, request).await)),
    };
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(handle);
    let response = shared.router.clone().oneshot(request).await?;
    let response = response.map(|body| Body::new(GuardedBody::new(body, running)));
    Ok(if refused.is_some() { closing(response) } else { response })
}

/// The answer to a request whose connection is refused.
async fn refusal_of(refusal: Refusal, request: Request<Incoming>) -> Response<Body> {
    // Closing a connection with unread bytes would discard the answer.
    let _complete = discard(Body::new(request.into_body())).await;
    Failure::from(refusal.error()).response("")
}

/// Closes the connection after `response`.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

//! Accepts connections within their limits, answers their requests, and ends them in order.

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

use super::connections::address::TrustedProxies;
use super::connections::counters::{ConnectionCounters, Refusal};
use super::connections::guarded::Guarded;
use super::connections::stall::Stalling;
use super::connections::table::{Connection, Connections, ConnectionsMax};
use super::cors::{Cors, is_preflight};
use crate::http::{Failure, as_meant, discard};

/// What bounds connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at a time.
    pub max: ConnectionsMax,
    /// Time a connection may go without the whole headers of a request.
    pub header_timeout: Duration,
    /// Time a client may be behind in taking what is written to it.
    pub reader_timeout: Duration,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Paths that are answered on connections beyond the limit.
    pub probes: &'static [&'static str],
    /// The web pages that may read the answers, refusals of connections included.
    pub cors: Cors,
}

/// Listens on `address`, with buffers that show soon that a client reads slowly, and hold little of what is not read.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere it would let two servers share the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Accepted connections have what their listener has.
    socket.set_send_buffer_size(limits::HTTP_SOCKET_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(limits::HTTP_SOCKET_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(limits::HTTP_ACCEPT_QUEUE)
}

/// What all connections of a listener share.
struct Shared {
    router: Router,
    bounds: ConnectionLimits,
    counters: ConnectionCounters,
    stop: watch::Receiver<bool>,
}

/// Accepts until `stop` says so, then lets connections end their request for `grace` and cuts the rest.
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
    let shared = Arc::new(Shared { router, bounds, counters, stop: stop.clone() });
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
    // Those who are not done by then are cut: that is what the deadline is for.
    let _cut_or_done = tokio::time::timeout(grace, done).await;
    connections.shutdown().await;
}

/// Answers probes of a connection beyond the limit, and says no to all else; not for long, and only to a few at a time.
fn refuse(
    connections: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    reserve: &Connections,
    stream: TcpStream,
    peer: IpAddr,
    refusal: Refusal,
) {
    // Without room in the reserve it is closed without a word.
    let Ok(admitted) = reserve.admit(peer) else { return };
    let answer = connection(Arc::clone(shared), stream, admitted, Some(refusal));
    connections.spawn(async move {
        // Told or not, the connection ends here.
        let _told = tokio::time::timeout(limits::HTTP_OVERFLOW_TIME, answer).await;
    });
}

/// Ends when it is time to stop; also when nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _told_or_alone = stop.wait_for(|stop| *stop).await;
}

/// Out of files, say: accepting at once again would only spin, and a connection without a request has one to give.
async fn pause_after(error: &io::Error, all: &Connections) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%error, "a connection was not accepted");
        all.close_one();
        tokio::time::sleep(limits::HTTP_ACCEPT_PAUSE).await;
    }
}

/// Serves one connection. One that was `refused` has a probe answered and is closed.
async fn connection(shared: Arc<Shared>, stream: TcpStream, mut admitted: Connection, refused: Option<Refusal>) {
    // Events are small and each is wanted at once; where it cannot be set they only come a little later.
    let _as_it_was = stream.set_nodelay(true);
    let (bounds, mut stop) = (&shared.bounds, shared.stop.clone());
    let stream = Stalling::new(stream, bounds.reader_timeout, limits::HTTP_READER_BYTES_PER_SECOND_MIN);
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
        () = told(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        if is_slow_reader(&error) {
            shared.counters.refused(Refusal::SlowReader);
        }
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Whether writing took too long.
fn is_slow_reader(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut)
}

/// Answers one request, in a form that web pages can read which may.
async fn answer(
    shared: &Shared,
    admitted: &Connection,
    refused: Option<Refusal>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let origin = request.headers().get(ORIGIN).cloned();
    if let Some(meant) = as_meant(request.uri()) {
        *request.uri_mut() = meant;
    }
    let mut response = routed(shared, admitted, refused, request).await?;
    shared.bounds.cors.show_to(origin.as_ref(), response.headers_mut());
    Ok(response)
}

/// Answers one request, which occupies its connection until the last byte of its answer has been made.
async fn routed(
    shared: &Shared,
    admitted: &Connection,
    refused: Option<Refusal>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    // A page that was not let to ask could not read the refusal.
    let is_small =
        shared.bounds.probes.contains(&request.uri().path()) || is_preflight(request.method(), request.headers());
    let begun = match refused {
        Some(refusal) if !is_small => Err(refusal),
        _ => admitted.begin(request.headers()).inspect_err(|refusal| shared.counters.refused(*refusal)),
    };
    let (client, handle, running) = match begun {
        Ok(begun) => begun,
        Err(refusal) => return Ok(closing(refusal_of(refusal, request).await)),
    };
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(handle);
    let response = shared.router.clone().oneshot(request).await?;
    let response = response.map(|body| Body::new(Guarded::new(body, running)));
    Ok(if refused.is_some() { closing(response) } else { response })
}

/// The answer to a request whose connection has no room.
async fn refusal_of(refusal: Refusal, request: Request<Incoming>) -> Response<Body> {
    // What is not read now would take the answer back when the connection is closed.
    let _all_or_not = discard(Body::new(request.into_body())).await;
    Failure::from(refusal.error()).response("")
}

/// `response`, after which the connection is closed.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

//! The server for the client that started this process, over standard input and output.

pub(super) mod lines;

use std::sync::Arc;

use firebox_contract::{Caller, Error, ToolSource, limits};
use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use tokio::io::{AsyncRead, AsyncWrite};

use self::lines::{LineTransport, StopSignals};
use super::handler::McpHandler;
use super::in_flight::InFlightRequests;
use super::{ServerContext, ServerInfo};

/// Serves `source` to `caller` until standard input has ended and all requests are answered. Meanwhile nothing else may write
/// to standard output.
///
/// # Errors
/// `Error::Timeout` if calls still ran after the drain time, `Error::Internal` if serving failed.
pub async fn serve_stdio(source: Arc<dyn ToolSource>, caller: Caller, info: ServerInfo) -> Result<(), Error> {
    let (read, write) = rmcp::transport::stdio_pipes();
    serve_streams(source, caller, info, read, write).await
}

/// As [`serve_stdio`], over any two streams.
///
/// # Errors
/// As [`serve_stdio`].
pub async fn serve_streams<R, W>(
    source: Arc<dyn ToolSource>,
    caller: Caller,
    info: ServerInfo,
    read: R,
    write: W,
) -> Result<(), Error>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let shared = ServerContext::new(source, info);
    let closing = shared.closing.clone();
    let handler = McpHandler::new(shared, Some(caller));
    let (in_flight, stop) = (InFlightRequests::new(), StopSignals::default());
    let transport = LineTransport::new(read, write, Arc::clone(&in_flight), stop.clone());
    let serving = async {
        match serve_server_with_ct(handler, transport, closing.child_token()).await {
            Ok(running) => running.waiting().await.map(drop).map_err(|error| error.to_string()),
            // The client left before it sent anything, which is not an error.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    };
    let ended = tokio::select! {
        ended = serving => ended.map_err(|reason| Error::Internal(format!("serving MCP stopped: {reason}"))),
        // The client has gone, so no answer can be sent.
        () = stop.gone.cancelled() => Ok(()),
        () = stop.drain_over.cancelled() => Err(cancelled(in_flight.waiting())),
    };
    closing.cancel();
    ended
}

fn cancelled(calls: usize) -> Error {
    let time = limits::MCP_STDIO_DRAIN_TIMEOUT.as_secs();
    Error::Timeout(format!("{calls} calls still ran {time} s after the end of the input and were cancelled"))
}

//! A server for the one client that started this process, over its standard input and output.

pub(super) mod lines;

use std::sync::Arc;

use firebox_contract::{Caller, Error, ToolSource, limits};
use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use tokio::io::{AsyncRead, AsyncWrite};

use self::lines::{Ends, Lines};
use super::door::Door;
use super::in_flight::InFlight;
use super::{ServerInfo, Shared};

/// Serves `source` to `caller` until standard input ends and what it asked is answered. Nothing
/// else may write to standard output meanwhile.
///
/// # Errors
/// `Error::Timeout` if calls still ran long after the end of the input, `Error::Internal` if serving stopped.
pub async fn serve_stdio(source: Arc<dyn ToolSource>, caller: Caller, info: ServerInfo) -> Result<(), Error> {
    let (read, write) = rmcp::transport::stdio_pipes();
    serve_streams(source, caller, info, read, write).await
}

/// The same over any two streams.
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
    let shared = Shared::new(source, info);
    let closing = shared.closing.clone();
    let door = Door::new(shared, Some(caller));
    let (in_flight, ends) = (InFlight::new(), Ends::default());
    let transport = Lines::new(read, write, Arc::clone(&in_flight), ends.clone());
    let serving = async {
        match serve_server_with_ct(door, transport, closing.child_token()).await {
            Ok(running) => running.waiting().await.map(drop).map_err(|error| error.to_string()),
            // A client that leaves before it said anything wants nothing.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    };
    let ended = tokio::select! {
        ended = serving => ended.map_err(|reason| Error::Internal(format!("serving MCP stopped: {reason}"))),
        // Whoever has gone reads no answer.
        () = ends.gone.cancelled() => Ok(()),
        () = ends.late.cancelled() => Err(cut_off(in_flight.waiting())),
    };
    closing.cancel();
    ended
}

fn cut_off(calls: usize) -> Error {
    let time = limits::MCP_STDIO_DRAIN_TIMEOUT.as_secs();
    Error::Timeout(format!("{calls} calls still ran {time} s after the end of the input and were cut off"))
}

//! A server for the one client that started this process, over its standard input and output.

use std::sync::Arc;

use firebox_contract::{Caller, Error, ToolSource, limits};
use rmcp::service::{ServerInitializeError, serve_server_with_ct};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncRead, AsyncWrite};

use super::door::Door;
use super::{ServerInfo, Shared};

/// Serves `source` to `caller` until standard input ends; answers that are on their way then still go out. Nothing
/// else may write to standard output meanwhile.
///
/// # Errors
/// `Error::Usage` if the other side does not speak the protocol, `Error::Internal` if standard output is gone.
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
    let transport = AsyncRwTransport::new_server(read, write).with_max_line_length(limits::MCP_SERVER_LINE_BYTES_MAX);
    let ended = match serve_server_with_ct(door, transport, closing.child_token()).await {
        Ok(running) => running.waiting().await.map(drop).map_err(|error| error.to_string()),
        // A client that leaves before it said anything wants nothing.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => return Err(Error::Usage(format!("the client does not speak MCP: {error}"))),
    };
    closing.cancel();
    ended.map_err(|reason| Error::Internal(format!("serving MCP stopped: {reason}")))
}

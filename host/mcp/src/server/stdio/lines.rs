//! Messages as lines. A separate task reads them, so that rejected messages are answered in order. Each line is written as a
//! whole.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firebox_contract::limits;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, GetMeta as _, JsonRpcMessage, ProtocolVersion, ServerResult};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::in_flight::{InFlightRequests, answered_id};
use super::super::message::{self, ClientMessage, RejectedMessage};

/// The state that the reading task and the transport share.
struct LineIo<W> {
    write: Mutex<Option<W>>,
    in_flight: Arc<InFlightRequests>,
    /// Whether the session's revision supports batches.
    has_batches: AtomicBool,
    stop: StopSignals,
}

/// The signals that end the server early. Clones share them.
#[derive(Clone, Default)]
pub(super) struct StopSignals {
    /// The client no longer reads.
    pub(super) gone: CancellationToken,
    /// Calls still run after the drain time.
    pub(super) drain_over: CancellationToken,
}

impl<W: AsyncWrite + Send + Unpin> LineIo<W> {
    async fn write(&self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        let mut write = self.write.lock().await;
        let open = write.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let written = async {
            open.write_all(&line).await?;
            open.flush().await
        };
        let written = written.await;
        if written.is_err() {
            self.stop.gone.cancel();
        }
        written
    }

    async fn refuse(&self, refusal: &RejectedMessage) {
        // If writing fails, `write` ends the server.
        let _unread = self.write(refusal.to_json().to_string().into_bytes()).await;
    }
}

/// The transport of rmcp over standard input and output.
pub(super) struct LineTransport<W> {
    wire: Arc<LineIo<W>>,
    messages: mpsc::Receiver<ClientJsonRpcMessage>,
    reading: JoinHandle<()>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> LineTransport<W> {
    /// Starts the reading task.
    pub(super) fn new<R: AsyncRead + Send + Unpin + 'static>(
        read: R,
        write: W,
        in_flight: Arc<InFlightRequests>,
        stop: StopSignals,
    ) -> Self {
        let write = Mutex::new(Some(write));
        let wire = Arc::new(LineIo { write, in_flight, has_batches: AtomicBool::new(false), stop });
        let (sender, messages) = mpsc::channel(limits::MCP_LINES_BUFFERED_MAX);
        let reader = LineReader { wire: Arc::clone(&wire), messages: sender, has_begun: false };
        let reading = tokio::spawn(reader.read(BufReader::new(read)));
        Self { wire, messages, reading }
    }
}

impl<W> Drop for LineTransport<W> {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for LineTransport<W> {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let wire = Arc::clone(&self.wire);
        async move {
            let id = answered_id(&message);
            if let JsonRpcMessage::Response(response) = &message
                && let ServerResult::InitializeResult(begun) = &response.result
            {
                wire.has_batches.store(has_batches(&begun.protocol_version), Ordering::Relaxed);
            }
            let written = match serde_json::to_vec(&message) {
                Ok(line) => wire.write(line).await,
                Err(error) => Err(error.into()),
            };
            if let Some(id) = id {
                wire.in_flight.end(&id);
            }
            written
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        self.messages.recv().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.reading.abort();
        self.wire.write.lock().await.take();
        Ok(())
    }
}

/// Whether `revision` supports batches. Revision 2025-06-18 removed them.
pub(in super::super) fn has_batches(revision: &ProtocolVersion) -> bool {
    *revision < ProtocolVersion::V_2025_06_18
}

/// Reads lines until the input ends, then waits for the answers.
struct LineReader<W> {
    wire: Arc<LineIo<W>>,
    messages: mpsc::Sender<ClientJsonRpcMessage>,
    /// Whether the client has announced its revision, by a handshake or in a request.
    has_begun: bool,
}

impl<W: AsyncWrite + Send + Unpin> LineReader<W> {
    async fn read<R: AsyncRead + Send + Unpin>(mut self, mut input: BufReader<R>) {
        let mut line = Vec::new();
        while let Ok(read) = next_line(&mut input, &mut line).await {
            match read {
                ReadLine::Whole => self.line(&line).await,
                ReadLine::TooLong => {
                    let most = limits::MCP_SERVER_LINE_BYTES_MAX;
                    let message = format!("the message has more than {most} bytes");
                    self.wire.refuse(&RejectedMessage::invalid(Value::Null, message)).await;
                }
                ReadLine::End => break,
            }
        }
        if tokio::time::timeout(limits::MCP_STDIO_DRAIN_TIMEOUT, self.wire.in_flight.answered()).await.is_err() {
            self.wire.stop.drain_over.cancel();
        }
        // The channel is closed here, which ends the server.
    }

    async fn line(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        match message::parse(line) {
            Ok(Value::Array(batch)) => self.batch(batch).await,
            Ok(value) => self.message(value).await,
            Err(refusal) => self.wire.refuse(&refusal).await,
        }
    }

    /// Answers each message of a batch separately.
    async fn batch(&mut self, batch: Vec<Value>) {
        let allowed = self.wire.has_batches.load(Ordering::Relaxed);
        if let Err(message) = message::batch(&batch, allowed) {
            self.wire.refuse(&RejectedMessage::invalid(Value::Null, message)).await;
            return;
        }
        for value in batch {
            self.message(value).await;
        }
    }

    async fn message(&mut self, value: Value) {
        let taken = message::check(value).and_then(|ClientMessage { typed, .. }| self.take(typed));
        match taken {
            // Fails only if the server has ended.
            Ok(Some(message)) => drop(self.messages.send(message).await),
            Ok(None) => {}
            Err(refusal) => self.wire.refuse(&refusal).await,
        }
    }

    /// Registers `message` and returns it for rmcp. Returns `None` for a notification before the client has announced its
    /// revision.
    ///
    /// # Errors
    /// `RejectedMessage` if the client has not announced its revision, or the id is in use.
    fn take(&mut self, message: ClientJsonRpcMessage) -> Result<Option<ClientJsonRpcMessage>, RejectedMessage> {
        let JsonRpcMessage::Request(request) = &message else {
            self.wire.in_flight.on_client_message(&message);
            return Ok(self.has_begun.then_some(message));
        };
        let refuse = |message: String| RejectedMessage::invalid(request.id.clone().into_json_value(), message);
        let begins = match &request.request {
            ClientRequest::InitializeRequest(_) => true,
            ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => false,
            request => {
                let meta = request.get_meta();
                let revision = meta.protocol_version();
                if revision.is_none() && !self.has_begun {
                    return Err(refuse(
                        "send \"initialize\" first, or the \"_meta\" of revision 2026-07-28".to_owned(),
                    ));
                }
                let is_known = revision.is_some_and(|revision| ProtocolVersion::KNOWN_VERSIONS.contains(&revision));
                is_known && meta.missing_required_keys(&ProtocolVersion::V_2026_07_28).is_empty()
            }
        };
        self.wire.in_flight.begin(&request.id, &request.request).map_err(refuse)?;
        self.has_begun |= begins;
        Ok(Some(message))
    }
}

/// The result of reading a line.
enum ReadLine {
    /// A complete line, or the last line without an end of line.
    Whole,
    /// A line that is too long. It was dropped.
    TooLong,
    /// The end of the input.
    End,
}

async fn next_line(input: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<ReadLine> {
    line.clear();
    let most = limits::MCP_SERVER_LINE_BYTES_MAX;
    let read = (&mut *input).take(most as u64 + 1).read_until(b'\n', line).await?;
    if read == 0 {
        return Ok(ReadLine::End);
    }
    if read <= most || line.ends_with(b"\n") {
        return Ok(ReadLine::Whole);
    }
    line.clear();
    line.shrink_to(most);
    loop {
        let buffered = input.fill_buf().await?;
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let (used, is_over) = (end.map_or(buffered.len(), |end| end + 1), end.is_some() || buffered.is_empty());
        input.consume(used);
        if is_over {
            return Ok(ReadLine::TooLong);
        }
    }
}

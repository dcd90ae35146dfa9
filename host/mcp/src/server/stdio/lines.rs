//! Messages as lines: read on a task of their own, so that whatever is refused is answered in its turn, and written whole.

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

use super::super::in_flight::{InFlight, answered_id};
use super::super::message::{self, Message, Refusal};

/// What the task that reads and the transport share.
struct Wire<W> {
    write: Mutex<Option<W>>,
    in_flight: Arc<InFlight>,
    /// The session's revision has batches.
    has_batches: AtomicBool,
    ends: Ends,
}

/// What ends the server before its input is read and answered. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Ends {
    /// Nobody reads any more.
    pub(super) gone: CancellationToken,
    /// Calls still run long after the end of input.
    pub(super) late: CancellationToken,
}

impl<W: AsyncWrite + Send + Unpin> Wire<W> {
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
            self.ends.gone.cancel();
        }
        written
    }

    async fn refuse(&self, refusal: &Refusal) {
        // Where nobody reads, the server ends.
        let _unread = self.write(refusal.to_json().to_string().into_bytes()).await;
    }
}

/// Standard input and output as rmcp wants them.
pub(super) struct Lines<W> {
    wire: Arc<Wire<W>>,
    messages: mpsc::Receiver<ClientJsonRpcMessage>,
    reading: JoinHandle<()>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> Lines<W> {
    /// Begins to read.
    pub(super) fn new<R: AsyncRead + Send + Unpin + 'static>(
        read: R,
        write: W,
        in_flight: Arc<InFlight>,
        ends: Ends,
    ) -> Self {
        let write = Mutex::new(Some(write));
        let wire = Arc::new(Wire { write, in_flight, has_batches: AtomicBool::new(false), ends });
        let (sender, messages) = mpsc::channel(limits::MCP_LINES_BUFFERED_MAX);
        let reader = Reader { wire: Arc::clone(&wire), messages: sender, has_begun: false };
        let reading = tokio::spawn(reader.read(BufReader::new(read)));
        Self { wire, messages, reading }
    }
}

impl<W> Drop for Lines<W> {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for Lines<W> {
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

/// Revision 2025-06-18 took batches out.
pub(in super::super) fn has_batches(revision: &ProtocolVersion) -> bool {
    *revision < ProtocolVersion::V_2025_06_18
}

/// Reads lines until the input ends, then waits for the answers.
struct Reader<W> {
    wire: Arc<Wire<W>>,
    messages: mpsc::Sender<ClientJsonRpcMessage>,
    /// The client said how it speaks: by a handshake, or in the request itself.
    has_begun: bool,
}

impl<W: AsyncWrite + Send + Unpin> Reader<W> {
    async fn read<R: AsyncRead + Send + Unpin>(mut self, mut input: BufReader<R>) {
        let mut line = Vec::new();
        while let Ok(read) = next_line(&mut input, &mut line).await {
            match read {
                Line::Whole => self.line(&line).await,
                Line::TooLong => {
                    let most = limits::MCP_SERVER_LINE_BYTES_MAX;
                    let message = format!("the message has more than the {most} bytes allowed");
                    self.wire.refuse(&Refusal::invalid(Value::Null, message)).await;
                }
                Line::End => break,
            }
        }
        if tokio::time::timeout(limits::MCP_STDIO_DRAIN_TIMEOUT, self.wire.in_flight.answered()).await.is_err() {
            self.wire.ends.late.cancel();
        }
        // The channel ends here, and with it the server.
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

    /// Each message of a batch is answered by itself.
    async fn batch(&mut self, batch: Vec<Value>) {
        let allowed = self.wire.has_batches.load(Ordering::Relaxed);
        if let Err(message) = message::batch(&batch, allowed) {
            self.wire.refuse(&Refusal::invalid(Value::Null, message)).await;
            return;
        }
        for value in batch {
            self.message(value).await;
        }
    }

    async fn message(&mut self, value: Value) {
        let taken = message::check(value).and_then(|Message { typed, .. }| self.take(typed));
        match taken {
            // The receiver goes only with the server.
            Ok(Some(message)) => drop(self.messages.send(message).await),
            Ok(None) => {}
            Err(refusal) => self.wire.refuse(&refusal).await,
        }
    }

    /// What rmcp is given of `message`; nothing of what comes before the client said how it speaks and needs no answer.
    fn take(&mut self, message: ClientJsonRpcMessage) -> Result<Option<ClientJsonRpcMessage>, Refusal> {
        let JsonRpcMessage::Request(request) = &message else {
            self.wire.in_flight.heard(&message);
            return Ok(self.has_begun.then_some(message));
        };
        let refuse = |message: String| Refusal::invalid(request.id.clone().into_json_value(), message);
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

/// What was read.
enum Line {
    /// A line, or the last one without its end.
    Whole,
    /// More than is allowed; it was thrown away.
    TooLong,
    End,
}

async fn next_line(input: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let most = limits::MCP_SERVER_LINE_BYTES_MAX;
    let read = (&mut *input).take(most as u64 + 1).read_until(b'\n', line).await?;
    if read == 0 {
        return Ok(Line::End);
    }
    if read <= most || line.ends_with(b"\n") {
        return Ok(Line::Whole);
    }
    line.clear();
    line.shrink_to(most);
    loop {
        let buffered = input.fill_buf().await?;
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let (used, is_over) = (end.map_or(buffered.len(), |end| end + 1), end.is_some() || buffered.is_empty());
        input.consume(used);
        if is_over {
            return Ok(Line::TooLong);
        }
    }
}

//! One request, from the lookup of its host to the last part of its response.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use firebox_contract::limits;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::bindings::wasi::http::types::ErrorCode;
use super::body_limit::CallBudget;
use super::request::RequestOptions;
use super::request::body::BodySource;
use super::response::body::BodyPart;
use super::response::{Outcome, OwnedTask, ResponseHead};
use super::service::{HttpClient, Share};
use super::stand_in::{self, SentRequest};
use crate::capabilities::metrics::{PluginMeter, count_of_host};
use crate::capabilities::secrets::InstanceSecrets;
use crate::capabilities::secrets::scan::PartScan;
use crate::instance::log::PluginLog;
use crate::plugin::grants::Permissions;
use crate::plugin::grants::http_rule::HttpTarget;

/// A request that its guest may send.
pub(super) struct Exchange {
    pub(super) client: Arc<HttpClient>,
    pub(super) permissions: Permissions,
    pub(super) log: PluginLog,
    pub(super) target: HttpTarget,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<BodySource>,
    pub(super) options: RequestOptions,
    pub(super) call: Arc<CallBudget>,
    /// What the guest must not send or get.
    pub(super) secrets: Option<Arc<InstanceSecrets>>,
    /// Counts requests and bytes.
    pub(super) meter: Option<Arc<dyn PluginMeter>>,
}

/// A response whose headers are there, with what it needs until its end.
struct Open {
    response: Response<Incoming>,
    _connection: OwnedTask,
    _share: Share,
}

/// A connection, encrypted or not.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl Exchange {
    /// Sends the request, tells `outcome` how the response begins, and passes its body on.
    pub(super) async fn run(mut self, outcome: oneshot::Sender<Outcome>) {
        let deadline = Instant::now() + limits::HTTP_TOTAL_TIMEOUT;
        let begun = timeout_at(deadline, self.begin()).await.unwrap_or(Err(ErrorCode::HttpResponseTimeout));
        let mut open = match begun {
            Ok(open) => open,
            Err(error) => {
                // The guest may be gone.
                let _unread = outcome.send(Err(error));
                return;
            }
        };
        let (sender, parts) = mpsc::channel(limits::HTTP_PARTS_BUFFERED_MAX);
        let head = ResponseHead {
            status: open.response.status().as_u16(),
            headers: std::mem::take(open.response.headers_mut()),
            parts,
        };
        if outcome.send(Ok(head)).is_err() {
            return;
        }
        if timeout_at(deadline, self.pass_on(open.response.body_mut(), &sender)).await.is_err() {
            let _full = sender.try_send(Err(ErrorCode::HttpResponseTimeout));
        }
    }

    /// Sends the request and waits for the headers of the response.
    async fn begin(&mut self) -> Result<Open, ErrorCode> {
        let whole = match self.body.take() {
            // A body that was dropped before its end must not look like a shorter one.
            Some(source) => Some(source.await.map_err(|_| ErrorCode::HttpProtocolError)?),
            None => None,
        };
        let body = whole.as_ref().map_or_else(Bytes::new, |whole| whole.bytes.clone());
        self.check_length(&body)?;
        self.check_secrets(&body)?;
        count_of_host(self.meter.as_ref(), "http_requests", 1);
        count_of_host(self.meter.as_ref(), "http_sent_bytes", body.len() as u64);
        let share = self.client.share(self.permissions.tenant.tenant()).await?;
        let socket = self.socket(&share, &body).await?;
        let mut builder = http1::Builder::new();
        let bytes = limits::HTTP_RESPONSE_HEADER_BYTES_MAX;
        builder.max_buf_size(bytes).max_header_size(bytes).max_headers(limits::HTTP_HEADER_NAMES_MAX);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(socket)).await.map_err(|error| of_hyper(&error))?;
        // Its errors also come out of the response.
        let connection = tokio::spawn(async move { drop(connection.await) });
        let connection = OwnedTask(connection.abort_handle());
        let answered = timeout(self.options.first_byte, sender.send_request(self.request(body)?)).await;
        let response = answered.map_err(|_| ErrorCode::HttpResponseTimeout)?.map_err(|error| of_hyper(&error))?;
        self.check_head(&response)?;
        Ok(Open { response, _connection: connection, _share: share })
    }

    /// # Errors
    /// `HttpRequestDenied` if the body contains a secret.
    fn check_secrets(&self, body: &Bytes) -> Result<(), ErrorCode> {
        match self.secrets.as_ref().and_then(|secrets| secrets.scanner.find(body)) {
            Some(name) => {
                self.log.write("warn", &format!("a request is refused: its body contains the secret \"{name}\""));
                Err(ErrorCode::HttpRequestDenied)
            }
            None => Ok(()),
        }
    }

    /// # Errors
    /// An error if the headers contain a secret, or the body cannot be searched for one.
    fn check_head(&self, response: &Response<Incoming>) -> Result<(), ErrorCode> {
        let Some(secrets) = &self.secrets else { return Ok(()) };
        let headers = response.headers();
        let find = |bytes: &[u8]| secrets.scanner.find(bytes).map(str::to_owned);
        let found =
            headers.iter().find_map(|(name, value)| find(name.as_str().as_bytes()).or_else(|| find(value.as_bytes())));
        if let Some(name) = found {
            return Err(self.revealed(&name));
        }
        let other = |name: header::HeaderName, plain: &[u8]| {
            let is_plain = |value: &&HeaderValue| value.as_bytes().eq_ignore_ascii_case(plain);
            let value = headers.get_all(name).iter().find(|value| !is_plain(value))?;
            Some(value.to_str().ok().map(str::to_owned))
        };
        if let Some(coding) = other(header::CONTENT_ENCODING, b"identity") {
            return Err(ErrorCode::HttpResponseContentCoding(coding));
        }
        match other(header::TRANSFER_ENCODING, b"chunked") {
            Some(coding) => Err(ErrorCode::HttpResponseTransferCoding(coding)),
            None => Ok(()),
        }
    }

    /// The error of a response that contains the secret `name`.
    fn revealed(&self, name: &str) -> ErrorCode {
        self.log.write("warn", &format!("a response is refused: it contains the secret \"{name}\""));
        ErrorCode::InternalError(Some("the response contains a secret, and is not passed on".to_owned()))
    }

    /// # Errors
    /// `HttpRequestBodySize` if the body has another length than its header says, or the call has sent enough.
    fn check_length(&self, body: &Bytes) -> Result<(), ErrorCode> {
        let said = self.headers.get_all(header::CONTENT_LENGTH);
        let is_same = |value: &HeaderValue| value.to_str().is_ok_and(|text| text == body.len().to_string());
        if !said.iter().all(is_same) || !self.call.bytes(body.len()) {
            return Err(ErrorCode::HttpRequestBodySize(Some(body.len() as u64)));
        }
        Ok(())
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, ErrorCode> {
        let mut headers = self.headers.clone();
        // The host writes these two from what it has checked.
        headers.remove(header::CONTENT_LENGTH);
        let host = HeaderValue::from_str(&self.target.authority()).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
        headers.insert(header::HOST, host);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.clone().into();
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// A connection to the host, or to what stands in for it.
    async fn socket(&self, share: &Share, body: &Bytes) -> Result<Box<dyn Socket>, ErrorCode> {
        if let Some(stand_in) = &self.client.stand_in {
            let scheme = if self.target.is_https { "https" } else { "http" };
            let sent = SentRequest {
                method: self.method.as_str(),
                url: format!("{scheme}://{}{}", self.target.authority(), self.path),
                headers: self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
                body,
            };
            return Ok(Box::new(stand_in::connect(&**stand_in, &sent)?));
        }
        let connected = timeout(self.options.connect, self.connect(share)).await;
        connected.map_err(|_| ErrorCode::ConnectionTimeout)?
    }

    /// Connects to the first address of the host that answers and that the guest may reach.
    async fn connect(&self, share: &Share) -> Result<Box<dyn Socket>, ErrorCode> {
        let HttpTarget { host, port, is_https, .. } = &self.target;
        let found = self.client.addresses(host, *port, share).await?;
        let allowed = found.iter().filter(|address| self.permissions.allow_address(&self.target, address.ip()));
        let mut last = Err(ErrorCode::DestinationIpProhibited);
        for address in allowed.take(limits::HTTP_CONNECT_ATTEMPTS_MAX) {
            last = TcpStream::connect(address).await.map_err(|error| of_connect(&error));
            if last.is_ok() {
                break;
            }
        }
        if matches!(last, Err(ErrorCode::DestinationIpProhibited)) {
            // The address itself stays with the operator.
            self.log.write(
                "warn",
                &format!(
                    "denied http:{}: its host has a private address; the operator adds \" at ADDRESS\" or \
                     \" at NETWORK\" to the rule to allow it",
                    self.target
                ),
            );
        }
        let socket = last?;
        // Small requests go out at once; without that they are only later.
        let _delayed = socket.set_nodelay(true);
        if !is_https {
            return Ok(Box::new(socket));
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
        let tls = self.client.tls().await?;
        Ok(Box::new(tls.connect(name, socket).await.map_err(|error| of_tls(&error))?))
    }

    /// Passes the body on in parts, as fast as the guest reads it.
    async fn pass_on(&self, body: &mut Incoming, parts: &mpsc::Sender<BodyPart>) {
        let (mut total, mut scan) = (0, PartScan::default());
        loop {
            let next = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
            let part = match timeout(self.options.between_bytes, next).await {
                Err(_) => Err(ErrorCode::ConnectionReadTimeout),
                Ok(None) => {
                    let rest = scan.finish();
                    if !rest.is_empty() && parts.send(Ok(Some(rest))).await.is_err() {
                        return;
                    }
                    Ok(None)
                }
                Ok(Some(Err(error))) => Err(of_hyper(&error)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => {
                        match self.count(&mut total, bytes).and_then(|bytes| self.searched(&mut scan, bytes)) {
                            Ok(bytes) if bytes.is_empty() => continue,
                            searched => searched.map(Some),
                        }
                    }
                    // Trailers are not kept.
                    Err(_) => continue,
                },
            };
            let is_last = !matches!(part, Ok(Some(_)));
            if parts.send(part).await.is_err() || is_last {
                return;
            }
        }
    }

    /// The part of a body that has no secret.
    fn searched(&self, scan: &mut PartScan, bytes: Bytes) -> Result<Bytes, ErrorCode> {
        match &self.secrets {
            None => Ok(bytes),
            Some(secrets) => scan.push(&secrets.scanner, &bytes).map_err(|found| self.revealed(&found.0)),
        }
    }

    /// # Errors
    /// `HttpResponseBodySize` if the body, or all bodies of the call, are too large.
    fn count(&self, total: &mut u64, bytes: Bytes) -> Result<Bytes, ErrorCode> {
        *total += bytes.len() as u64;
        count_of_host(self.meter.as_ref(), "http_received_bytes", bytes.len() as u64);
        if *total > limits::HTTP_RESPONSE_BODY_BYTES_MAX || !self.call.bytes(bytes.len()) {
            return Err(ErrorCode::HttpResponseBodySize(Some(limits::HTTP_RESPONSE_BODY_BYTES_MAX)));
        }
        Ok(bytes)
    }
}

fn of_connect(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
        io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
        _ => ErrorCode::DestinationUnavailable,
    }
}

fn of_tls(error: &io::Error) -> ErrorCode {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
        _ => ErrorCode::TlsProtocolError,
    }
}

fn of_hyper(error: &hyper::Error) -> ErrorCode {
    if error.is_parse_too_large() {
        return ErrorCode::HttpResponseHeaderSectionSize(None);
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let is_cut = source.is_some_and(|source| source.kind() == io::ErrorKind::UnexpectedEof);
    if error.is_incomplete_message() || is_cut {
        return ErrorCode::HttpResponseIncomplete;
    }
    if error.is_canceled() || error.is_closed() {
        ErrorCode::ConnectionTerminated
    } else {
        ErrorCode::HttpProtocolError
    }
}

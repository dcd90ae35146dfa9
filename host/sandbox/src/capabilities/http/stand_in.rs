//! Answers in place of the network, for the tests of plugins. An answer comes through a connection in memory, so that the
//! checks and limits of every response apply to it too.

use std::fmt::Write as _;

use bytes::BytesMut;
use firebox_contract::limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::bindings::wasi::http::types::{DnsErrorPayload, ErrorCode};

/// A request as the server would see it, after every check of the host.
#[derive(Debug)]
pub struct SentRequest<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The address with scheme and query. The host is in lower case, and the scheme's own port is left out.
    pub url: String,
    /// The headers of the plugin: names in lower case, and values.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The body.
    pub body: &'a [u8],
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandInAnswer {
    /// A response.
    Response {
        /// The status, from 200 to 599.
        status: u16,
        /// Names and values of headers; the length of the body is added.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// No response.
    Failure(HttpFailure),
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFailure {
    /// The name of the host is not known.
    UnknownHost,
    /// The host takes no connection.
    Refused,
    /// The certificate of the host is not valid.
    Certificate,
    /// The host does not answer in time. The plugin learns that at once.
    Timeout,
    /// The connection ends before the answer.
    Cut,
}

/// Answers requests in place of the network.
pub trait HttpStandIn: Send + Sync {
    /// The answer to `request`. It must not block.
    fn answer(&self, request: &SentRequest<'_>) -> StandInAnswer;
}

/// A connection on whose other side is the answer of `stand_in` to `request`.
///
/// # Errors
/// The error of a request without an answer.
pub(super) fn connect(stand_in: &dyn HttpStandIn, request: &SentRequest<'_>) -> Result<DuplexStream, ErrorCode> {
    let answer = match stand_in.answer(request) {
        StandInAnswer::Response { status, headers, body } => response(request.method, status, &headers, body),
        StandInAnswer::Failure(failure) => match failure {
            HttpFailure::UnknownHost => {
                return Err(ErrorCode::DnsError(DnsErrorPayload { rcode: None, info_code: None }));
            }
            HttpFailure::Refused => return Err(ErrorCode::ConnectionRefused),
            HttpFailure::Certificate => return Err(ErrorCode::TlsCertificateError),
            HttpFailure::Timeout => return Err(ErrorCode::HttpResponseTimeout),
            HttpFailure::Cut => Vec::new(),
        },
    };
    let (near, far) = tokio::io::duplex(limits::HTTP_STAND_IN_BUFFER_BYTES);
    tokio::spawn(serve(far, request.body.len(), answer));
    Ok(near)
}

/// Reads a request with a body of `length` bytes, writes the answer and closes the connection.
async fn serve(mut connection: DuplexStream, length: usize, answer: Vec<u8>) {
    let mut read = BytesMut::new();
    let is_whole = |read: &[u8]| {
        let head = read.windows(4).position(|end| end == b"\r\n\r\n");
        head.is_some_and(|head| read.len() >= head + 4 + length)
    };
    while !is_whole(&read) {
        match connection.read_buf(&mut read).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
    // The plugin may be gone.
    let _unread = connection.write_all(&answer).await;
    let _unread = connection.shutdown().await;
}

/// The bytes of a response to a request with `method`.
fn response(method: &str, status: u16, headers: &[(String, String)], body: Vec<u8>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} \r\nconnection: close\r\n");
    // Writing to a string cannot fail.
    for (name, value) in headers {
        let _infallible = write!(head, "{name}: {value}\r\n");
    }
    let has_body = !matches!(status, 204 | 304);
    if has_body {
        let _infallible = write!(head, "content-length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if has_body && method != "HEAD" {
        bytes.extend(body);
    }
    bytes
}

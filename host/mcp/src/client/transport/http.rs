//! Transports over HTTP: streamable HTTP, and the older HTTP+SSE transport.

mod answers;
mod backend;
mod events;
mod failure;
mod legacy_sse;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::Duration;

use firebox_contract::limits::{MCP_CLIENT_BACKOFF_MAX, MCP_CLIENT_CALLS_MAX, MCP_CLIENT_LINE_BYTES_MAX};
use http::{HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};

pub(in crate::client) use self::backend::{HttpBackend, HttpFailure};
pub(in crate::client) use self::legacy_sse::open as open_legacy_sse;
use crate::McpError;
use crate::client::spec::{HttpServer, ServerSpec};
use crate::client::transport::CloseReason;
use crate::client::wire::Exchange;

/// Maximum redirects of a request, all on the same server.
const REDIRECTS_MAX: usize = 3;

/// Headers that the protocol sets, so the operator may not.
const OWN_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

/// Checks the URL and the headers of a server.
///
/// # Errors
/// The first problem.
pub(in crate::client) fn check(server: &HttpServer) -> Result<(), String> {
    let url = Url::parse(&server.url).map_err(|error| format!("\"{}\" is not a URL: {error}", server.url))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("\"{}\" does not start with http:// or https:// and a host", server.url));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its URL contains a user or password; use an authorization header instead".to_owned());
    }
    headers(server).map(drop)
}

/// The query of a URL.
pub(in crate::client) fn query(url: &str) -> Option<String> {
    Url::parse(url).ok()?.query().filter(|query| !query.is_empty()).map(str::to_owned)
}

fn headers(server: &HttpServer) -> Result<HashMap<HeaderName, HeaderValue>, String> {
    let mut headers = HashMap::new();
    for (name, value) in &server.headers {
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("\"{name}\" is not a valid header name"))?;
        if OWN_HEADERS.contains(&parsed.as_str()) {
            return Err(format!("the header \"{name}\" is set by the protocol and cannot be configured"));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| format!("the value of header \"{name}\" has characters that headers cannot have"))?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

/// A streamable HTTP transport to `server`. It sends nothing before the handshake.
///
/// # Errors
/// `McpError::Connect` if the HTTP client cannot be created.
pub(in crate::client) fn open(
    spec: &ServerSpec,
    server: &HttpServer,
    close_reason: &Arc<CloseReason>,
    exchange: &Arc<Exchange>,
    probe: Duration,
) -> Result<StreamableHttpClientTransport<HttpBackend>, McpError> {
    let failed = |reason: String| McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) };
    let headers = headers(server).map_err(failed)?;
    let client = client(&server.url, spec.connect_timeout).map_err(|error| failed(chain(&error)))?;
    let (exchange, close_reason) = (Arc::clone(exchange), Arc::clone(close_reason));
    let backend =
        HttpBackend { client, exchange, close_reason, probe, no_event_stream: Arc::new(AtomicBool::new(false)) };
    let mut config = StreamableHttpClientTransportConfig::with_uri(server.url.as_str())
        .custom_headers(headers)
        .max_concurrent_requests(MCP_CLIENT_CALLS_MAX)
        .max_sse_event_size(MCP_CLIENT_LINE_BYTES_MAX)
        .max_json_response_size(MCP_CLIENT_LINE_BYTES_MAX);
    let mut retries = rmcp::transport::common::client_side_sse::ExponentialBackoff::default();
    retries.max_delay = Some(MCP_CLIENT_BACKOFF_MAX);
    config.retry_config = Arc::new(retries);
    Ok(StreamableHttpClientTransport::with_client(backend, config))
}

fn client(url: &str, connect_timeout: Duration) -> Result<Client, reqwest::Error> {
    static PROVIDER: Once = Once::new();
    // Fails if the process already has a provider, which works as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = Client::builder()
        .connect_timeout(connect_timeout)
        // The backend follows redirects on the same server. The HTTP library would turn a POST into a GET.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("firebox/", env!("CARGO_PKG_VERSION")));
    let local = Url::parse(url).ok().and_then(|url| url.host_str().map(is_local)).unwrap_or(false);
    if local { builder.no_proxy().build() } else { builder.build() }
}

/// The message of a transport error, and whether the server answered at all. `None` for errors of the library itself.
pub(in crate::client) fn describe(error: &(dyn std::error::Error + 'static)) -> Option<(String, bool)> {
    let failure = match error.downcast_ref::<StreamableHttpError<HttpFailure>>() {
        Some(StreamableHttpError::Client(failure)) => failure,
        Some(StreamableHttpError::SessionExpired) => {
            return Some(("it has forgotten the session, also the new one".to_owned(), true));
        }
        Some(StreamableHttpError::ReinitializationFailed(error)) => {
            return Some((format!("it has forgotten the session and refuses a new one: {}", error.message), true));
        }
        Some(StreamableHttpError::TransportChannelClosed) => {
            return Some(("it closed the connection".to_owned(), false));
        }
        _ => error.downcast_ref::<HttpFailure>()?,
    };
    Some((failure.message.clone(), failure.answered))
}

fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An error with its causes, which have the details.
pub(in crate::client) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

//! HTTP requests for rmcp's transport, which manages sessions and resumes streams. Answers of every status and kind become
//! messages, or an error that says what the server did.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firebox_contract::limits::{MCP_CLIENT_ERROR_BODY_BYTES_MAX, MCP_CLIENT_LINE_BYTES_MAX};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::{Client, RequestBuilder, Response, Url};
use rmcp::model::{ClientJsonRpcMessage, RequestId};
use rmcp::transport::common::http_header::{HEADER_LAST_EVENT_ID, HEADER_SESSION_ID};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use serde_json::Value;
use sse_stream::Sse;
use tokio::time::{Instant, timeout};

use super::answers::{self, EventSource};
use super::events::EventStreamReader;
use super::{REDIRECTS_MAX, chain, failure};
use crate::client::transport::CloseReason;
use crate::client::wire::{Exchange, MessageReader, RequestKind, UNREADABLE, error_answer, request_of};

/// A failed HTTP request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(in crate::client) struct HttpFailure {
    /// The reason, and the remedy.
    pub(in crate::client) message: String,
    /// Whether the server answered at all.
    pub(in crate::client) answered: bool,
}

impl HttpFailure {
    pub(super) fn answered(message: String) -> Self {
        Self { message, answered: true }
    }

    pub(super) fn unanswered(error: &reqwest::Error) -> Self {
        let what = if error.is_connect() { "cannot be reached" } else { "did not answer with HTTP" };
        Self { message: format!("it {what}: {}", innermost(error)), answered: false }
    }
}

/// The innermost cause of an error, without the text that libraries add.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let message = cause.to_string();
    message.split_once(" (os error").map_or(message.clone(), |(message, _)| message.to_owned())
}

pub(super) type TransportError = StreamableHttpError<HttpFailure>;
type EventStream = BoxStream<'static, Result<Sse, SseError>>;

/// The HTTP client of one connection.
#[derive(Clone)]
pub(in crate::client) struct HttpBackend {
    pub(super) client: Client,
    pub(super) exchange: Arc<Exchange>,
    pub(super) close_reason: Arc<CloseReason>,
    pub(super) probe: Duration,
    /// Set if the server offers no event stream of its own.
    pub(super) no_event_stream: Arc<AtomicBool>,
}

impl StreamableHttpClient for HttpBackend {
    type Error = HttpFailure;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, TransportError> {
        let own = request_of(&message);
        let post =
            PostRequest { uri: &uri, message: &message, session: session_id.as_deref(), headers: &custom_headers };
        // An old server may never answer an unknown method, and the next message waits for this answer.
        match own.clone().filter(|(_, asked)| *asked == RequestKind::Discover) {
            Some((id, _)) => match timeout(self.probe, self.post(post, own)).await {
                Ok(answer) => answer,
                Err(_) => Ok(single(error_answer(&id, UNREADABLE, "it did not answer \"server/discover\""), None)),
            },
            None => self.post(post, own).await,
        }
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
        _limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, TransportError> {
        // The host uses its own constant limits.
        self.post_message(uri, message, session_id, auth_header, custom_headers).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), TransportError> {
        let request = self.client.delete(uri.as_ref()).header(HEADER_SESSION_ID, session_id.as_ref());
        // If the server cannot end the session, the session expires.
        drop(with(request, &custom_headers).send().await);
        Ok(())
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<EventStream, TransportError> {
        let mut request = self.client.get(uri.as_ref()).header(ACCEPT, "text/event-stream");
        if let Some(session) = session_id {
            request = request.header(HEADER_SESSION_ID, session.as_ref());
        }
        if let Some(id) = &last_event_id {
            request = request.header(HEADER_LAST_EVENT_ID, id);
        }
        let own = last_event_id.as_deref().and_then(|id| self.exchange.resumed(id));
        let response = with(request, &custom_headers).send().await;
        let response = response.map_err(|error| StreamableHttpError::Client(HttpFailure::unanswered(&error)))?;
        if response.status().is_success() && content_type(response.headers()).contains("event-stream") {
            return Ok(self.events(response, own, None));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let Some((id, _)) = own else {
            self.no_event_stream.store(true, Ordering::Relaxed);
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        };
        let what = failure::failure(status, &headers, &beginning(response).await);
        let what = format!("its event stream ended before the answer and could not be resumed: {what}");
        self.exchange.take(&id);
        Ok(stream::iter([Ok(Sse::default().data(error_answer(&id, UNREADABLE, &what).to_string()))]).boxed())
    }
}

/// A message to send.
struct PostRequest<'a> {
    uri: &'a str,
    message: &'a ClientJsonRpcMessage,
    session: Option<&'a str>,
    headers: &'a HashMap<HeaderName, HeaderValue>,
}

impl HttpBackend {
    async fn post(
        &self,
        post: PostRequest<'_>,
        own: Option<(RequestId, RequestKind)>,
    ) -> Result<StreamableHttpPostResponse, TransportError> {
        let body = serde_json::to_vec(post.message).map_err(StreamableHttpError::Deserialize)?;
        let response = self.send(&post, body).await.map_err(StreamableHttpError::Client)?;
        let session =
            response.headers().get(HEADER_SESSION_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status();
        if !status.is_success() {
            return self.refused(response, post.session.is_some(), own, session).await;
        }
        let Some(request) = own else {
            // A notification has no answer.
            return Ok(StreamableHttpPostResponse::Accepted);
        };
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            return self.accepted(status, post.session, &request);
        }
        if content_type(response.headers()).contains("event-stream") {
            let deadline = (request.1 == RequestKind::Discover).then(|| Instant::now() + self.probe);
            return Ok(StreamableHttpPostResponse::Sse(self.events(response, Some(request), deadline), session));
        }
        let body = match whole(response).await {
            Ok(body) => body,
            Err(what) => return Ok(single(error_answer(&request.0, UNREADABLE, &what), session)),
        };
        Ok(self.body(status, &body, &request, session))
    }

    /// Sends a message, and follows redirects on the same server by sending it again.
    async fn send(&self, post: &PostRequest<'_>, body: Vec<u8>) -> Result<Response, HttpFailure> {
        let mut url = Url::parse(post.uri).map_err(|error| HttpFailure::answered(error.to_string()))?;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client.post(url.clone()).header(ACCEPT, "application/json, text/event-stream");
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            if let Some(session) = post.session {
                request = request.header(HEADER_SESSION_ID, session);
            }
            let response = with(request, post.headers).send().await.map_err(|error| HttpFailure::unanswered(&error))?;
            match redirected(&url, &response) {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(HttpFailure::answered(format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    /// Handles a status that accepts a request without an answer.
    fn accepted(
        &self,
        status: StatusCode,
        session: Option<&str>,
        (id, _): &(RequestId, RequestKind),
    ) -> Result<StreamableHttpPostResponse, TransportError> {
        let status = failure::status_line(status);
        if session.is_some() && !self.no_event_stream.load(Ordering::Relaxed) {
            self.exchange
                .warn(format!("it answered with {status} only; the answer must come over its own event stream"));
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        self.exchange.take(id);
        let what = format!("it answered with {status}, which holds no answer, and has no event stream for one");
        Ok(single(error_answer(id, UNREADABLE, &what), None))
    }

    async fn refused(
        &self,
        response: Response,
        in_session: bool,
        own: Option<(RequestId, RequestKind)>,
        session: Option<String>,
    ) -> Result<StreamableHttpPostResponse, TransportError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = beginning(response).await;
        let gone = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
            // The examples of the protocol's SDKs answer this way.
            || (status == StatusCode::BAD_REQUEST && body.to_lowercase().contains("session"));
        if in_session && gone {
            return Err(StreamableHttpError::SessionExpired);
        }
        let what = failure::failure(status, &headers, &body);
        let is_unauthorized = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let Some((id, asked)) = own else {
            if is_unauthorized {
                return Err(StreamableHttpError::Client(HttpFailure::answered(what)));
            }
            self.exchange.warn(format!("it refused a notification: {what}"));
            return Ok(StreamableHttpPostResponse::Accepted);
        };
        if asked == RequestKind::Initialize {
            self.exchange.note_status(status.as_u16());
        }
        let error =
            serde_json::from_str::<Value>(&body).ok().filter(|body| body.get("error").is_some_and(Value::is_object));
        if let Some(mut error) = error.filter(|_| !is_unauthorized) {
            // Its id is often missing or null. An answer to this HTTP request is for this message.
            error["id"] = serde_json::json!(id);
            let own = (id, asked);
            let reader = MessageReader { exchange: &self.exchange, own: Some(&own) };
            if let Some(message) = reader.read(error.to_string().as_bytes()).pop() {
                return Ok(single(with_status(message, status), session));
            }
            return Err(StreamableHttpError::Client(HttpFailure::answered(what)));
        }
        self.exchange.take(&id);
        if asked == RequestKind::Discover && status.is_client_error() && !is_unauthorized {
            return Ok(single(error_answer(&id, UNREADABLE, &what), None));
        }
        Err(StreamableHttpError::Client(HttpFailure::answered(what)))
    }

    /// Reads a body that is not declared as an event stream.
    fn body(
        &self,
        status: StatusCode,
        body: &[u8],
        request: &(RequestId, RequestKind),
        session: Option<String>,
    ) -> StreamableHttpPostResponse {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let looks_like_events = ["data:", "event:", "id:", "retry:", ":"].iter().any(|field| text.starts_with(field));
        if looks_like_events {
            let bytes = bytes::Bytes::copy_from_slice(body);
            let events = EventStreamReader::new(stream::iter([Ok(bytes)]).boxed());
            return StreamableHttpPostResponse::Sse(self.stream(events, Some(request.clone()), None), session);
        }
        if !text.starts_with(['{', '[']) {
            self.exchange.take(&request.0);
            let what = format!("it answered with {} and {}", failure::status_line(status), failure::kind(text));
            return single(error_answer(&request.0, UNREADABLE, &what), session);
        }
        let started = Instant::now();
        let mut messages = MessageReader { exchange: &self.exchange, own: Some(request) }.read(body);
        if !messages.iter().any(|message| answers::is_for(message, &request.0)) {
            self.exchange.take(&request.0);
            let why = self.exchange.warnings().since(started).map(|why| format!(": {why}")).unwrap_or_default();
            messages.push(error_answer(
                &request.0,
                UNREADABLE,
                &format!("its HTTP answer holds no answer to this request{why}"),
            ));
        }
        if messages.len() == 1
            && let Some(message) = messages.pop()
        {
            return single(message, session);
        }
        let events = messages.into_iter().map(|message| Ok(Sse::default().data(message.to_string())));
        StreamableHttpPostResponse::Sse(stream::iter(events.collect::<Vec<_>>()).boxed(), session)
    }

    fn events(
        &self,
        response: Response,
        own: Option<(RequestId, RequestKind)>,
        deadline: Option<Instant>,
    ) -> EventStream {
        self.stream(EventStreamReader::new(response.bytes_stream().boxed()), own, deadline)
    }

    fn stream(
        &self,
        events: EventStreamReader,
        own: Option<(RequestId, RequestKind)>,
        deadline: Option<Instant>,
    ) -> EventStream {
        let (exchange, close_reason) = (Arc::clone(&self.exchange), Arc::clone(&self.close_reason));
        answers::stream(EventSource { events, exchange, close_reason, own, deadline })
    }
}

/// One message as the whole answer.
fn single(message: Value, session: Option<String>) -> StreamableHttpPostResponse {
    match serde_json::from_value(message.clone()) {
        Ok(message) => StreamableHttpPostResponse::Json(message, session),
        // Cannot happen, because the message was made for rmcp. As an event it would be read by the same rules.
        Err(_) => {
            let event = Ok(Sse::default().data(message.to_string()));
            StreamableHttpPostResponse::Sse(stream::iter([event]).boxed(), session)
        }
    }
}

/// The server's error with the HTTP status in front of its message.
fn with_status(mut message: Value, status: StatusCode) -> Value {
    if let Some(Value::String(text)) = message.pointer_mut("/error/message") {
        *text = format!("{}: {text}", failure::status_line(status));
    }
    message
}

pub(super) fn with(mut request: RequestBuilder, headers: &HashMap<HeaderName, HeaderValue>) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

fn redirected(url: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
        return None;
    }
    let next = url.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    // Headers may contain secrets, so they are sent only to this server.
    (next.origin() == url.origin()).then_some(next)
}

pub(super) fn content_type(headers: &HeaderMap) -> String {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_lowercase()
}

/// The start of a body that explains an error.
pub(super) async fn beginning(response: Response) -> String {
    let mut bytes = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(Ok(more)) = bytes.next().await {
        body.extend_from_slice(&more[..more.len().min(MCP_CLIENT_ERROR_BODY_BYTES_MAX - body.len())]);
        if body.len() == MCP_CLIENT_ERROR_BODY_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// The whole body.
///
/// # Errors
/// The reason, if it is too long or cannot be read.
async fn whole(response: Response) -> Result<Vec<u8>, String> {
    let long = || format!("its answer has more than {MCP_CLIENT_LINE_BYTES_MAX} bytes");
    if response.content_length().is_some_and(|length| length > MCP_CLIENT_LINE_BYTES_MAX as u64) {
        return Err(long());
    }
    let mut bytes = response.bytes_stream();
    let mut body = Vec::new();
    while let Some(more) = bytes.next().await {
        let more = more.map_err(|error| format!("its answer broke off: {}", chain(&error.without_url())))?;
        if body.len() + more.len() > MCP_CLIENT_LINE_BYTES_MAX {
            return Err(long());
        }
        body.extend_from_slice(&more);
    }
    Ok(body)
}

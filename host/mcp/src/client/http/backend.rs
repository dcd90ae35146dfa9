//! One HTTP exchange after the other for rmcp's transport, which keeps sessions and resumes streams: here answers of every
//! status and kind become messages, or an error that says what the server did.

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

use super::super::transport::Fate;
use super::super::wire::{Asked, Exchange, Reader, SAID, fault, request_of};
use super::answers::{self, Source};
use super::events::Events;
use super::{REDIRECTS_MAX, chain, words};

/// An HTTP request that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(in crate::client) struct HttpFailure {
    /// What happened, and the remedy.
    pub(in crate::client) words: String,
    /// Whether the server answered at all.
    pub(in crate::client) answered: bool,
}

impl HttpFailure {
    pub(super) fn said(words: String) -> Self {
        Self { words, answered: true }
    }

    pub(super) fn silent(error: &reqwest::Error) -> Self {
        let what = if error.is_connect() { "cannot be reached" } else { "did not answer as HTTP does" };
        Self { words: format!("it {what}: {}", innermost(error)), answered: false }
    }
}

/// The cause of an error without the names that libraries give to what they did.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let words = cause.to_string();
    words.split_once(" (os error").map_or(words.clone(), |(words, _)| words.to_owned())
}

pub(super) type Failed = StreamableHttpError<HttpFailure>;
type EventStream = BoxStream<'static, Result<Sse, SseError>>;

/// The client of one connection.
#[derive(Clone)]
pub(in crate::client) struct Backend {
    pub(super) client: Client,
    pub(super) exchange: Arc<Exchange>,
    pub(super) fate: Arc<Fate>,
    pub(super) probe: Duration,
    /// The server has no stream of its own accord.
    pub(super) deaf: Arc<AtomicBool>,
}

impl StreamableHttpClient for Backend {
    type Error = HttpFailure;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let own = request_of(&message);
        let post = Post { uri: &uri, message: &message, session: session_id.as_deref(), headers: &custom_headers };
        // An old server may never answer what it does not know, and this holds up what comes after it.
        match own.clone().filter(|(_, asked)| *asked == Asked::Discover) {
            Some((id, _)) => match timeout(self.probe, self.post(post, own)).await {
                Ok(answer) => answer,
                Err(_) => Ok(single(fault(&id, SAID, "it did not answer \"server/discover\""), None)),
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
    ) -> Result<StreamableHttpPostResponse, Failed> {
        // The limits are this host's own, and constant.
        self.post_message(uri, message, session_id, auth_header, custom_headers).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let request = self.client.delete(uri.as_ref()).header(HEADER_SESSION_ID, session_id.as_ref());
        // A server that cannot forget a session forgets it in time.
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
    ) -> Result<EventStream, Failed> {
        let mut request = self.client.get(uri.as_ref()).header(ACCEPT, "text/event-stream");
        if let Some(session) = session_id {
            request = request.header(HEADER_SESSION_ID, session.as_ref());
        }
        if let Some(id) = &last_event_id {
            request = request.header(HEADER_LAST_EVENT_ID, id);
        }
        let own = last_event_id.as_deref().and_then(|id| self.exchange.resumed(id));
        let response = with(request, &custom_headers).send().await;
        let response = response.map_err(|error| StreamableHttpError::Client(HttpFailure::silent(&error)))?;
        if response.status().is_success() && content_type(response.headers()).contains("event-stream") {
            return Ok(self.events(response, own, None));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let Some((id, _)) = own else {
            self.deaf.store(true, Ordering::Relaxed);
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        };
        let what = words::failure(status, &headers, &beginning(response).await);
        let what = format!("its event stream ended before the answer and could not be resumed: {what}");
        self.exchange.take(&id);
        Ok(stream::iter([Ok(Sse::default().data(fault(&id, SAID, &what).to_string()))]).boxed())
    }
}

/// What is sent.
struct Post<'a> {
    uri: &'a str,
    message: &'a ClientJsonRpcMessage,
    session: Option<&'a str>,
    headers: &'a HashMap<HeaderName, HeaderValue>,
}

impl Backend {
    async fn post(
        &self,
        post: Post<'_>,
        own: Option<(RequestId, Asked)>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let body = serde_json::to_vec(post.message).map_err(StreamableHttpError::Deserialize)?;
        let response = self.send(&post, body).await.map_err(StreamableHttpError::Client)?;
        let session =
            response.headers().get(HEADER_SESSION_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status();
        if !status.is_success() {
            return self.refused(response, post.session.is_some(), own, session).await;
        }
        let Some(request) = own else {
            // Nothing in the answer matters to what asks nothing.
            return Ok(StreamableHttpPostResponse::Accepted);
        };
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            return self.accepted(status, post.session, &request);
        }
        if content_type(response.headers()).contains("event-stream") {
            let deadline = (request.1 == Asked::Discover).then(|| Instant::now() + self.probe);
            return Ok(StreamableHttpPostResponse::Sse(self.events(response, Some(request), deadline), session));
        }
        let body = match whole(response).await {
            Ok(body) => body,
            Err(what) => return Ok(single(fault(&request.0, SAID, &what), session)),
        };
        Ok(self.body(status, &body, &request, session))
    }

    /// Sends, and follows redirects on the same server: what is posted is posted again.
    async fn send(&self, post: &Post<'_>, body: Vec<u8>) -> Result<Response, HttpFailure> {
        let mut url = Url::parse(post.uri).map_err(|error| HttpFailure::said(error.to_string()))?;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client.post(url.clone()).header(ACCEPT, "application/json, text/event-stream");
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            if let Some(session) = post.session {
                request = request.header(HEADER_SESSION_ID, session);
            }
            let response = with(request, post.headers).send().await.map_err(|error| HttpFailure::silent(&error))?;
            match redirected(&url, &response) {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(HttpFailure::said(format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    /// A request that the server took without answering it.
    fn accepted(
        &self,
        status: StatusCode,
        session: Option<&str>,
        (id, _): &(RequestId, Asked),
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let status = words::status_line(status);
        if session.is_some() && !self.deaf.load(Ordering::Relaxed) {
            self.exchange
                .remark(format!("it answered with {status} alone; the answer must come over its own event stream"));
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        self.exchange.take(id);
        let what = format!("it answered with {status}, which holds no answer, and has no event stream for one");
        Ok(single(fault(id, SAID, &what), None))
    }

    async fn refused(
        &self,
        response: Response,
        in_session: bool,
        own: Option<(RequestId, Asked)>,
        session: Option<String>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = beginning(response).await;
        let gone = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
            // The examples of the protocol's own kits say it this way.
            || (status == StatusCode::BAD_REQUEST && body.to_lowercase().contains("session"));
        if in_session && gone {
            return Err(StreamableHttpError::SessionExpired);
        }
        let what = words::failure(status, &headers, &body);
        let barred = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let Some((id, asked)) = own else {
            if barred {
                return Err(StreamableHttpError::Client(HttpFailure::said(what)));
            }
            self.exchange.remark(format!("it refused a notification: {what}"));
            return Ok(StreamableHttpPostResponse::Accepted);
        };
        if asked == Asked::Initialize {
            self.exchange.note_status(status.as_u16());
        }
        let error =
            serde_json::from_str::<Value>(&body).ok().filter(|body| body.get("error").is_some_and(Value::is_object));
        if let Some(mut error) = error.filter(|_| !barred) {
            // Its id is often missing or null: what answers this request is for this request.
            error["id"] = serde_json::json!(id);
            let own = (id, asked);
            let reader = Reader { exchange: &self.exchange, own: Some(&own) };
            if let Some(message) = reader.read(error.to_string().as_bytes()).pop() {
                return Ok(single(with_status(message, status), session));
            }
            return Err(StreamableHttpError::Client(HttpFailure::said(what)));
        }
        self.exchange.take(&id);
        if asked == Asked::Discover && status.is_client_error() && !barred {
            return Ok(single(fault(&id, SAID, &what), None));
        }
        Err(StreamableHttpError::Client(HttpFailure::said(what)))
    }

    /// A body that is no stream of events, or does not say so.
    fn body(
        &self,
        status: StatusCode,
        body: &[u8],
        request: &(RequestId, Asked),
        session: Option<String>,
    ) -> StreamableHttpPostResponse {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let looks_like_events = ["data:", "event:", "id:", "retry:", ":"].iter().any(|field| text.starts_with(field));
        if looks_like_events {
            let bytes = bytes::Bytes::copy_from_slice(body);
            let events = Events::new(stream::iter([Ok(bytes)]).boxed());
            return StreamableHttpPostResponse::Sse(self.stream(events, Some(request.clone()), None), session);
        }
        if !text.starts_with(['{', '[']) {
            self.exchange.take(&request.0);
            let what = format!("it answered with {} and {}", words::status_line(status), words::kind(text));
            return single(fault(&request.0, SAID, &what), session);
        }
        let started = Instant::now();
        let mut messages = Reader { exchange: &self.exchange, own: Some(request) }.read(body);
        if !messages.iter().any(|message| answers::is_for(message, &request.0)) {
            self.exchange.take(&request.0);
            let why = self.exchange.remarks().since(started).map(|why| format!(": {why}")).unwrap_or_default();
            messages.push(fault(&request.0, SAID, &format!("its HTTP answer holds no answer to this request{why}")));
        }
        if messages.len() == 1
            && let Some(message) = messages.pop()
        {
            return single(message, session);
        }
        let events = messages.into_iter().map(|message| Ok(Sse::default().data(message.to_string())));
        StreamableHttpPostResponse::Sse(stream::iter(events.collect::<Vec<_>>()).boxed(), session)
    }

    fn events(&self, response: Response, own: Option<(RequestId, Asked)>, deadline: Option<Instant>) -> EventStream {
        self.stream(Events::new(response.bytes_stream().boxed()), own, deadline)
    }

    fn stream(&self, events: Events, own: Option<(RequestId, Asked)>, deadline: Option<Instant>) -> EventStream {
        let (exchange, fate) = (Arc::clone(&self.exchange), Arc::clone(&self.fate));
        answers::stream(Source { events, exchange, fate, own, deadline })
    }
}

/// One message as the whole answer.
fn single(message: Value, session: Option<String>) -> StreamableHttpPostResponse {
    match serde_json::from_value(message.clone()) {
        Ok(message) => StreamableHttpPostResponse::Json(message, session),
        // Never: messages are made to be read. As an event it would be read by the same rules.
        Err(_) => {
            let event = Ok(Sse::default().data(message.to_string()));
            StreamableHttpPostResponse::Sse(stream::iter([event]).boxed(), session)
        }
    }
}

/// The server's own error with the status it came with.
fn with_status(mut message: Value, status: StatusCode) -> Value {
    if let Some(Value::String(words)) = message.pointer_mut("/error/message") {
        *words = format!("{}: {words}", words::status_line(status));
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
    // Headers may carry secrets: they go to nobody else.
    (next.origin() == url.origin()).then_some(next)
}

pub(super) fn content_type(headers: &HeaderMap) -> String {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_lowercase()
}

/// The beginning of a body that only explains something.
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

/// A whole body.
///
/// # Errors
/// What happened in its place.
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

//! The HTTP+SSE transport of revision 2024-11-05: an event stream names the URL that messages are posted to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use firebox_contract::limits::{MCP_CLIENT_CALLS_MAX, MCP_CLIENT_ENDPOINT_WAIT};
use futures_util::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use reqwest::{Client, Url};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::backend::{HttpFailure, beginning, content_type, with};
use super::events::{EventStreamReader, StreamEnd};
use super::{chain, client, failure, headers};
use crate::McpError;
use crate::client::spec::{HttpServer, ServerSpec};
use crate::client::transport::CloseReason;
use crate::client::wire::{Exchange, MessageReader, RequestKind, request_of};

/// A connection over HTTP+SSE.
pub(in crate::client) struct LegacySseTransport {
    client: Client,
    endpoint: Url,
    headers: HashMap<HeaderName, HeaderValue>,
    events: Option<EventStreamReader>,
    messages: VecDeque<RxJsonRpcMessage<RoleClient>>,
    /// Answers that came in the response to a POST instead of over the event stream.
    posted: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
    exchange: Arc<Exchange>,
    close_reason: Arc<CloseReason>,
}

/// Opens the event stream and waits for the URL for messages.
///
/// # Errors
/// `McpError::Connect` if the stream or the URL is missing.
pub(in crate::client) async fn open(
    spec: &ServerSpec,
    server: &HttpServer,
    close_reason: &Arc<CloseReason>,
    exchange: &Arc<Exchange>,
) -> Result<LegacySseTransport, McpError> {
    let failed = |reason: String| McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) };
    let headers = headers(server).map_err(failed)?;
    let client = client(&server.url, spec.connect_timeout).map_err(|error| failed(chain(&error)))?;
    let request = with(client.get(&server.url).header(ACCEPT, "text/event-stream"), &headers);
    let response = request.send().await.map_err(|error| failed(HttpFailure::unanswered(&error).message))?;
    let (status, url) = (response.status(), response.url().clone());
    if !status.is_success() || !content_type(response.headers()).contains("event-stream") {
        let answer = response.headers().clone();
        let body = beginning(response).await;
        let success = || format!("it answered with {} and {}", failure::status_line(status), failure::kind(&body));
        let what = if status.is_success() { success() } else { failure::failure(status, &answer, &body) };
        return Err(failed(what));
    }
    let mut events = EventStreamReader::new(response.bytes_stream().boxed());
    let endpoint = match timeout(MCP_CLIENT_ENDPOINT_WAIT, endpoint(&mut events, &url)).await {
        Ok(endpoint) => endpoint.map_err(failed)?,
        Err(_) => return Err(failed("its event stream names no URL for messages".to_owned())),
    };
    let (exchange, close_reason) = (Arc::clone(exchange), Arc::clone(close_reason));
    let posted = mpsc::channel(MCP_CLIENT_CALLS_MAX);
    let (events, messages) = (Some(events), VecDeque::new());
    Ok(LegacySseTransport { client, endpoint, headers, events, messages, posted, exchange, close_reason })
}

async fn endpoint(events: &mut EventStreamReader, url: &Url) -> Result<Url, String> {
    loop {
        let event =
            events.next().await.map_err(|_| "its event stream ended before it named a URL for messages".to_owned())?;
        if event.name != "endpoint" {
            continue;
        }
        let named = event.data.unwrap_or_default();
        let endpoint =
            url.join(named.trim()).map_err(|_| "the URL for messages that it names is not valid".to_owned())?;
        // Headers may contain secrets, so they are sent only to this server.
        if endpoint.origin() != url.origin() {
            let host = endpoint.host_str().unwrap_or_default();
            return Err(format!("it names a URL for messages on another server, \"{host}\", which is not allowed"));
        }
        return Ok(endpoint);
    }
}

impl Transport<RoleClient> for LegacySseTransport {
    type Error = HttpFailure;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let request = self.client.post(self.endpoint.clone()).header(CONTENT_TYPE, "application/json");
        let request = with(request.header(ACCEPT, "application/json, text/event-stream"), &self.headers);
        let (asks, exchange) = (request_of(&item), Arc::clone(&self.exchange));
        let posted = self.posted.0.clone();
        async move {
            let body = serde_json::to_vec(&item).map_err(|error| HttpFailure::answered(error.to_string()))?;
            let response = request.body(body).send().await.map_err(|error| HttpFailure::unanswered(&error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            if status.is_success() {
                if asks.is_some() && content_type(&headers).contains("json") {
                    let body = beginning(response).await;
                    if body.trim_start().starts_with('{') {
                        // Fails only if the connection has ended.
                        drop(posted.send(body.into_bytes()).await);
                    }
                }
                return Ok(());
            }
            let what = failure::failure(status, &headers, &beginning(response).await);
            match asks {
                Some((id, asked)) => {
                    exchange.take(&id);
                    if asked == RequestKind::Initialize {
                        exchange.note_status(status.as_u16());
                    }
                    Err(HttpFailure::answered(what))
                }
                None => {
                    exchange.warn(format!("it refused a notification: {what}"));
                    Ok(())
                }
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Some(message);
            }
            let events = self.events.as_mut()?;
            let data = tokio::select! {
                event = events.next() => match event {
                    Ok(event) => event.data.filter(|_| matches!(event.name.as_str(), "" | "message")).map(String::into_bytes),
                    Err(ended) => {
                        self.end(ended);
                        return None;
                    }
                },
                body = self.posted.1.recv() => body,
            };
            if let Some(data) = data {
                self.messages.extend(MessageReader { exchange: &self.exchange, own: None }.typed(&data));
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.events = None;
        Ok(())
    }
}

impl LegacySseTransport {
    fn end(&self, ended: StreamEnd) {
        match ended {
            StreamEnd::Closed => self.close_reason.set_reason("its event stream ended".to_owned()),
            StreamEnd::Broken(why) => self.close_reason.set_reason(format!("its event stream broke off: {why}")),
            StreamEnd::Flooded(why) => self.close_reason.flood(why),
        }
    }
}

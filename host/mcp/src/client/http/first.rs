//! The HTTP transport of revision 2024-11-05: a stream of events that names an address, to which messages are posted.

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

use super::super::spec::{HttpServer, ServerSpec};
use super::super::transport::Fate;
use super::super::wire::{Asked, Exchange, Reader, request_of};
use super::backend::{HttpFailure, beginning, content_type, with};
use super::events::{Ended, Events};
use super::{chain, client, headers, words};
use crate::McpError;

/// A connection of that kind.
pub(in crate::client) struct FirstTransport {
    client: Client,
    endpoint: Url,
    headers: HashMap<HeaderName, HeaderValue>,
    events: Option<Events>,
    messages: VecDeque<RxJsonRpcMessage<RoleClient>>,
    /// Answers that came in the place of a mere receipt.
    posted: (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
    exchange: Arc<Exchange>,
    fate: Arc<Fate>,
}

/// Opens the stream and waits for the address.
///
/// # Errors
/// Why there is none.
pub(in crate::client) async fn open(
    spec: &ServerSpec,
    server: &HttpServer,
    fate: &Arc<Fate>,
    exchange: &Arc<Exchange>,
) -> Result<FirstTransport, McpError> {
    let failed = |reason: String| McpError::Connect { server: spec.name.clone(), reason: spec.redact(&reason) };
    let headers = headers(server).map_err(failed)?;
    let client = client(&server.url, spec.connect_timeout).map_err(|error| failed(chain(&error)))?;
    let request = with(client.get(&server.url).header(ACCEPT, "text/event-stream"), &headers);
    let response = request.send().await.map_err(|error| failed(HttpFailure::silent(&error).words))?;
    let (status, url) = (response.status(), response.url().clone());
    if !status.is_success() || !content_type(response.headers()).contains("event-stream") {
        let answer = response.headers().clone();
        let body = beginning(response).await;
        let success = || format!("it answered with {} and {}", words::status_line(status), words::kind(&body));
        let what = if status.is_success() { success() } else { words::failure(status, &answer, &body) };
        return Err(failed(what));
    }
    let mut events = Events::new(response.bytes_stream().boxed());
    let endpoint = match timeout(MCP_CLIENT_ENDPOINT_WAIT, endpoint(&mut events, &url)).await {
        Ok(endpoint) => endpoint.map_err(failed)?,
        Err(_) => return Err(failed("its event stream names no address for messages".to_owned())),
    };
    let (exchange, fate) = (Arc::clone(exchange), Arc::clone(fate));
    let posted = mpsc::channel(MCP_CLIENT_CALLS_MAX);
    let (events, messages) = (Some(events), VecDeque::new());
    Ok(FirstTransport { client, endpoint, headers, events, messages, posted, exchange, fate })
}

async fn endpoint(events: &mut Events, url: &Url) -> Result<Url, String> {
    loop {
        let event = events.next().await.map_err(|_| "its event stream ended before it named an address".to_owned())?;
        if event.name != "endpoint" {
            continue;
        }
        let said = event.data.unwrap_or_default();
        let endpoint =
            url.join(said.trim()).map_err(|_| "the address for messages that it names is none".to_owned())?;
        // Headers may carry secrets: they go to nobody else.
        if endpoint.origin() != url.origin() {
            let host = endpoint.host_str().unwrap_or_default();
            return Err(format!("it wants messages sent to another server, \"{host}\", which is not done"));
        }
        return Ok(endpoint);
    }
}

impl Transport<RoleClient> for FirstTransport {
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
            let body = serde_json::to_vec(&item).map_err(|error| HttpFailure::said(error.to_string()))?;
            let response = request.body(body).send().await.map_err(|error| HttpFailure::silent(&error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            if status.is_success() {
                if asks.is_some() && content_type(&headers).contains("json") {
                    let body = beginning(response).await;
                    if body.trim_start().starts_with('{') {
                        // Nobody reads any more only where the connection is over.
                        drop(posted.send(body.into_bytes()).await);
                    }
                }
                return Ok(());
            }
            let what = words::failure(status, &headers, &beginning(response).await);
            match asks {
                Some((id, asked)) => {
                    exchange.take(&id);
                    if asked == Asked::Initialize {
                        exchange.note_status(status.as_u16());
                    }
                    Err(HttpFailure::said(what))
                }
                None => {
                    exchange.remark(format!("it refused a notification: {what}"));
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
                self.messages.extend(Reader { exchange: &self.exchange, own: None }.typed(&data));
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.events = None;
        Ok(())
    }
}

impl FirstTransport {
    fn end(&self, ended: Ended) {
        match ended {
            Ended::Closed => self.fate.explain("its event stream ended".to_owned()),
            Ended::Broken(why) => self.fate.explain(format!("its event stream broke off: {why}")),
            Ended::Flooded(why) => self.fate.flood(why),
        }
    }
}

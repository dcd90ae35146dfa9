//! The messages of one event stream. If the stream ends without the answer that it should carry, an error takes its place.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rmcp::model::RequestId;
use rmcp::transport::streamable_http_client::SseError;
use serde_json::{Value, json};
use sse_stream::Sse;
use tokio::time::{Instant, sleep_until};

use super::events::{EventStreamReader, SseEvent, StreamEnd};
use crate::client::transport::CloseReason;
use crate::client::wire::{CONNECTION_LOST, Exchange, MessageReader, RequestKind, UNREADABLE, error_answer};

/// Whether a message answers the request with this id.
pub(super) fn is_for(message: &Value, id: &RequestId) -> bool {
    message.get("method").is_none() && message.get("id") == Some(&json!(id))
}

/// An event stream and the request that it answers.
pub(super) struct EventSource {
    pub(super) events: EventStreamReader,
    pub(super) exchange: Arc<Exchange>,
    pub(super) close_reason: Arc<CloseReason>,
    /// The request whose answer the stream should carry.
    pub(super) own: Option<(RequestId, RequestKind)>,
    /// The time by which the answer must arrive.
    pub(super) deadline: Option<Instant>,
}

/// The state of reading a stream.
struct AnswerStream {
    source: EventSource,
    ready: VecDeque<Sse>,
    last_id: Option<String>,
    answered: bool,
    over: bool,
}

/// The events as rmcp reads them. Each event has one message in the form that rmcp accepts, or no message.
pub(super) fn stream(source: EventSource) -> BoxStream<'static, Result<Sse, SseError>> {
    let run = AnswerStream { source, ready: VecDeque::new(), last_id: None, answered: false, over: false };
    stream::unfold(run, async |mut run| {
        loop {
            if let Some(event) = run.ready.pop_front() {
                return Some((Ok(event), run));
            }
            if run.over {
                return None;
            }
            let deadline = run.source.deadline.filter(|_| !run.answered);
            tokio::select! {
                next = run.source.events.next() => match next {
                    Ok(event) => run.take(event),
                    Err(ended) => run.end(ended),
                },
                () = deadline_passed(deadline) => {
                    run.over = true;
                    run.fail(UNREADABLE, "it did not answer in time");
                }
            }
        }
    })
    .boxed()
}

async fn deadline_passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl AnswerStream {
    fn take(&mut self, event: SseEvent) {
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        let empty = || Sse { event: None, data: None, id: event.id.clone(), retry: event.retry };
        let reader = MessageReader { exchange: &self.source.exchange, own: self.source.own.as_ref() };
        let named = matches!(event.name.as_str(), "" | "message");
        let data = event.data.as_deref().unwrap_or_default();
        // An event with another name is usually a keep-alive, but some servers send messages in it.
        let messages = if named || is_message(data) { reader.read(data.as_bytes()) } else { Vec::new() };
        for message in &messages {
            self.answered |= self.source.own.as_ref().is_some_and(|(id, _)| is_for(message, id));
        }
        if messages.is_empty() {
            self.ready.push_back(empty());
        }
        self.ready.extend(messages.into_iter().map(|message| empty().data(message.to_string())));
    }

    fn end(&mut self, ended: StreamEnd) {
        self.over = true;
        let (mark, message) = match ended {
            StreamEnd::Closed => (CONNECTION_LOST, "its event stream ended before the answer".to_owned()),
            StreamEnd::Broken(why) => (CONNECTION_LOST, format!("its event stream broke off before the answer: {why}")),
            StreamEnd::Flooded(why) => {
                if !why.contains("message of more than") {
                    self.source.close_reason.flood(why.clone());
                    self.source.close_reason.close("it sends too much");
                }
                return self.fail(UNREADABLE, &why);
            }
        };
        if self.answered {
            return;
        }
        if let (Some(own), Some(id)) = (&self.source.own, &self.last_id) {
            // A stream with event ids can be resumed after the last one.
            self.source.exchange.resumes(id.clone(), own.clone());
            self.source.exchange.warn(format!("{message}; the host asks it to resume after its event \"{id}\""));
            return;
        }
        self.fail(mark, &message);
    }

    fn fail(&mut self, mark: &str, message: &str) {
        if let Some((id, _)) = self.source.own.as_ref().filter(|_| !self.answered) {
            self.source.exchange.take(id);
            self.answered = true;
            self.ready.push_back(Sse::default().data(error_answer(id, mark, message).to_string()));
        }
    }
}

/// Whether the data of an event with another name is a message.
fn is_message(data: &str) -> bool {
    data.trim_start().starts_with('{') && data.contains("\"jsonrpc\"")
}

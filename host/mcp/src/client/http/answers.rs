//! The messages of one stream of events. A stream that ends without the answer it is for says so in its place.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rmcp::model::RequestId;
use rmcp::transport::streamable_http_client::SseError;
use serde_json::{Value, json};
use sse_stream::Sse;
use tokio::time::{Instant, sleep_until};

use super::super::transport::Fate;
use super::super::wire::{Asked, Exchange, LOST, Reader, SAID, fault};
use super::events::{Ended, Event, Events};

/// Whether a message answers the request of this id.
pub(super) fn is_for(message: &Value, id: &RequestId) -> bool {
    message.get("method").is_none() && message.get("id") == Some(&json!(id))
}

/// Where the events come from, and what for.
pub(super) struct Source {
    pub(super) events: Events,
    pub(super) exchange: Arc<Exchange>,
    pub(super) fate: Arc<Fate>,
    /// The request whose answer the stream carries.
    pub(super) own: Option<(RequestId, Asked)>,
    /// When the answer must be there.
    pub(super) deadline: Option<Instant>,
}

struct Run {
    source: Source,
    ready: VecDeque<Sse>,
    last_id: Option<String>,
    answered: bool,
    over: bool,
}

/// The events as rmcp reads them: each holds one message in its exact form, or none.
pub(super) fn stream(source: Source) -> BoxStream<'static, Result<Sse, SseError>> {
    let run = Run { source, ready: VecDeque::new(), last_id: None, answered: false, over: false };
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
                () = late(deadline) => {
                    run.over = true;
                    run.fail(SAID, "it did not answer in time");
                }
            }
        }
    })
    .boxed()
}

async fn late(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Run {
    fn take(&mut self, event: Event) {
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        let empty = || Sse { event: None, data: None, id: event.id.clone(), retry: event.retry };
        let reader = Reader { exchange: &self.source.exchange, own: self.source.own.as_ref() };
        let named = matches!(event.name.as_str(), "" | "message");
        let data = event.data.as_deref().unwrap_or_default();
        // What has another name keeps the connection alive, or is a message all the same.
        let messages = if named || is_message(data) { reader.read(data.as_bytes()) } else { Vec::new() };
        for message in &messages {
            self.answered |= self.source.own.as_ref().is_some_and(|(id, _)| is_for(message, id));
        }
        if messages.is_empty() {
            self.ready.push_back(empty());
        }
        self.ready.extend(messages.into_iter().map(|message| empty().data(message.to_string())));
    }

    fn end(&mut self, ended: Ended) {
        self.over = true;
        let (mark, words) = match ended {
            Ended::Closed => (LOST, "its event stream ended before the answer".to_owned()),
            Ended::Broken(why) => (LOST, format!("its event stream broke off before the answer: {why}")),
            Ended::Flooded(why) => {
                if !why.contains("message of more than") {
                    self.source.fate.flood(why.clone());
                    self.source.fate.seal("it floods");
                }
                return self.fail(SAID, &why);
            }
        };
        if self.answered {
            return;
        }
        if let (Some(own), Some(id)) = (&self.source.own, &self.last_id) {
            // What has ids goes on after the last of them.
            self.source.exchange.resumes(id.clone(), own.clone());
            self.source.exchange.remark(format!("{words}; it is asked to go on after its event \"{id}\""));
            return;
        }
        self.fail(mark, &words);
    }

    fn fail(&mut self, mark: &str, words: &str) {
        if let Some((id, _)) = self.source.own.as_ref().filter(|_| !self.answered) {
            self.source.exchange.take(id);
            self.answered = true;
            self.ready.push_back(Sse::default().data(fault(id, mark, words).to_string()));
        }
    }
}

/// Whether an event of another name holds a message.
fn is_message(data: &str) -> bool {
    data.trim_start().starts_with('{') && data.contains("\"jsonrpc\"")
}

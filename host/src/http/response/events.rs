//! Completions on the wire: a whole JSON answer, or server-sent events in chunks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use firebox_contract::{TokenLogprobs, Usage, limits};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream, SelectAll, select_all, unfold};
use serde::Serialize;
use serde_json::Value;

use super::answer::{Answer, AnswerEnd, AnswerPart, PendingAnswer};
use super::failure::Failure;
use super::{json, logprobs, wire};
use crate::http::request::CompletionKind;

impl CompletionKind {
    /// The common fields of an answer. Its id follows from the request's.
    pub(in crate::http) fn head(self, model: &str, request_id: &str, stream: bool) -> wire::CompletionHead {
        let (prefix, object) = match (self, stream) {
            (Self::Chat, false) => ("chatcmpl", "chat.completion"),
            (Self::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Self::Text, _) => ("cmpl", "text_completion"),
        };
        let id = format!("{prefix}-{}", request_id.trim_start_matches("req_"));
        wire::CompletionHead { id, object, created: wire::unix_seconds(SystemTime::now()), model: model.to_owned() }
    }
}

/// Waits for all answers.
///
/// # Errors
/// The first failure of an answer.
pub(in crate::http) async fn whole(
    first: Answer,
    later: Vec<PendingAnswer>,
    kind: CompletionKind,
    head: wire::CompletionHead,
) -> Result<Response<Body>, Failure> {
    let later = later.into_iter().map(|start| async move { collect(start.await?).await });
    let (first, later) = futures_util::try_join!(collect(first), try_join_all(later))?;
    let all: Vec<WholeAnswer> = std::iter::once(first).chain(later).collect();
    let usage = Some(Some(total(all.iter().map(|answer| answer.usage)).into()));
    let firebox = Some(details(all.iter().map(|answer| answer.firebox.clone()).collect()));
    let answers = all.into_iter().enumerate();
    match kind {
        CompletionKind::Text => {
            let choices = answers.map(|(index, answer)| answer.into_text(index)).collect();
            json(&wire::CompletionObject { head: &head, choices, usage, firebox })
        }
        CompletionKind::Chat => {
            let choices = answers.map(|(index, answer)| answer.into_chat(index)).collect();
            json(&wire::CompletionObject { head: &head, choices, usage, firebox })
        }
    }
}

/// The tokens of all answers. They share one prompt.
fn total(answers: impl Iterator<Item = Usage>) -> Usage {
    answers
        .reduce(|total, one| Usage {
            completion_tokens: total.completion_tokens + one.completion_tokens,
            reasoning_tokens: total.reasoning_tokens + one.reasoning_tokens,
            ..total
        })
        .unwrap_or_default()
}

/// The `firebox` object of one answer, or of several ones as a list.
fn details(mut all: Vec<Value>) -> Value {
    if all.len() == 1 { all.remove(0) } else { serde_json::json!({ "choices": all }) }
}

/// An answer that is not streamed.
#[derive(Default)]
struct WholeAnswer {
    reasoning: String,
    text: String,
    logprobs: Vec<TokenLogprobs>,
    tool_calls: Vec<wire::ClientToolCall>,
    finish_reason: &'static str,
    usage: Usage,
    firebox: Value,
}

async fn collect(mut answer: Answer) -> Result<WholeAnswer, Failure> {
    let mut all = WholeAnswer::default();
    while let Some(part) = answer.next().await? {
        match part {
            AnswerPart::Reasoning(more) => all.reasoning.push_str(&more),
            AnswerPart::Text(more) => all.text.push_str(&more),
            AnswerPart::Logprobs(scored) => all.logprobs.push(scored),
            AnswerPart::ClientToolCalls(calls) => {
                // An index belongs to a stream.
                all.tool_calls.extend(calls.into_iter().map(wire::ClientToolCall::without_index));
            }
            AnswerPart::Event(_) => {}
            AnswerPart::End(end) => {
                let AnswerEnd { reason, usage, firebox } = end;
                return Ok(WholeAnswer { finish_reason: wire::finish_reason(reason), usage, firebox, ..all });
            }
        }
    }
    Err(firebox_contract::Error::Internal("the answer ended without a last part".to_owned()).into())
}

impl WholeAnswer {
    fn into_text(self, index: usize) -> wire::TextChoice {
        let logprobs = (!self.logprobs.is_empty()).then(|| logprobs::text(&self.logprobs, &mut 0));
        wire::TextChoice { index, text: self.text, logprobs, finish_reason: Some(self.finish_reason) }
    }

    fn into_chat(self, index: usize) -> wire::ChatChoice {
        let Self { reasoning, text, logprobs: scored, tool_calls, finish_reason, .. } = self;
        let logprobs = (!scored.is_empty()).then(|| logprobs::chat(&scored));
        let content = (!text.is_empty() || tool_calls.is_empty()).then_some(text);
        let reasoning_content = (!reasoning.is_empty()).then_some(reasoning);
        let message = wire::ChatMessage { role: "assistant", reasoning_content, content, refusal: None, tool_calls };
        wire::ChatChoice { index, message, logprobs, finish_reason }
    }
}

/// An event stream of the answers. The response begins at once; a later failure is its last event.
pub(in crate::http) fn events(
    first: Answer,
    later: Vec<PendingAnswer>,
    kind: CompletionKind,
    head: wire::CompletionHead,
    include_usage: bool,
    id: String,
) -> Response<Body> {
    let choices = (0..=later.len()).map(|_| StreamedChoice::default()).collect();
    let first: PendingAnswer = Box::pin(std::future::ready(Ok(first)));
    let parts = std::iter::once(first).chain(later).enumerate().map(|(index, start)| parts(index, start));
    let parts = select_all(parts.collect::<Vec<_>>());
    let mut out = EventStream { parts: Some(parts), kind, head, include_usage, id, queue: VecDeque::new(), choices };
    if kind == CompletionKind::Chat {
        for index in 0..out.choices.len() {
            let delta = wire::MessageDelta {
                role: Some("assistant"),
                content: Some(String::new()),
                ..wire::MessageDelta::default()
            };
            out.chat(index, delta, None, None);
        }
    }
    let stream = unfold(out, |mut out| async move { out.next().await.map(|event| (Ok::<_, Infallible>(event), out)) });
    let alive = KeepAlive::new().interval(limits::HTTP_KEEP_ALIVE_PERIOD).text("still here");
    let mut response = Sse::new(stream).keep_alive(alive).into_response();
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    response
}

/// The parts of one answer, each with the answer's index.
type IndexedParts = BoxStream<'static, (usize, Result<AnswerPart, Failure>)>;

fn parts(index: usize, start: PendingAnswer) -> IndexedParts {
    let parts = stream::once(start).flat_map(|started| match started {
        Ok(answer) => unfold(Some(answer), |answer| async move {
            let mut answer = answer?;
            match answer.next().await {
                Ok(part) => part.map(|part| (Ok(part), Some(answer))),
                Err(failure) => Some((Err(failure), None)),
            }
        })
        .boxed(),
        Err(failure) => stream::once(std::future::ready(Err(failure))).boxed(),
    });
    parts.map(move |part| (index, part)).boxed()
}

/// What a stream knows of one of its choices.
#[derive(Default)]
struct StreamedChoice {
    /// Probabilities that the next chunk with text will have.
    scored: Vec<TokenLogprobs>,
    /// Characters of the text so far.
    offset: usize,
    /// The usage, when the choice has ended.
    usage: Option<Usage>,
}

/// The state of an event stream.
struct EventStream {
    /// `None` after the end.
    parts: Option<SelectAll<IndexedParts>>,
    kind: CompletionKind,
    head: wire::CompletionHead,
    include_usage: bool,
    id: String,
    /// Events to send next.
    queue: VecDeque<Event>,
    choices: Vec<StreamedChoice>,
}

impl EventStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            match self.parts.as_mut()?.next().await {
                Some((index, Ok(part))) => self.push_part(index, part),
                None => self.parts = None,
                Some((_, Err(failure))) => {
                    tracing::warn!(request = %self.id, error = %failure, "a stream ended with an error");
                    self.push(&failure.body_for(&self.id));
                    self.parts = None;
                }
            }
        }
    }

    fn push_part(&mut self, index: usize, part: AnswerPart) {
        match part {
            AnswerPart::Reasoning(text) => {
                let delta = wire::MessageDelta { reasoning_content: Some(text), ..wire::MessageDelta::default() };
                self.chat(index, delta, None, None);
            }
            AnswerPart::Text(text) => self.text(index, text, None, None),
            AnswerPart::Logprobs(scored) => self.choices[index].scored.push(scored),
            AnswerPart::ClientToolCalls(calls) => {
                for call in calls {
                    let delta = wire::MessageDelta { tool_calls: vec![call], ..wire::MessageDelta::default() };
                    self.chat(index, delta, None, None);
                }
            }
            // With an empty delta: clients that ignore `firebox` see a chunk that adds nothing.
            AnswerPart::Event(event) => self.text(index, String::new(), None, Some(event)),
            AnswerPart::End(end) => self.end(index, end),
        }
    }

    fn end(&mut self, index: usize, end: AnswerEnd) {
        self.text(index, String::new(), Some(wire::finish_reason(end.reason)), Some(end.firebox));
        self.choices[index].usage = Some(end.usage);
        if self.choices.iter().any(|choice| choice.usage.is_none()) {
            return;
        }
        if self.include_usage {
            let head = self.head.clone();
            let usage = Some(Some(total(self.choices.iter().filter_map(|choice| choice.usage)).into()));
            self.push(&wire::CompletionObject::<Value> { head: &head, choices: Vec::new(), usage, firebox: None });
        }
        self.queue.push_back(Event::default().data("[DONE]"));
        self.parts = None;
    }

    fn text(&mut self, index: usize, text: String, finish_reason: Option<&'static str>, firebox: Option<Value>) {
        if self.kind == CompletionKind::Chat {
            let content = (!text.is_empty()).then_some(text);
            let delta = wire::MessageDelta { content, ..wire::MessageDelta::default() };
            return self.chat(index, delta, finish_reason, firebox);
        }
        let head = self.head.clone();
        let choice = &mut self.choices[index];
        let scored = std::mem::take(&mut choice.scored);
        let logprobs = (!scored.is_empty()).then(|| logprobs::text(&scored, &mut choice.offset));
        let choices = vec![wire::TextChoice { index, text, logprobs, finish_reason }];
        self.push(&wire::CompletionObject { head: &head, choices, usage: self.no_usage(), firebox });
    }

    fn chat(
        &mut self,
        index: usize,
        delta: wire::MessageDelta,
        finish_reason: Option<&'static str>,
        firebox: Option<Value>,
    ) {
        let head = self.head.clone();
        let scored = std::mem::take(&mut self.choices[index].scored);
        let logprobs = (!scored.is_empty()).then(|| logprobs::chat(&scored));
        let choices = vec![wire::ChatChunkChoice { index, delta, logprobs, finish_reason }];
        self.push(&wire::CompletionObject { head: &head, choices, usage: self.no_usage(), firebox });
    }

    /// `null` in all chunks before the last, if the client asked for the usage; else the field is missing.
    fn no_usage(&self) -> Option<Option<wire::UsageFields>> {
        self.include_usage.then_some(None)
    }

    fn push(&mut self, body: &impl Serialize) {
        // Serialization cannot fail: all keys are strings.
        if let Ok(text) = serde_json::to_string(body) {
            self.queue.push_back(Event::default().data(text));
        }
    }
}

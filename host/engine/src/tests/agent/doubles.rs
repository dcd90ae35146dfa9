//! A scripted tool source, a scripted approver and a recording gate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebox_contract::{
    Approval, Approver, BoxFuture, Caller, Decision, Error, Gate, Progress, RequestUsage, Reservation,
    SamplingOverrides, TextCodec, TextDecoder, TokenId, ToolCall, ToolDefinition, ToolOutcome, ToolSource,
};
use tokio::sync::Notify;

use super::tool;

/// A tool source with tools by name. The beginning or the end of a name decides what its call does.
#[derive(Default)]
pub(super) struct FakeToolSource {
    pub(super) tools: Vec<ToolDefinition>,
    /// `start NAME` and `end NAME`, in order of time.
    pub(super) log: Mutex<Vec<String>>,
    pub(super) running: AtomicUsize,
    pub(super) most: AtomicUsize,
    /// Calls that were dropped before their end.
    pub(super) cancelled: AtomicUsize,
    pub(super) go: Notify,
    /// Whether it never returns its list of tools.
    pub(super) silent: bool,
}

impl FakeToolSource {
    pub(super) fn of(names: &[&str]) -> Arc<Self> {
        Arc::new(Self { tools: names.iter().map(|name| tool(name, "{}")).collect(), ..Self::default() })
    }

    pub(super) fn with(tools: Vec<ToolDefinition>) -> Arc<Self> {
        Arc::new(Self { tools, ..Self::default() })
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().expect("lock").clone()
    }

    fn note(&self, what: &str, name: &str) {
        self.log.lock().expect("lock").push(format!("{what} {name}"));
    }
}

/// Counts a running call, and counts it as cancelled if it is dropped before its end.
struct RunningCallGuard<'a> {
    source: &'a FakeToolSource,
    done: bool,
}

impl Drop for RunningCallGuard<'_> {
    fn drop(&mut self) {
        self.source.running.fetch_sub(1, Ordering::SeqCst);
        if !self.done {
            self.source.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub(super) fn outcome(content: &str, is_error: bool) -> ToolOutcome {
    ToolOutcome { is_error, elapsed: Duration::from_micros(1), ..ToolOutcome::ok("source", content) }
}

impl ToolSource for FakeToolSource {
    fn tools<'a>(&'a self, _: &'a Caller) -> BoxFuture<'a, Vec<ToolDefinition>> {
        Box::pin(async move {
            if self.silent {
                std::future::pending::<()>().await;
            }
            self.tools.clone()
        })
    }

    fn call<'a>(
        &'a self,
        _: &'a Caller,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(async move {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            let mut guard = RunningCallGuard { source: self, done: false };
            self.note("start", &call.name);
            match call.name.rsplit('_').next().unwrap_or_default() {
                "hang" => std::future::pending::<()>().await,
                // Ends when a call named `goes` runs.
                "waits" => self.go.notified().await,
                "goes" => self.go.notify_one(),
                "progress" => {
                    progress.report(1.0, Some(3.0), Some("one third"));
                    self.go.notified().await;
                }
                "yields" => {
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                }
                _ => {}
            }
            guard.done = true;
            self.note("end", &call.name);
            match call.name.as_str() {
                "read_gone" => Err(Error::NotFound("no such tool".to_owned())),
                "read_broken" => Err(Error::Internal("the source broke".to_owned())),
                "read_error" => Ok(outcome("it went wrong", true)),
                "read_huge" => Ok(outcome(&"ä".repeat(100_000), false)),
                name => Ok(outcome(&format!("{name} did {}", call.arguments_json), false)),
            }
        })
    }

    fn timeout(&self, _: &str) -> Duration {
        Duration::from_millis(300)
    }

    fn revision(&self) -> u64 {
        0
    }

    fn changed(&self, _: u64) -> BoxFuture<'_, u64> {
        Box::pin(std::future::pending())
    }
}

/// An approver that gives `answer` when `go` is notified.
pub(super) struct ScriptedApprover {
    pub(super) answer: Approval,
    pub(super) asked: AtomicUsize,
    pub(super) go: Notify,
}

impl ScriptedApprover {
    pub(super) fn that_answers(answer: Approval) -> Arc<Self> {
        Arc::new(Self { answer, asked: AtomicUsize::new(0), go: Notify::new() })
    }
}

impl Approver for ScriptedApprover {
    fn approve<'a>(
        &'a self,
        _: &'a Caller,
        _: &'a str,
        _: &'a ToolCall,
        _: &'a ToolDefinition,
    ) -> BoxFuture<'a, Approval> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.go.notified().await;
            self.answer.clone()
        })
    }
}

/// Records all calls of a gate, and refuses above its limits.
#[derive(Default)]
pub(super) struct UsageRecorder {
    pub(super) refuse: bool,
    pub(super) tokens_max: Option<usize>,
    pub(super) calls_max: Option<usize>,
    pub(super) lines: Mutex<Vec<String>>,
}

impl UsageRecorder {
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("lock").clone()
    }

    pub(super) fn settled(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.starts_with("settle")).collect()
    }
}

struct RecordedReservation {
    recorder: Arc<UsageRecorder>,
    tokens: usize,
    calls: usize,
}

/// A gate that records into a [`UsageRecorder`].
pub(super) struct RecordingGate(pub(super) Arc<UsageRecorder>);

fn limited(resource: &str) -> Error {
    Error::Limited { message: format!("no {resource} left"), retry_after: Duration::from_secs(1) }
}

impl Gate for RecordingGate {
    fn admit(&self, caller: &Caller, model: &str, id: &str) -> Result<Box<dyn Reservation>, Error> {
        if self.0.refuse {
            return Err(limited("requests"));
        }
        self.0.lines.lock().expect("lock").push(format!("admit {} {model} {id}", caller.tenant));
        Ok(Box::new(RecordedReservation { recorder: Arc::clone(&self.0), tokens: 0, calls: 0 }))
    }
}

impl RecordedReservation {
    fn write(&self, line: String) {
        self.recorder.lines.lock().expect("lock").push(line);
    }
}

impl Reservation for RecordedReservation {
    fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        self.tokens += tokens;
        self.write(format!("reserve {tokens}"));
        if self.recorder.tokens_max.is_some_and(|max| self.tokens > max) { Err(limited("tokens")) } else { Ok(()) }
    }

    fn allow_call(&mut self, _: &ToolCall) -> Result<(), Error> {
        self.calls += 1;
        if self.recorder.calls_max.is_some_and(|max| self.calls > max) { Err(limited("tool calls")) } else { Ok(()) }
    }

    fn may_continue(&mut self, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        self.write(format!("called {} {} {}", call.id, decision.as_str(), outcome.is_error));
    }

    fn settle(&mut self, spent: &RequestUsage<'_>) {
        let (prompt, completion) = (spent.usage.prompt_tokens, spent.usage.completion_tokens);
        let fuel: u64 = spent.plugins.iter().map(|row| row.fuel).sum();
        let fuel = if fuel > 0 { format!(" fuel {fuel}") } else { String::new() };
        self.write(format!("settle {} {} {}{fuel}", spent.outcome, prompt > 0, completion > 0));
    }
}

/// A codec with a different chat template.
pub(super) struct CodecWithTemplate(pub(super) Arc<dyn TextCodec>, pub(super) &'static str);

impl TextCodec for CodecWithTemplate {
    fn encode_chat(&self, chat: firebox_contract::Chat<'_>) -> Result<Vec<TokenId>, Error> {
        self.0.encode_chat(chat)
    }

    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        self.0.encode_text(text)
    }

    fn decoder(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder> {
        self.0.decoder(prompt)
    }

    fn is_end(&self, token: TokenId) -> bool {
        self.0.is_end(token)
    }

    fn defaults(&self) -> &SamplingOverrides {
        self.0.defaults()
    }

    fn chat_template(&self) -> Option<&str> {
        Some(self.1)
    }
}

//! An encoder's thread with an encoder that a test holds and lets go, and settlement and plugins that say what they met.

mod embedding_stage;
mod fair_share;
mod prompt_stage;
mod settlement;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firebox_contract::{
    BoxFuture, Caller, Clock, Decision, Encoding, OpenGate, RequestUsage, TenantId, ToolCall, ToolOutcome,
};
use tokio::task::JoinHandle;

use super::*;

/// Longer than anything here takes on a slow machine.
const WAIT_MAX: Duration = Duration::from_secs(60);
const CONTEXT: usize = 512;
/// A step with a text that begins so is held until the test lets it go.
const HOLD: &str = "hold";

/// A clock on which only the encoder's work takes time.
#[derive(Default)]
struct WorkClock(Mutex<Duration>);

impl Clock for WorkClock {
    fn now(&self) -> Duration {
        *self.0.lock().expect("lock")
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// What the encoder was given.
#[derive(Debug, Clone, PartialEq)]
enum EncoderCall {
    Count(String),
    Step(Vec<String>),
}

/// A token a byte; a token of a step, padding included, takes a hundredth of a millisecond.
struct ScriptedEncoder {
    info: ModelInfo,
    profile: EncoderProfile,
    seen: Arc<Mutex<Vec<EncoderCall>>>,
    clock: Arc<WorkClock>,
    let_go: Receiver<()>,
}

impl ScriptedEncoder {
    fn see(&self, seen: EncoderCall, is_held: bool) {
        self.seen.lock().expect("lock").push(seen);
        if is_held {
            // A test that is over lets everything go.
            let _over = self.let_go.recv_timeout(WAIT_MAX);
        }
    }
}

impl Encoder for ScriptedEncoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn profile(&self) -> &EncoderProfile {
        &self.profile
    }

    fn count_tokens(&self, text: &EncoderText<'_>) -> Result<usize, Error> {
        let text = joined(text);
        let count = text.len();
        self.see(EncoderCall::Count(text.clone()), text.starts_with("hold count"));
        Ok(count)
    }

    fn encode(&mut self, texts: &[EncoderText<'_>]) -> Result<Vec<Encoding>, Error> {
        let tokens = |text: &EncoderText<'_>| joined(text).len().min(text.max_tokens.unwrap_or(CONTEXT)).min(CONTEXT);
        let owned: Vec<String> = texts.iter().map(joined).collect();
        self.see(EncoderCall::Step(owned.clone()), owned.iter().any(|text| text.starts_with(HOLD)));
        assert!(!owned.iter().any(|text| text == "panic"), "asked for");
        let padded = texts.iter().map(tokens).max().unwrap_or(0) * texts.len();
        *self.clock.0.lock().expect("lock") += Duration::from_micros(10) * padded as u32;
        let encoding =
            |text: &EncoderText<'_>| Encoding { embedding: vec![joined(text).len() as f32, 7.0], tokens: tokens(text) };
        Ok(texts.iter().map(encoding).collect())
    }
}

fn joined(text: &EncoderText<'_>) -> String {
    [text.prompt, text.text].concat()
}

/// What leaves texts and vectors as they are, but for the first number of each.
fn options(truncate: bool) -> TextOptions {
    let vector = VectorForm { dimensions: 1, normalize: false };
    TextOptions { prompt: String::new(), query: None, truncate, max_tokens: None, vector }
}

struct EncoderFixture {
    thread: Arc<EncoderThread>,
    seen: Arc<Mutex<Vec<EncoderCall>>>,
    clock: Arc<WorkClock>,
    /// Lets go what is held.
    let_go: Sender<()>,
}

impl EncoderFixture {
    async fn new() -> Self {
        let (seen, clock) = (Arc::<Mutex<Vec<EncoderCall>>>::default(), Arc::<WorkClock>::default());
        let (let_go, wait) = channel();
        let info = ModelInfo {
            name: "fake".to_owned(),
            architecture: "ScriptedEncoder".to_owned(),
            parameters: 0,
            context_tokens: CONTEXT,
            vocabulary: 1,
            device: "none".to_owned(),
            dtype: "f32",
            weights_bytes: 0,
        };
        let profile = EncoderProfile::plain(2);
        let fake = ScriptedEncoder { info, profile, seen: Arc::clone(&seen), clock: Arc::clone(&clock), let_go: wait };
        let factory: EncoderFactory = Box::new(move || Ok(Box::new(fake)));
        let thread = EncoderThread::start(factory, 64, Arc::clone(&clock) as Arc<dyn Clock>).await.expect("starts");
        Self { thread: Arc::new(thread), seen, clock, let_go }
    }

    /// Embeds `texts` on a task of its own, which has got as far as the encoder's queue when this returns.
    async fn send(&self, caller: &Caller, texts: Vec<String>, reservation: Box<dyn Reservation>) -> EmbedTask {
        let (thread, caller) = (Arc::clone(&self.thread), caller.clone());
        let task = tokio::spawn(async move {
            let request = EmbedRequest { id: "r".to_owned(), texts, options: options(true), timeout: WAIT_MAX };
            let admitted = thread.admit(&caller, request, reservation).await?;
            thread.embed(admitted, None, Vec::new()).await
        });
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        task
    }

    /// Waits until the encoder has seen what `done` wants.
    async fn until(&self, done: impl Fn(&[EncoderCall]) -> bool) {
        let begun = Instant::now();
        while !done(&self.seen()) {
            assert!(begun.elapsed() < WAIT_MAX, "{:?}", self.seen());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Holds the encoder in the middle of a step that is nobody's.
    async fn hold(&self) -> EmbedTask {
        let task = self.send(&caller("holder"), vec![HOLD.to_owned()], open()).await;
        self.until(|seen| !steps(seen).is_empty()).await;
        task
    }

    fn seen(&self) -> Vec<EncoderCall> {
        self.seen.lock().expect("lock").clone()
    }
}

type EmbedTask = JoinHandle<Result<Embeddings, Error>>;

fn steps(seen: &[EncoderCall]) -> Vec<&Vec<String>> {
    let mut steps = Vec::new();
    for seen in seen {
        if let EncoderCall::Step(texts) = seen {
            steps.push(texts);
        }
    }
    steps
}

fn caller(tenant: &str) -> Caller {
    Caller::of(TenantId::new(tenant))
}

fn open() -> Box<dyn Reservation> {
    Box::new(OpenGate)
}

/// So many texts of so many bytes, which begin with a letter that tells whose they are.
fn texts(whose: char, count: usize, bytes: usize) -> Vec<String> {
    let text = |number| format!("{whose}{number}").chars().chain(std::iter::repeat('.')).take(bytes).collect();
    (0..count).map(text).collect()
}

/// What an account was log.
#[derive(Clone, Default)]
struct ReservationLog {
    lines: Arc<Mutex<Vec<String>>>,
    /// Tokens that may be reserved.
    tokens_max: Option<usize>,
    /// How often the request may go on.
    goes_on_max: Option<usize>,
}

impl ReservationLog {
    fn reservation(&self) -> Box<dyn Reservation> {
        Box::new(self.clone())
    }

    fn write(&self, line: String) {
        self.lines.lock().expect("lock").push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("lock").clone()
    }

    /// The one line about its end.
    fn settled(&self) -> String {
        let mut lines = self.lines();
        lines.retain(|line| line.starts_with("settle"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }
}

impl Reservation for ReservationLog {
    fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        self.write(format!("reserve {tokens}"));
        match self.tokens_max.is_some_and(|max| tokens > max) {
            true => Err(Error::Limited { message: "too many tokens".to_owned(), retry_after: Duration::ZERO }),
            false => Ok(()),
        }
    }

    fn allow_call(&mut self, _: &ToolCall) -> Result<(), Error> {
        Ok(())
    }

    fn may_continue(&mut self, fuel: u64) -> Result<(), Error> {
        let before = self.lines().iter().filter(|line| line.starts_with("go on")).count();
        self.write(format!("go on {fuel}"));
        match self.goes_on_max.is_some_and(|max| before >= max) {
            true => Err(Error::Unauthorized("the key is gone".to_owned())),
            false => Ok(()),
        }
    }

    fn record_call(&mut self, _: &ToolCall, _: Decision, _: &ToolOutcome) {}

    fn settle(&mut self, spent: &RequestUsage<'_>) {
        let fuel: u64 = spent.plugins.iter().map(|plugin| plugin.fuel).sum();
        self.write(format!("settle {} {} {fuel}", spent.outcome, spent.usage.prompt_tokens));
    }
}

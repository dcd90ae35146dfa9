//! A scripted model with a cache budget. Its caches can be truncated and copied, and a test can pause and break it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use firebox_contract::{
    BoxFuture, CacheUse, Caller, Clock, Error, GrammarCompiler, LanguageModel, Logits, ModelInfo, SequenceId, Span,
    TenantId,
};

use super::fakes::{Plugins, Script, next_byte, options};
use crate::{Engine, EngineCounters, EngineOptions, Generation, Speculation};

const BLOCK_TOKENS: usize = 16;

/// What the model did, and switches for it.
#[derive(Default)]
pub(super) struct ModelProbe {
    state: Mutex<ProbeState>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct ProbeState {
    /// Steps wait while this is set.
    pub(super) paused: bool,
    /// For each step: the first letter of each sequence's question, and its number of tokens.
    pub(super) steps: Vec<Vec<(char, usize)>>,
    pub(super) threads: HashSet<ThreadId>,
    pub(super) alive: usize,
    pub(super) most_bytes: u64,
    pub(super) forks: usize,
    pub(super) truncations: usize,
    /// Spans for which there was no room.
    pub(super) out_of_room: usize,
    pub(super) loads: usize,
    /// Whether the next loads fail.
    pub(super) unloadable: bool,
}

impl ModelProbe {
    pub(super) fn state(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().expect("lock")
    }

    pub(super) fn pause(&self, paused: bool) {
        self.state().paused = paused;
        self.changed.notify_all();
    }

    /// Tokens computed so far.
    pub(super) fn computed(&self) -> usize {
        self.state().steps.iter().flatten().map(|(_, tokens)| tokens).sum()
    }

    /// Waits until `holds` is true.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&ProbeState) -> bool) {
        for _ in 0..5_000 {
            if holds(&self.state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never: {what}");
    }
}

/// How an engine and its model are made.
pub(super) struct EngineFixture {
    pub(super) script: Script,
    /// Budget of all caches together, in tokens; 0 for no budget.
    pub(super) budget: u64,
    pub(super) in_flight_max: usize,
    pub(super) chunk: usize,
    /// How many times faster than real time the clock runs.
    pub(super) speed: u32,
    pub(super) speculation: Speculation,
    pub(super) plugins: Plugins,
    /// The least time that a step takes.
    pub(super) step_time: Duration,
    pub(super) grammars: Option<Arc<dyn GrammarCompiler>>,
}

impl EngineFixture {
    pub(super) fn of(script: Script) -> Self {
        Self {
            script,
            budget: 4_096,
            in_flight_max: 8,
            chunk: 64,
            speed: 1,
            speculation: Speculation::Off,
            plugins: Plugins::default(),
            step_time: Duration::ZERO,
            grammars: None,
        }
    }

    pub(super) async fn engine(self) -> (Engine, Arc<ModelProbe>) {
        let probe = Arc::new(ModelProbe::default());
        let shared = Arc::clone(&probe);
        let (script, budget, step_time) = (self.script, self.budget, self.step_time);
        let factory = move || {
            let mut state = shared.state();
            state.loads += 1;
            if state.unloadable {
                return Err(Error::Model("the file is gone".to_owned()));
            }
            let (texts, probe) = (HashMap::new(), Arc::clone(&shared));
            Ok(Box::new(FixtureModel { info: info(), script, budget, step_time, texts, probe })
                as Box<dyn LanguageModel>)
        };
        let clock = Arc::new(FastClock { start: Instant::now(), speed: self.speed });
        let options = options(self.plugins, clock, self.in_flight_max, self.chunk);
        let options = EngineOptions { speculation: self.speculation, grammars: self.grammars, ..options };
        (Engine::start(Box::new(factory), options).await.expect("starts"), probe)
    }
}

fn info() -> ModelInfo {
    ModelInfo {
        name: "fixture".to_owned(),
        architecture: "Fake".to_owned(),
        parameters: 0,
        context_tokens: 2_048,
        vocabulary: 256,
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    }
}

struct FastClock {
    start: Instant,
    speed: u32,
}

impl Clock for FastClock {
    fn now(&self) -> Duration {
        self.start.elapsed() * self.speed
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time / self.speed))
    }
}

struct FixtureModel {
    info: ModelInfo,
    script: Script,
    budget: u64,
    step_time: Duration,
    texts: HashMap<SequenceId, Vec<u8>>,
    probe: Arc<ModelProbe>,
}

impl FixtureModel {
    fn bytes(&self) -> u64 {
        self.texts.values().map(|text| text.len().next_multiple_of(BLOCK_TOKENS) as u64).sum()
    }

    fn note(&self) {
        let (bytes, alive) = (self.bytes(), self.texts.len());
        let mut state = self.probe.state();
        state.most_bytes = state.most_bytes.max(bytes);
        state.alive = alive;
    }

    fn append(&mut self, span: &Span<'_>, drafted: usize) -> Result<Vec<Logits>, Error> {
        let before = self.bytes();
        let text = self.texts.entry(span.sequence).or_default();
        let old = text.len().next_multiple_of(BLOCK_TOKENS);
        let new = (text.len() + span.tokens.len()).next_multiple_of(BLOCK_TOKENS);
        if self.budget > 0 && before + (new - old) as u64 > self.budget {
            self.probe.state().out_of_room += 1;
            return Err(Error::Limited { message: "no room".to_owned(), retry_after: Duration::from_secs(1) });
        }
        text.extend(span.tokens.iter().map(|token| *token as u8));
        let ends = if span.wants_logits { text.len() - drafted..text.len() + 1 } else { 0..0 };
        Ok(ends.map(|end| next_byte(&text[..end], self.script)).collect())
    }
}

impl LanguageModel for FixtureModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        self.forward_while(batch, &mut || true).unwrap_or_default()
    }

    fn forward_while(
        &mut self,
        batch: &[Span<'_>],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Option<Logits>, Error>>> {
        let results = self.forward_drafts(batch, &[], may_continue)?;
        Some(results.into_iter().map(|result| Ok(result?.pop())).collect())
    }

    fn verifies_drafts(&self) -> bool {
        true
    }

    fn forward_drafts(
        &mut self,
        batch: &[Span<'_>],
        drafted: &[usize],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Vec<Logits>, Error>>> {
        let mut state = self.probe.state();
        while state.paused {
            if !may_continue() {
                return None;
            }
            state = self.probe.changed.wait_timeout(state, Duration::from_millis(1)).expect("lock").0;
        }
        state.threads.insert(std::thread::current().id());
        drop(state);
        std::thread::sleep(self.step_time);
        let mut step = Vec::new();
        let mut rows = Vec::new();
        for (at, span) in batch.iter().enumerate() {
            rows.push(self.append(span, drafted.get(at).copied().unwrap_or(0)));
            let letter = self.texts[&span.sequence].get("user: ".len()).copied().unwrap_or(b'?');
            step.push((char::from(letter), span.tokens.len()));
        }
        self.probe.state().steps.push(step);
        self.note();
        Some(rows)
    }

    fn release(&mut self, sequence: SequenceId) {
        self.texts.remove(&sequence);
        self.note();
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> bool {
        let Some(text) = self.texts.get_mut(&sequence).filter(|text| text.len() >= tokens) else { return false };
        text.truncate(tokens);
        self.probe.state().truncations += 1;
        true
    }

    fn fork(&mut self, from: SequenceId, to: SequenceId, tokens: usize) -> bool {
        let Some(text) = self.texts.get(&from).filter(|text| text.len() >= tokens) else { return false };
        let copy = text[..tokens].to_vec();
        if self.bytes() + tokens.next_multiple_of(BLOCK_TOKENS) as u64 > self.budget {
            return false;
        }
        self.texts.insert(to, copy);
        self.probe.state().forks += 1;
        self.note();
        true
    }

    fn cache_use(&self) -> CacheUse {
        CacheUse { used_bytes: self.bytes(), budget_bytes: self.budget, token_bytes: 1, block_tokens: BLOCK_TOKENS }
    }
}

pub(super) fn tenant(name: &str) -> Caller {
    Caller::of(TenantId::new(name))
}

/// Starts `text` for the tenant `name`, with at most `tokens` of answer.
pub(super) async fn start_as(engine: &Engine, name: &str, text: &str, tokens: usize) -> Generation {
    let sampling = firebox_contract::SamplingOverrides { max_tokens: Some(tokens), ..Default::default() };
    engine.generate(&tenant(name), super::ask_with(text, sampling)).await.expect("admitted")
}

pub(super) async fn answer_as(engine: &Engine, name: &str, text: &str, tokens: usize) -> super::CollectedAnswer {
    super::collect(start_as(engine, name, text, tokens).await).await.expect("answered")
}

/// Waits until `holds` is true for the counters.
pub(super) async fn counted(engine: &Engine, what: &str, holds: impl Fn(&EngineCounters) -> bool) {
    for _ in 0..5_000 {
        if holds(&engine.counters()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}: {:?}", engine.counters());
}

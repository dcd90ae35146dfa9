//! Speculation: the same text as without it, in fewer steps, and nothing left of refused drafts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use firebox_contract::{
    CacheUse, Error, FinishReason, LanguageModel, Logits, ModelInfo, SamplingOverrides, SequenceId, Span, TokenId,
};

use crate::tests::fakes::{Plugins, clock, options};
use crate::tests::fixture_model::{EngineFixture, answer_as, start_as};
use crate::tests::{CollectedAnswer, answer, ask_with, collect, long};
use crate::{Engine, EngineOptions, Speculation};

/// The least time of a step of the fixture model. Its rows cost little beside it.
const STEP_TIME: Duration = Duration::from_micros(300);

/// The time that a step of so many rows takes.
type StepTime = fn(usize) -> Duration;

/// A model of 256 tokens whose next token depends mostly on the last two, so that its text repeats itself, and a little on
/// all of them, so that a wrong KV cache changes the text.
struct ChainModel {
    info: ModelInfo,
    time: StepTime,
    truncates: bool,
    sequences: HashMap<SequenceId, Vec<TokenId>>,
    rows: Arc<AtomicUsize>,
}

impl ChainModel {
    fn logits(tokens: &[TokenId]) -> Logits {
        let mix = |state: u64, token: &TokenId| {
            (state ^ u64::from(*token)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
        };
        let end = &tokens[tokens.len().saturating_sub(2)..];
        let (near, all) = (end.iter().fold(1, mix), tokens.iter().fold(2, mix));
        let pick = |state: u64, n: u64| (b'a' + (mix(state, &(n as TokenId)) >> 40) as u8 % 26) as usize;
        let mut logits = vec![-20.0; 256];
        (0..4).for_each(|n| logits[pick(near, n)] = 4.0 - n as f32);
        logits[pick(all, 9)] += 1.5;
        logits
    }
}

impl LanguageModel for ChainModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        let results = self.forward_drafts(batch, &vec![0; batch.len()], &mut || true).unwrap_or_default();
        results.into_iter().map(|result| Ok(result?.pop())).collect()
    }

    fn verifies_drafts(&self) -> bool {
        true
    }

    fn forward_drafts(
        &mut self,
        batch: &[Span<'_>],
        drafted: &[usize],
        _may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Vec<Logits>, Error>>> {
        let rows: usize = batch.iter().map(|span| span.tokens.len()).sum();
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let (began, time) = (Instant::now(), (self.time)(rows));
        let append = |(span, drafted): (&Span<'_>, &usize)| {
            let tokens = self.sequences.entry(span.sequence).or_default();
            tokens.extend(span.tokens);
            let ends = if span.wants_logits { tokens.len() - drafted..tokens.len() + 1 } else { 0..0 };
            Ok(ends.map(|end| Self::logits(&tokens[..end])).collect())
        };
        let results = batch.iter().zip(drafted).map(append).collect();
        while began.elapsed() < time {
            std::hint::spin_loop();
        }
        Some(results)
    }

    fn release(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> bool {
        if let Some(own) = self.sequences.get_mut(&sequence).filter(|_| self.truncates) {
            own.truncate(tokens);
        }
        self.truncates
    }

    fn cache_use(&self) -> CacheUse {
        CacheUse { used_bytes: 0, budget_bytes: 1 << 20, token_bytes: 1, block_tokens: 64 }
    }
}

/// A step reads all weights: further rows cost little.
fn reads_weights(rows: usize) -> Duration {
    Duration::from_micros(200 + 4 * rows as u64)
}

/// A step computes: each row costs as much as the first.
fn computes(rows: usize) -> Duration {
    Duration::from_micros(150 * rows as u64)
}

async fn chain_engine(time: StepTime, truncates: bool, speculation: Speculation) -> (Engine, Arc<AtomicUsize>) {
    let info = ModelInfo {
        name: "chain".to_owned(),
        architecture: "Fake".to_owned(),
        parameters: 0,
        context_tokens: 512,
        vocabulary: 256,
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    };
    let rows = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rows);
    let factory = move || {
        let (info, rows) = (info.clone(), Arc::clone(&counted));
        let model = ChainModel { info, time, truncates, sequences: HashMap::new(), rows };
        Ok(Box::new(model) as Box<dyn LanguageModel>)
    };
    let options = EngineOptions { speculation, warm_up: true, ..options(Plugins::default(), clock(), 4, 64) };
    (Engine::start(Box::new(factory), options).await.expect("starts"), rows)
}

async fn chain_answer(engine: &Engine, temperature: f32, seed: u64, tokens: Option<usize>) -> CollectedAnswer {
    let sampling = SamplingOverrides {
        temperature: Some(temperature),
        seed: Some(seed),
        max_tokens: tokens,
        frequency_penalty: (seed % 3 == 2).then_some(0.2),
        ..SamplingOverrides::default()
    };
    answer(engine, ask_with("a chain of letters", sampling)).await
}

#[tokio::test]
async fn the_text_is_the_same_as_without_speculation_for_every_seed_and_temperature() {
    let (plain, _) = chain_engine(reads_weights, true, Speculation::Off).await;
    let (drafting, _) = chain_engine(reads_weights, true, Speculation::NGram).await;
    let (recomputing, _) = chain_engine(reads_weights, false, Speculation::NGram).await;
    for seed in 0..12 {
        for temperature in [0.0, 0.3, 0.8, 1.5] {
            let expected = chain_answer(&plain, temperature, seed, Some(150)).await;
            for engine in [&drafting, &recomputing] {
                let found = chain_answer(engine, temperature, seed, Some(150)).await;
                assert_eq!(found.text, expected.text, "seed {seed}, temperature {temperature}");
                assert_eq!(found.finish.usage.completion_tokens, expected.finish.usage.completion_tokens);
                assert_eq!(found.finish.reason, expected.finish.reason);
            }
        }
    }
    let (plain, drafting, recomputing) = (plain.counters(), drafting.counters(), recomputing.counters());
    assert_eq!((plain.drafted_tokens, plain.accepted_tokens), (0, 0));
    assert_eq!(drafting.completion_tokens, plain.completion_tokens);
    assert!(drafting.accepted_tokens > 0 && drafting.accepted_tokens < drafting.drafted_tokens, "{drafting:?}");
    assert!(drafting.steps < plain.steps, "{} steps instead of {}", drafting.steps, plain.steps);
    assert_eq!(drafting.preemptions, 0);
    assert!(recomputing.preemptions > 0, "a model that cannot remove tokens computes the sequence again");
}

#[tokio::test]
async fn an_answer_that_fills_the_context_ends_at_the_same_token() {
    let mut ends = Vec::new();
    for speculation in [Speculation::Off, Speculation::NGram] {
        let (engine, _) = chain_engine(reads_weights, true, speculation).await;
        let found = chain_answer(&engine, 0.0, 1, None).await;
        assert_eq!(found.finish.reason, FinishReason::ContextFull);
        ends.push((found.text, found.finish.usage.completion_tokens));
    }
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn nothing_is_drafted_where_a_row_costs_as_much_as_a_step() {
    let (engine, rows) = chain_engine(computes, true, Speculation::NGram).await;
    let before = rows.load(Ordering::Relaxed);
    let tokens = chain_answer(&engine, 0.0, 1, Some(300)).await.finish.usage;
    let rows = rows.load(Ordering::Relaxed) - before;
    // A busy machine can make a step look slow once.
    let most = (tokens.prompt_tokens + tokens.completion_tokens) * 12 / 10;
    assert!(rows <= most, "{rows} rows for {} tokens", tokens.completion_tokens);
}

#[tokio::test]
async fn repeated_text_takes_fewer_steps_and_leaves_a_valid_prefix() {
    let fixture = EngineFixture { speculation: Speculation::NGram, step_time: STEP_TIME, ..EngineFixture::of(long) };
    let (engine, probe) = fixture.engine().await;
    let question = "q".repeat(40);
    assert_eq!(answer_as(&engine, "a", &question, 400).await.text, long("")[..400]);
    // The step loop counts a step after it has sent the step's tokens.
    for _ in 0..400 {
        if engine.counters().completion_tokens == 400 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let counters = engine.counters();
    assert_eq!(counters.completion_tokens, 400);
    assert!(counters.accepted_tokens >= 100, "{counters:?}");
    assert!(probe.state().steps.len() < 300, "{} steps", probe.state().steps.len());
    // The next prompt uses what the first answer left in the cache.
    let again = answer_as(&engine, "a", &question, 400).await;
    assert_eq!(again.text, long("")[..400]);
    assert_eq!(again.finish.usage.cached_tokens, "user: \n\nA:".len() + question.len() - 1);
}

#[tokio::test]
async fn drafts_take_no_room_in_the_cache_budget() {
    let fixture =
        EngineFixture { budget: 512, speculation: Speculation::NGram, step_time: STEP_TIME, ..EngineFixture::of(long) };
    let (engine, probe) = fixture.engine().await;
    let mut running = Vec::new();
    for n in 0..6u8 {
        let question = format!("{}{}", char::from(b'a' + n), "y".repeat(40));
        running.push(tokio::spawn(collect(start_as(&engine, "a", &question, 150).await)));
    }
    for answer in running {
        assert_eq!(answer.await.expect("no panic").expect("answered").text, long("")[..150]);
    }
    let state = probe.state();
    assert!(state.most_bytes <= 512, "{} bytes", state.most_bytes);
    assert_eq!(state.out_of_room, 0);
}

//! Continuous batching: many sequences share a step, and none delays another.

mod speculation;

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::{EVENTS_BUFFERED_MAX, STEP_PREFILL_TOKENS};
use firebox_contract::{
    Error, FinishReason, GenerationRequest, Grammar, GrammarCompiler, SamplingOverrides, TenantId, TokenConstraint,
    TokenId, TokenMask,
};

use super::fixture_model::{EngineFixture, answer_as, counted, start_as, tenant};
use super::{ask_with, collect, long};

#[tokio::test]
async fn f11_one_model_thread_computes_all_sequences_and_blocks_no_other() {
    let (engine, probe) = EngineFixture::of(long).engine().await;
    probe.pause(true);
    let mut running = Vec::new();
    for n in 0..6 {
        // This runtime has one thread, which would block here if the model computed on it.
        running.push(start_as(&engine, "a", &n.to_string(), 20).await);
    }
    tokio::time::timeout(Duration::from_secs(5), tokio::task::yield_now()).await.expect("the runtime is free");
    probe.pause(false);
    for generation in running {
        assert_eq!(collect(generation).await.expect("answered").text.len(), 20);
    }
    let state = probe.state();
    assert_eq!(state.threads.len(), 1);
    assert!(!state.threads.contains(&std::thread::current().id()));
    assert!(state.steps.iter().any(|step| step.len() == 6), "all in one step");
}

#[tokio::test]
async fn f9_a_reader_that_never_reads_delays_no_other_sequence() {
    let (engine, probe) = EngineFixture::of(long).engine().await;
    let slow = start_as(&engine, "a", "s", 1_000).await;
    for _ in 0..3 {
        assert_eq!(answer_as(&engine, "a", "q", 500).await.text.len(), 500);
    }
    let paused = probe.state().steps.iter().flatten().filter(|(letter, _)| *letter == 's').count();
    assert!(paused <= EVENTS_BUFFERED_MAX, "it is paused: {paused} steps");
    assert_eq!(collect(slow).await.expect("whole").text.len(), 1_000);
}

#[tokio::test]
async fn f10_a_request_that_times_out_is_not_computed_even_if_it_is_not_read() {
    let (engine, probe) = EngineFixture { budget: 0, ..EngineFixture::of(long) }.engine().await;
    let request = GenerationRequest {
        timeout: Some(Duration::from_millis(300)),
        ..ask_with("q", SamplingOverrides { max_tokens: Some(1_000), ..Default::default() })
    };
    let generation = engine.generate(&tenant("a"), request).await.expect("admitted");
    probe.until("it began", |state| state.alive == 1).await;
    probe.until("its cache is freed", |state| state.alive == 0).await;
    let steps = probe.state().steps.len();
    let answer = collect(generation).await.expect("what there was");
    assert_eq!(answer.finish.reason, FinishReason::Timeout);
    assert!(answer.text.len() <= EVENTS_BUFFERED_MAX, "{}", answer.text.len());
    assert_eq!(answer_as(&engine, "a", "n", 1).await.text.len(), 1);
    let late = probe.state().steps[steps..].iter().flatten().filter(|(letter, _)| *letter == 'q').count();
    assert_eq!(late, 0, "no step contains it any more");
}

#[tokio::test]
async fn f10_a_request_that_times_out_stops_while_it_is_read() {
    fn slow(_: &str) -> String {
        std::thread::sleep(Duration::from_millis(5));
        "x".repeat(2_000)
    }
    let (engine, _) = EngineFixture::of(slow).engine().await;
    let request = GenerationRequest {
        timeout: Some(Duration::from_millis(100)),
        ..ask_with("q", SamplingOverrides { max_tokens: Some(1_000), ..Default::default() })
    };
    let answer = collect(engine.generate(&tenant("a"), request).await.expect("admitted")).await.expect("some");
    assert_eq!(answer.finish.reason, FinishReason::Timeout);
    counted(&engine, "its permit is given back", |counters| counters.running == 0).await;
}

#[tokio::test]
async fn a_flood_of_one_tenant_costs_another_no_steps() {
    let (engine, probe) =
        EngineFixture { budget: 0, in_flight_max: 32, chunk: 512, ..EngineFixture::of(long) }.engine().await;
    let lone = {
        let before = probe.state().steps.len();
        answer_as(&engine, "b", &"B".repeat(20), 20).await;
        probe.state().steps.len() - before
    };
    probe.pause(true);
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(tokio::spawn(collect(start_as(&engine, "a", &"a".repeat(1_500), 200).await)));
    }
    probe.pause(false);
    probe.until("the flood runs", |state| state.steps.len() > lone + 3).await;
    let text = answer_as(&engine, "b", &"B".repeat(20), 20).await.text;
    assert_eq!(text.len(), 20);
    let steps = probe.state().steps.clone();
    let of_b: Vec<usize> = (lone..steps.len()).filter(|step| steps[*step].iter().any(|row| row.0 == 'B')).collect();
    let (first, last) = (of_b[0], of_b[of_b.len() - 1]);
    assert_eq!(last - first + 1, of_b.len(), "it is in every step from its first to its last");
    // On a slow device steps are short, and its prompt may take up to three of them.
    assert!(of_b.len() <= lone + 2, "{} steps instead of {lone}", of_b.len());
    let rows = |step: &Vec<(char, usize)>| step.iter().map(|row| row.1).sum::<usize>();
    assert!(steps.iter().all(|step| rows(step) <= STEP_PREFILL_TOKENS), "the tokens of a step are limited");
    for generation in flood {
        assert_eq!(generation.await.expect("no panic").expect("answered").text.len(), 200);
    }
}

#[tokio::test]
async fn a_step_of_a_flood_is_aborted_for_another_tenant_and_repeated() {
    fn slow(_: &str) -> String {
        std::thread::sleep(Duration::from_millis(2));
        "x".repeat(60)
    }
    // 10 ms of real time are 1 s on this clock, so that the flood is soon ahead.
    let (engine, probe) = EngineFixture { budget: 0, speed: 100, ..EngineFixture::of(slow) }.engine().await;
    let flood = tokio::spawn(collect(start_as(&engine, "a", "a", 60).await));
    probe.until("the flood used its share", |state| state.steps.len() > 15).await;
    probe.pause(true);
    // The running step ends, and the next one waits.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let light = start_as(&engine, "b", "B", 5).await;
    counted(&engine, "a step was aborted", |counters| counters.steps_aborted == 1).await;
    let more = start_as(&engine, "a", "c", 5).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(engine.counters().steps_aborted, 1, "not for the flood, and not a step of the other tenant");
    probe.pause(false);
    assert_eq!(collect(light).await.expect("answered").text.len(), 5);
    assert_eq!(flood.await.expect("no panic").expect("answered").text.len(), 60, "nothing is lost");
    assert_eq!(collect(more).await.expect("answered").text.len(), 5);
}

/// A grammar that allows everything, whose every step takes long.
#[derive(Debug)]
struct SlowGrammar;

const SLOW_STEP: Duration = Duration::from_millis(5);

impl GrammarCompiler for SlowGrammar {
    fn compile(&self, _: &TenantId, _: &Grammar) -> Result<Box<dyn TokenConstraint>, Error> {
        Ok(Box::new(Self))
    }
}

impl TokenConstraint for SlowGrammar {
    fn allows(&mut self, _: TokenId) -> Result<bool, Error> {
        Ok(true)
    }

    fn accept(&mut self, _: TokenId) -> Result<bool, Error> {
        std::thread::sleep(SLOW_STEP);
        Ok(true)
    }

    fn accept_text(&mut self, _: &str) -> Result<bool, Error> {
        Ok(true)
    }

    fn take_back(&mut self, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn mask(&mut self) -> Result<TokenMask, Error> {
        Ok(TokenMask::default())
    }

    fn may_end(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn has_ended(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_tenant_whose_grammar_is_slow_pays_for_it() {
    fn long(_: &str) -> String {
        "x".repeat(1_500)
    }
    // 10 ms of real time are 1 s on this clock, so that the slow tenant is soon ahead.
    let grammars: Option<Arc<dyn GrammarCompiler>> = Some(Arc::new(SlowGrammar));
    let fixture = EngineFixture { budget: 0, speed: 100, grammars, ..EngineFixture::of(long) };
    let (engine, probe) = fixture.engine().await;
    let sampling = SamplingOverrides { max_tokens: Some(1_000), ..Default::default() };
    let slow = GenerationRequest { grammar: Some(Grammar::JsonObject), ..ask_with("s", sampling) };
    let slow = engine.generate(&tenant("slow"), slow).await.expect("admitted");
    let slow = tokio::spawn(collect(slow));
    probe.until("the slow tenant used its share", |state| state.steps.len() > 40).await;
    let before = probe.state().steps.len();
    assert_eq!(answer_as(&engine, "quick", "q", 200).await.text.len(), 200);
    let steps = probe.state().steps[before..].to_vec();
    let with = |letter: char| steps.iter().filter(|step| step.iter().any(|row| row.0 == letter)).count();
    assert!(with('q') >= 200, "{}", with('q'));
    // Without the charge, both are in every step, and each step takes as long as the grammar.
    assert!(with('s') * 4 < with('q'), "{} of {} steps wait for the grammar", with('s'), with('q'));
    slow.abort();
}

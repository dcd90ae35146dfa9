//! Where answers end, and what is reserved for answers without a maximum length.

use firebox_contract::{FinishReason, GenerationRequest, SamplingOverrides};

use super::super::fakes::{Plugins, engine};
use super::super::fixture_model::{EngineFixture, tenant};
use super::super::{answer, ask_with, collect, start};
use crate::Engine;

/// Longer than the context of every model of these tests.
fn endless(_: &str) -> String {
    "w".repeat(10_000)
}

/// With an end token in the middle.
fn two_parts(_: &str) -> String {
    "one\u{0}two".to_owned()
}

fn unset() -> SamplingOverrides {
    SamplingOverrides::default()
}

async fn unlimited(engine: &Engine, name: &str, text: &str) -> super::super::CollectedAnswer {
    let generation = engine.generate(&tenant(name), ask_with(text, unset())).await.expect("admitted");
    collect(generation).await.expect("answered")
}

#[tokio::test]
async fn an_answer_without_a_maximum_length_can_fill_the_context() {
    let (engine, _) = engine(endless, Plugins::default()).await;
    for sampling in [unset(), SamplingOverrides { max_tokens: Some(usize::MAX), ..unset() }] {
        let answer = answer(&engine, ask_with("q", sampling)).await;
        assert_eq!(answer.finish.reason, FinishReason::ContextFull);
        assert_eq!(answer.text.len(), 4_096 - "user: q\n\nA:".len() + 1, "the last token needs no room");
    }
}

#[tokio::test]
async fn a_requests_own_context_limit_is_never_exceeded() {
    let (engine, _) = engine(endless, Plugins::default()).await;
    let within = |text: &str| GenerationRequest { context_tokens_max: Some(64), ..ask_with(text, unset()) };
    let done = answer(&engine, within("q")).await;
    let usage = done.finish.usage;
    assert_eq!((usage.prompt_tokens + usage.completion_tokens, done.finish.reason), (64, FinishReason::Length));
    let error = start(&engine, within(&"q".repeat(60))).await.err().expect("refused").to_string();
    assert!(error.contains("70 tokens") && error.contains("64"), "{error}");
}

#[tokio::test]
async fn answers_without_a_maximum_length_run_in_parallel() {
    // The budget has room for the whole context of one sequence only.
    let (engine, probe) = EngineFixture { budget: 4_096, ..EngineFixture::of(super::super::long) }.engine().await;
    probe.pause(true);
    let mut running = Vec::new();
    for text in ["1", "2", "3", "4"] {
        running.push(engine.generate(&tenant("a"), ask_with(text, unset())).await.expect("admitted"));
    }
    probe.pause(false);
    probe.until("they run together", |state| state.steps.iter().any(|step| step.len() == 4)).await;
    for generation in running {
        assert!(collect(generation).await.is_ok());
    }
}

#[tokio::test]
async fn answers_that_outgrow_the_cache_budget_alternate_and_complete() {
    // Each answer fills its context. The budget holds one and a half contexts.
    let (engine, probe) = EngineFixture { budget: 3_072, ..EngineFixture::of(endless) }.engine().await;
    let (one, two) = tokio::join!(unlimited(&engine, "a", "1"), unlimited(&engine, "b", "2"));
    for answer in [one, two] {
        assert_eq!(answer.text.len(), 2_048 - "user: 1\n\nA:".len() + 1, "{:?}", answer.finish.reason);
        assert_eq!(answer.finish.reason, FinishReason::ContextFull);
    }
    assert!(probe.state().most_bytes <= 3_072);
    assert!(engine.counters().preemptions > 0, "there was no other room");
}

#[tokio::test]
async fn an_answer_that_fills_the_cache_budget_alone_ends_with_context_full() {
    let (engine, _) = EngineFixture { budget: 256, ..EngineFixture::of(endless) }.engine().await;
    let answer = unlimited(&engine, "a", "1").await;
    assert_eq!((answer.finish.reason, answer.text.len() > 200), (FinishReason::ContextFull, true));
}

#[tokio::test]
async fn stop_tokens_end_an_answer_and_can_be_part_of_it() {
    let (engine, _) = engine(two_parts, Plugins::default()).await;
    let stop = || SamplingOverrides { stop_tokens: vec![u32::from(b'e'), 999_999], ..unset() };
    let ended = answer(&engine, ask_with("q", stop())).await;
    assert_eq!((ended.text.as_str(), ended.finish.reason), ("on", FinishReason::Stop));
    let kept = answer(&engine, ask_with("q", SamplingOverrides { keep_stop: true, ..stop() })).await;
    assert_eq!((kept.text.as_str(), kept.finish.usage.completion_tokens), ("one", 3));
    let string = SamplingOverrides { keep_stop: true, stop: vec!["n".to_owned()], ..unset() };
    let string = answer(&engine, ask_with("q", string)).await;
    assert_eq!((string.text.as_str(), string.finish.reason), ("on", FinishReason::StopString));
}

#[tokio::test]
async fn an_answer_does_not_end_before_min_tokens() {
    let (engine, _) = engine(|_| "ab".to_owned(), Plugins::default()).await;
    let of = |sampling: SamplingOverrides| ask_with("q", SamplingOverrides { temperature: Some(0.0), ..sampling });
    let short = answer(&engine, of(unset())).await;
    assert_eq!(short.text, "ab");
    let longer = answer(&engine, of(SamplingOverrides { min_tokens: Some(5), ..unset() })).await;
    assert_eq!((longer.finish.usage.completion_tokens, longer.finish.reason), (5, FinishReason::Stop));
    assert!(longer.text.starts_with("ab"), "{:?}", longer.text);
    let stops = SamplingOverrides { min_tokens: Some(2), stop: vec!["a".to_owned(), "b".to_owned()], ..unset() };
    assert_eq!(answer(&engine, of(stops)).await.text, "ab", "no stop string is found in the first tokens");
    let token = SamplingOverrides { min_tokens: Some(3), stop_tokens: vec![u32::from(b'a')], ..unset() };
    assert!(!answer(&engine, of(token)).await.text.contains('a'));
}

#[tokio::test]
async fn an_ignored_end_token_is_an_ordinary_token() {
    let (engine, _) = engine(two_parts, Plugins::default()).await;
    let sampling = SamplingOverrides { ignore_end: true, max_tokens: Some(9), ..unset() };
    let answer = answer(&engine, ask_with("q", sampling)).await;
    assert_eq!((&answer.text[..7], answer.finish.usage.completion_tokens), ("one\u{0}two", 9));
    assert_eq!(answer.finish.reason, FinishReason::Length);
}

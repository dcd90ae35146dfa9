//! The prefix cache: hits for its own tenant only, the same text, and never more than the budget.

use firebox_contract::{Error, GenerationRequest, Message, Prompt, Role};

use super::fixture_model::{EngineFixture, ProbeState, answer_as, counted, start_as, tenant};
use super::{CollectedAnswer, collect, echo};
use crate::Engine;

fn turn(text: &str, letter: char) -> String {
    format!("{letter}{}", text.repeat(10))
}

async fn converse(engine: &Engine, name: &str, messages: &[(Role, &str)]) -> CollectedAnswer {
    let messages = messages.iter().map(|(role, text)| Message::text(*role, *text)).collect();
    let request = GenerationRequest::new(Prompt::Chat(messages));
    collect(engine.generate(&tenant(name), request).await.expect("admitted")).await.expect("answered")
}

#[tokio::test]
async fn i8_a_tenant_hits_its_own_cache_and_no_other_tenant_does() {
    let (engine, probe) = EngineFixture::of(echo).engine().await;
    let question = turn("what is it", 'q');
    let prompt = "user: \n\nA:".len() + question.len();
    let first = answer_as(&engine, "a", &question, 50).await;
    assert_eq!(first.finish.usage.cached_tokens, 0);
    let computed = probe.computed();

    let other = answer_as(&engine, "b", &question, 50).await;
    assert_eq!(other.finish.usage.cached_tokens, 0, "another tenant's prefix is not found");
    assert_eq!(probe.computed(), 2 * computed, "the whole prompt was computed again");
    let counters = engine.counters();
    assert_eq!((counters.prefix_queries, counters.prefix_hits, counters.prefix_hit_tokens), (2, 0, 0));

    let again = answer_as(&engine, "a", &question, 50).await;
    assert_eq!(again.finish.usage.cached_tokens, prompt - 1, "all but the token that must be computed");
    assert_eq!(probe.computed(), 3 * computed - (prompt - 1));
    assert_eq!((again.text, other.text), (first.text.clone(), first.text), "the same text with and without");
    let counters = engine.counters();
    assert_eq!((counters.prefix_queries, counters.prefix_hits), (3, 1));
    assert_eq!(counters.prefix_hit_tokens, prompt as u64 - 1);
}

#[tokio::test]
async fn the_next_turn_of_a_conversation_computes_only_new_tokens() {
    let (engine, probe) = EngineFixture::of(echo).engine().await;
    let question = turn("tell me of", 'q');
    let first = converse(&engine, "a", &[(Role::User, &question)]).await;
    let before = probe.computed();
    let steps = [(Role::User, &*question), (Role::Assistant, &*first.text), (Role::User, "go on")];
    let second = converse(&engine, "a", &steps).await;
    let usage = second.finish.usage;
    assert_eq!(usage.cached_tokens, "user: ".len() + question.len() + 1, "up to where the template differs");
    assert_eq!(probe.computed() - before, usage.prompt_tokens - usage.cached_tokens + usage.completion_tokens);
    assert_eq!(second.text, format!("echo of {} bytes", usage.prompt_tokens));
}

#[tokio::test]
async fn a_prefix_in_use_is_copied_and_a_cached_prefix_keeps_its_end() {
    let (engine, probe) = EngineFixture::of(super::long).engine().await;
    let system = turn("you are the", 's');
    let ask = |more: &str| format!("{system}{more}{}", more.repeat(80));
    let slow = start_as(&engine, "a", &ask("1"), 400).await;
    probe.until("the prompt is computed", |state| state.steps.len() > 5).await;
    let live = answer_as(&engine, "a", &ask("2"), 5).await;
    assert_eq!(live.finish.usage.cached_tokens, "user: ".len() + system.len(), "from a running sequence");
    assert_eq!(probe.state().forks, 1);
    assert_eq!(collect(slow).await.expect("whole").text, super::long("")[..400]);
    let third = answer_as(&engine, "a", &ask("3"), 5).await;
    assert_eq!(third.finish.usage.cached_tokens, "user: ".len() + system.len());
    let changes = |state: &ProbeState| (state.forks, state.truncations);
    assert_eq!(changes(&probe.state()), (2, 0), "no cached prefix lost its end");
    counted(&engine, "all three are cached", |counters| counters.sequences_cached == 3).await;
}

#[tokio::test]
async fn several_answers_to_one_prompt_compute_it_once() {
    let (engine, probe) = EngineFixture::of(super::long).engine().await;
    let question = turn("what is it", 'q');
    let prompt = "user: \n\nA:".len() + question.len();
    probe.pause(true);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(start_as(&engine, "a", &question, 20).await);
    }
    probe.pause(false);
    let mut cached = Vec::new();
    for generation in all {
        let answer = collect(generation).await.expect("whole");
        assert_eq!(answer.text, super::long("")[..20]);
        cached.push(answer.finish.usage.cached_tokens);
    }
    assert_eq!(cached, [0, prompt - 1, prompt - 1], "they wait for the first one and copy its cache");
    assert_eq!(probe.computed(), prompt + 19 + 2 * (1 + 19));
}

#[tokio::test]
async fn a_model_without_a_budget_caches_no_prefix() {
    let (engine, probe) = EngineFixture { budget: 0, ..EngineFixture::of(echo) }.engine().await;
    for _ in 0..2 {
        let answer = answer_as(&engine, "a", &turn("what is it", 'q'), 50).await;
        assert_eq!(answer.finish.usage.cached_tokens, 0);
    }
    probe.until("the caches are freed", |state| state.alive == 0).await;
    assert_eq!(engine.counters().prefix_queries, 0);
}

#[tokio::test]
async fn cached_prefixes_are_evicted_for_requests() {
    let (engine, probe) = EngineFixture { budget: 640, ..EngineFixture::of(echo) }.engine().await;
    for letter in ['a', 'b', 'c', 'd', 'e', 'f'] {
        let question = turn("0123456789", letter);
        assert_eq!(answer_as(&engine, "a", &question, 40).await.text, "echo of 111 bytes");
    }
    let counters = engine.counters();
    assert!((1..=2).contains(&counters.sequences_cached), "half the budget holds two: {}", counters.sequences_cached);
    let wide = format!("w{}", "x".repeat(500));
    assert_eq!(answer_as(&engine, "b", &wide, 40).await.text, "echo of 511 bytes");
    let state = probe.state();
    assert!(state.most_bytes <= 640, "{} bytes", state.most_bytes);
    assert_eq!(state.out_of_room, 0, "room is made before it is needed");
}

#[tokio::test]
async fn the_cache_budget_is_never_exceeded() {
    let (engine, probe) = EngineFixture { budget: 512, ..EngineFixture::of(super::long) }.engine().await;
    let mut running = Vec::new();
    for n in 0..8u8 {
        let name = if n % 2 == 0 { "a" } else { "b" };
        running.push(tokio::spawn(collect(start_as(&engine, name, &turn("y", char::from(b'a' + n)), 150).await)));
    }
    for answer in running {
        assert_eq!(answer.await.expect("no panic").expect("answered").text, super::long("")[..150]);
    }
    let state = probe.state();
    assert!(state.most_bytes <= 512, "{} bytes", state.most_bytes);
    assert_eq!(state.out_of_room, 0);
}

#[tokio::test]
async fn a_tenant_that_fills_the_cache_is_preempted_for_another() {
    let (engine, probe) = EngineFixture { budget: 1_024, ..EngineFixture::of(super::long) }.engine().await;
    probe.pause(true);
    let mut flood = Vec::new();
    for n in 0..4u8 {
        flood.push(start_as(&engine, "a", &turn("y", char::from(b'1' + n)), 200).await);
    }
    probe.pause(false);
    probe.until("they run", |state| state.steps.iter().any(|turn| turn.len() == 4)).await;
    let other = answer_as(&engine, "b", &turn("z", 'b'), 200).await;
    assert_eq!(other.text.len(), 200);
    assert!(engine.counters().preemptions > 0, "there was no other room");
    for generation in flood {
        assert_eq!(collect(generation).await.expect("whole").text, super::long("")[..200], "no text is lost");
    }
}

#[tokio::test]
async fn a_prompt_larger_than_the_cache_budget_is_refused() {
    let (engine, _) = EngineFixture { budget: 256, ..EngineFixture::of(echo) }.engine().await;
    let generation = start_as(&engine, "a", &"x".repeat(400), 10).await;
    let error = collect(generation).await.err().expect("refused");
    assert!(matches!(&error, Error::TooLarge(text) if text.contains("256")), "{error}");
}

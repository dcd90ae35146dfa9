//! A model that runs before the first request.

use std::sync::atomic::Ordering;

use firebox_contract::limits::PREFILL_TURN_TOKENS_MIN;

use super::fakes::{Plugins, engine_changed};
use super::{answer, ask, echo};
use crate::EngineStatus;

#[tokio::test]
async fn a_model_runs_before_anybody_asks_and_nothing_of_it_stays() {
    let (engine, seen) = engine_changed(echo, Plugins::default(), 4, 16, |options| options.warm_up = true).await;
    let spans: Vec<usize> = seen.spans.lock().expect("lock").iter().map(|(tokens, _)| *tokens).collect();
    // The model's own kind of pass first, with steps; one that its context has no room for is not tried.
    assert_eq!(spans, [4, 1, 1, 1, 1, PREFILL_TURN_TOKENS_MIN, PREFILL_TURN_TOKENS_MIN]);
    assert!(seen.alive.lock().expect("lock").is_empty());
    assert_eq!((engine.counters().steps, engine.counters().prompt_tokens), (0, 0), "nobody's work");
    let (cold, unseen) = engine_changed(echo, Plugins::default(), 4, 16, |_| {}).await;
    assert_eq!(unseen.forwards.load(Ordering::SeqCst), 0);
    assert_eq!(answer(&engine, ask("hi")).await.text, answer(&cold, ask("hi")).await.text);
}

#[tokio::test]
async fn a_model_that_breaks_before_anybody_asks_is_made_again() {
    fn breaks(prompt: &str) -> String {
        assert!(!prompt.starts_with('\0'), "scripted failure");
        echo(prompt)
    }
    let (engine, _) = engine_changed(breaks, Plugins::default(), 4, 16, |options| options.warm_up = true).await;
    assert!(answer(&engine, ask("hi")).await.text.starts_with("echo of"));
    assert_eq!((engine.status(), engine.counters().reloads), (EngineStatus::Ready, 1));
}

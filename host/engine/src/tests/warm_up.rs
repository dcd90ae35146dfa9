//! The warm-up of a model before the first request.

use std::sync::atomic::Ordering;

use firebox_contract::Error;
use firebox_contract::limits::STEP_PREFILL_TOKENS_MIN;

use super::fakes::{Plugins, engine_changed};
use super::{answer, ask, collect, echo, start};
use crate::{Engine, EngineStatus};

#[tokio::test]
async fn the_warm_up_runs_all_sizes_and_leaves_no_cache() {
    let (engine, seen) = engine_changed(echo, Plugins::default(), 4, 16, |options| options.warm_up = true).await;
    let spans: Vec<usize> = seen.spans.lock().expect("lock").iter().map(|(tokens, _)| *tokens).collect();
    // The kernel sizes come first, each with two decode steps. A size above the context is skipped.
    assert_eq!(spans, [4, 1, 1, 1, 1, STEP_PREFILL_TOKENS_MIN, STEP_PREFILL_TOKENS_MIN]);
    assert!(seen.alive.lock().expect("lock").is_empty());
    assert_eq!((engine.counters().steps, engine.counters().prompt_tokens), (0, 0), "the warm-up is not counted");
    let (cold, unseen) = engine_changed(echo, Plugins::default(), 4, 16, |_| {}).await;
    assert_eq!(unseen.forwards.load(Ordering::SeqCst), 0);
    assert_eq!(answer(&engine, ask("hi")).await.text, answer(&cold, ask("hi")).await.text);
}

#[tokio::test]
async fn a_model_that_breaks_in_the_warm_up_is_reloaded() {
    fn breaks(prompt: &str) -> String {
        assert!(!prompt.starts_with('\0'), "scripted failure");
        echo(prompt)
    }
    let (engine, _) = engine_changed(breaks, Plugins::default(), 4, 16, |options| options.warm_up = true).await;
    // After a reload the warm-up is not repeated: the model may still run the request.
    assert!(answer(&engine, ask("hi")).await.text.starts_with("echo of"));
    assert_eq!((engine.status(), engine.counters().reloads), (EngineStatus::Ready, 1));
}

#[tokio::test]
async fn a_reloaded_model_is_warmed_up_before_the_next_request() {
    fn brittle(prompt: &str) -> String {
        assert!(!prompt.contains("boom"), "scripted failure");
        echo(prompt)
    }
    let (engine, seen) = engine_changed(brittle, Plugins::default(), 4, 16, |options| options.warm_up = true).await;
    let spans = || seen.spans.lock().expect("lock").iter().map(|(tokens, _)| *tokens).collect::<Vec<_>>();
    let first = spans();
    for times in 1..=2 {
        let failed = refused(&engine).await;
        assert!(failed.to_string().contains("scripted failure"), "{failed}");
        assert!(answer(&engine, ask("hi")).await.text.starts_with("echo of"));
        let ran = spans().windows(first.len()).filter(|window| **window == first).count();
        assert_eq!((ran, engine.counters().reloads), (times + 1, times as u64));
    }
    // A successful warm-up is no proof: if the next request breaks the model again, it counts as failed.
    let mut said = String::new();
    for _ in 0..5 {
        said = refused(&engine).await.to_string();
        if said.contains("broke again") {
            break;
        }
    }
    assert!(said.contains("broke again") && engine.counters().reloads == 3, "{said}");
}

async fn refused(engine: &Engine) -> Error {
    match start(engine, ask("boom")).await {
        Ok(generation) => collect(generation).await.err().expect("fails"),
        Err(error) => error,
    }
}

//! A model that breaks: sequences of the failed step fail, others continue on the reloaded model, and the status shows it.

use std::time::Duration;

use firebox_contract::Error;

use super::fixture_model::{EngineFixture, answer_as, counted, start_as, tenant};
use super::{ask, collect, long};
use crate::{Engine, EngineStatus};

fn brittle(prompt: &str) -> String {
    assert!(!prompt.contains("boom"), "scripted failure");
    long(prompt)
}

#[tokio::test]
async fn a_panic_fails_its_step_and_the_model_is_reloaded() {
    let (engine, probe) = EngineFixture::of(brittle).engine().await;
    // This sequence is not read, so it is paused when the step fails. It is computed again on the new model.
    let paused = start_as(&engine, "a", "r", 300).await;
    counted(&engine, "it is paused", |counters| counters.completion_tokens == 63).await;
    let failed = collect(start_as(&engine, "b", "boom", 10).await).await.err().expect("fails");
    assert!(failed.to_string().contains("scripted failure"), "{failed}");
    assert_eq!(answer_as(&engine, "b", "calm", 10).await.text, long("")[..10]);
    assert_eq!(engine.status(), EngineStatus::Ready);
    assert_eq!((engine.counters().reloads, probe.state().loads), (1, 2));
    assert_eq!(collect(paused).await.expect("whole").text, long("")[..300], "the same text as without the failure");
}

#[tokio::test]
async fn a_model_that_cannot_be_reloaded_refuses_requests_until_it_can() {
    let (engine, probe) = EngineFixture { speed: 20, ..EngineFixture::of(brittle) }.engine().await;
    probe.state().unloadable = true;
    let waiting = start_as(&engine, "a", "w", 1_000).await;
    counted(&engine, "it is paused", |counters| counters.completion_tokens == 63).await;
    let failed = collect(start_as(&engine, "b", "boom", 10).await).await.err().expect("fails");
    assert!(matches!(failed, Error::Model(_)), "{failed}");
    let error = collect(waiting).await.err().expect("fails too");
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("the file is gone")), "{error}");
    assert_eq!(engine.status(), EngineStatus::Failed("the file is gone".to_owned()));
    let refused = engine.generate(&tenant("c"), ask("q")).await.err().expect("refused");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    probe.state().unloadable = false;
    ready(&engine).await;
    assert_eq!(answer_as(&engine, "c", "calm", 10).await.text, long("")[..10]);
    assert_eq!(engine.counters().reloads, 1);
}

#[tokio::test]
async fn a_model_that_breaks_again_at_once_is_not_reloaded_repeatedly() {
    let (engine, probe) = EngineFixture { speed: 20, ..EngineFixture::of(brittle) }.engine().await;
    for _ in 0..2 {
        let failed = collect(start_as(&engine, "a", "boom", 10).await).await.err().expect("fails");
        assert!(failed.to_string().contains("scripted failure"), "{failed}");
    }
    probe.until("it broke twice", |state| state.loads == 2).await;
    let refused = loop {
        match engine.generate(&tenant("a"), ask("boom")).await {
            // The model's thread may not have processed the failure yet.
            Ok(generation) => drop(collect(generation).await),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, Error::Unavailable(text) if text.contains("as soon as")), "{refused}");
    assert_eq!(probe.state().loads, 2);
    ready(&engine).await;
    assert_eq!(answer_as(&engine, "a", "calm", 10).await.text, long("")[..10]);
}

async fn ready(engine: &Engine) {
    for _ in 0..5_000 {
        if engine.status() == EngineStatus::Ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never ready: {:?}", engine.status());
}

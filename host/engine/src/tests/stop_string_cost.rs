//! What stop strings cost, beside the same generation without them.

use std::time::{Duration, Instant};

use firebox_contract::limits::{STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX};
use firebox_contract::{Error, LanguageModel, Logits, ModelInfo, SamplingOverrides, SequenceId, Span};

use super::fakes::{Plugins, clock, options};
use super::{answer, ask_with};
use crate::Engine;

/// Tokens of a small vocabulary of today.
const VOCABULARY: usize = 32_000;
/// Tokens of each answer.
const TOKENS: usize = 400;
/// Tries of each kind at most; the fastest counts, since what else the machine does only adds. Few are needed where
/// nothing else runs, and no number of them makes up for a matcher that is slow.
const TRIES: usize = 100;
/// Tries of each kind at least.
const TRIES_MIN: usize = 5;
/// What stop strings may cost: a twentieth.
const MOST: f64 = 1.05;

/// As fast as a model can be: it computes nothing and only hands out logits. What stop strings cost beside it, they
/// cost less of beside any model that computes.
struct NoopModel {
    info: ModelInfo,
    made: usize,
}

impl LanguageModel for NoopModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        let mut row = || {
            let mut logits = vec![0.0; VOCABULARY];
            // Letters such as real text has, never the end.
            logits[usize::from(b"the stop of a line "[self.made % 19])] = 1.0;
            self.made += 1;
            logits
        };
        batch.iter().map(|span| Ok(span.wants_logits.then(&mut row))).collect()
    }

    fn release(&mut self, _: SequenceId) {}
}

async fn noop_engine() -> Engine {
    let info = ModelInfo {
        name: "free".to_owned(),
        architecture: "Fake".to_owned(),
        parameters: 0,
        context_tokens: 4_096,
        vocabulary: VOCABULARY,
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    };
    let factory = move || Ok(Box::new(NoopModel { info: info.clone(), made: 0 }) as Box<dyn LanguageModel>);
    let options = options(Plugins::default(), clock(), 4, 512);
    Engine::start(Box::new(factory), options).await.expect("starts")
}

async fn time(engine: &Engine, stop: &[String]) -> Duration {
    let sampling = SamplingOverrides {
        max_tokens: Some(TOKENS),
        stop: stop.to_vec(),
        temperature: Some(0.0),
        ..Default::default()
    };
    let started = Instant::now();
    let answer = answer(engine, ask_with("go", sampling)).await;
    let took = started.elapsed();
    assert_eq!(answer.finish.usage.completion_tokens, TOKENS, "no stop string came");
    took
}

#[tokio::test]
async fn f18_stop_strings_cost_less_than_a_twentieth_of_the_throughput() {
    let engine = noop_engine().await;
    let usual: Vec<String> = ["\n\nUser:", "</answer>", "stop!", "the end"].map(str::to_owned).to_vec();
    // As many and as long as may be, each with a beginning that the text has over and over.
    let most: Vec<String> = (0..STOP_STRINGS_MAX)
        .map(|n| {
            format!("the stop of a line {}", (b'A' + n as u8) as char).repeat(20)[..STOP_STRING_BYTES_MAX].to_owned()
        })
        .collect();
    let mut fastest = [Duration::MAX; 3];
    let mut tried = 0;
    let cheap = |fastest: &[Duration; 3]| fastest[1..].iter().all(|time| *time < fastest[0].mul_f64(MOST));
    while tried < TRIES_MIN || (tried < TRIES && !cheap(&fastest)) {
        for (least, stop) in fastest.iter_mut().zip([&[][..], &usual, &most]) {
            *least = time(&engine, stop).await.min(*least);
        }
        tried += 1;
    }
    let [without, usual, most] = fastest;
    let times = format!("{without:?} without, {usual:?} with four, {most:?} with as many as may be");
    assert!(cheap(&fastest), "{TOKENS} tokens: {times}");
}

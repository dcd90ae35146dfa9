//! The cost of stop strings, compared with the same generation without them.

use std::time::{Duration, Instant};

use firebox_contract::limits::{STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX};
use firebox_contract::{Error, LanguageModel, Logits, ModelInfo, SamplingOverrides, SequenceId, Span};

use super::super::fakes::{Plugins, clock, options};
use super::super::{answer, ask_with};
use crate::Engine;

/// Size of a typical small vocabulary.
const VOCABULARY: usize = 32_000;
/// Tokens of each answer.
const TOKENS: usize = 400;
/// Maximum number of tries of each kind. The fastest counts, because other load of the machine only adds time.
const TRIES: usize = 100;
/// Minimum number of tries of each kind.
const TRIES_MIN: usize = 5;
/// Stop strings may cost 5 %.
const MOST: f64 = 1.05;

/// A model that computes nothing and only returns logits. With any other model the relative cost of stop strings is
/// smaller.
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
            // Letters of ordinary text, never the end token.
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
        name: "noop".to_owned(),
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
async fn f18_stop_strings_cost_less_than_5_percent_of_the_throughput() {
    let engine = noop_engine().await;
    let usual: Vec<String> = ["\n\nUser:", "</answer>", "stop!", "the end"].map(str::to_owned).to_vec();
    // The maximum number and length. Each has a beginning that the text repeats.
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
    let times = format!("{without:?} without, {usual:?} with four, {most:?} with the maximum");
    assert!(cheap(&fastest), "{TOKENS} tokens: {times}");
}

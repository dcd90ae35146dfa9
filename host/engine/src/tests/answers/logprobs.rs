//! The probabilities of an answer's tokens.

use firebox_contract::{Error, Event, SamplingOverrides, TextVerdict, TokenLogprobs};

use super::super::fakes::{Plugins, engine};
use super::super::{CollectedAnswer, answer, ask_with, start};

fn logprobs(answer: &CollectedAnswer) -> Vec<TokenLogprobs> {
    let scored = answer.events.iter().filter_map(|event| match event {
        Event::Logprobs(scored) => Some(scored.clone()),
        _ => None,
    });
    scored.collect()
}

fn asking(logprobs: Option<usize>) -> SamplingOverrides {
    SamplingOverrides { logprobs, ..SamplingOverrides::default() }
}

#[tokio::test]
async fn each_token_has_its_probability_and_the_most_likely_ones() {
    let (engine, _) = engine(|_| "hey".to_owned(), Plugins::default()).await;
    let off = answer(&engine, ask_with("hi", asking(None))).await;
    assert!(logprobs(&off).is_empty());
    // The fake model gives the next byte a logit of 10 and the other 255 bytes a logit of 0.
    let likely = (10f64 - (10f64.exp() + 255.0).ln()) as f32;
    let sampling = SamplingOverrides { temperature: Some(0.01), logit_bias: vec![(7, 5.0)], ..asking(Some(2)) };
    let scored = logprobs(&answer(&engine, ask_with("hi", sampling)).await);
    assert_eq!(scored.iter().map(|scored| scored.chosen.bytes[0]).collect::<Vec<_>>(), b"hey", "no entry for the end");
    for scored in &scored {
        assert!((scored.chosen.logprob - likely).abs() < 1e-5, "before bias and temperature: {scored:?}");
        assert_eq!(scored.top.len(), 2);
        assert_eq!(scored.top[0], scored.chosen);
        assert!((scored.top[1].logprob - (likely - 10.0)).abs() < 1e-4);
    }
    let none = logprobs(&answer(&engine, ask_with("hi", asking(Some(0)))).await);
    assert!(none.len() == 3 && none.iter().all(|scored| scored.top.is_empty()));
}

#[tokio::test]
async fn too_many_alternatives_are_refused() {
    let (engine, _) = engine(|_| "hey".to_owned(), Plugins::default()).await;
    let error = start(&engine, ask_with("hi", asking(Some(21)))).await.err().expect("refused");
    assert!(matches!(&error, Error::Usage(text) if text.contains("\"21\"") && text.contains("20")), "{error}");
}

#[tokio::test]
async fn plugins_of_the_text_stage_hide_the_tokens_that_they_may_change() {
    let plugins = Plugins { text: Some(|_| TextVerdict::Emit("x".to_owned())), ..Plugins::default() };
    let (engine, _) = engine(|_| "hey".to_owned(), plugins).await;
    let answer = answer(&engine, ask_with("hi", asking(Some(2)))).await;
    assert_eq!(answer.text, "xxx");
    assert!(logprobs(&answer).is_empty());
}

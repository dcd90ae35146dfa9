//! Answers that keep to a grammar, from a model that chooses its tokens at random.

mod random_model;
mod schemas;
mod token_stage;
mod tool_calls;

use std::time::Instant;

use firebox_contract::{
    Caller, Error, Event, FinishReason, GenerationRequest, Grammar, Message, Prompt, PromptEnd, ReasoningOptions, Role,
    SamplingOverrides,
};
use serde_json::Value;

use super::{CollectedAnswer, collect};
use crate::Engine;
use random_model::engine;
use schemas::SCHEMAS;

/// Answers of each schema that are complete.
const ANSWERS_EACH: usize = 200;
/// Requests that run at a time.
const PARALLEL: usize = 16;

/// Sampling options that differ from answer to answer.
fn sampling(number: usize) -> SamplingOverrides {
    SamplingOverrides {
        seed: Some(number as u64),
        temperature: Some([1.0, 0.0, 0.7, 1.5][number % 4]),
        top_k: (number % 3 == 1).then_some(20),
        top_p: (number % 5 == 2).then_some(0.9),
        min_p: (number % 7 == 3).then_some(0.01),
        repetition_penalty: (number % 4 == 3).then_some(1.3),
        frequency_penalty: (number % 6 == 5).then_some(0.2),
        max_tokens: Some(400),
        ..SamplingOverrides::default()
    }
}

fn request(grammar: Grammar, number: usize) -> GenerationRequest {
    let prompt = Prompt::Chat(vec![Message::text(Role::User, format!("{number}"))]);
    GenerationRequest { grammar: Some(grammar), sampling: sampling(number), ..GenerationRequest::new(prompt) }
}

async fn answers(engine: &Engine, grammar: &Grammar, numbers: std::ops::Range<usize>) -> Vec<CollectedAnswer> {
    let mut running = Vec::new();
    for number in numbers {
        let generation = engine.generate(&Caller::local(), request(grammar.clone(), number)).await;
        running.push(generation.unwrap_or_else(|error| panic!("{grammar:?}: {error}")));
    }
    let mut answers = Vec::new();
    for generation in running {
        answers.push(collect(generation).await.unwrap_or_else(|error| panic!("{grammar:?}: {error}")));
    }
    answers
}

/// Checks `ANSWERS_EACH` complete answers of each schema, which must all be valid.
async fn check(schemas: &[&str]) {
    let engine = engine().await;
    let (mut valid, mut cut, mut tokens) = (0, 0, 0);
    let began = Instant::now();
    for text in schemas {
        let schema: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect(text);
        let (mut complete, mut number) = (0, 0);
        while complete < ANSWERS_EACH {
            assert!(number < 10 * ANSWERS_EACH, "too few answers are complete: {text}");
            let batch = answers(&engine, &Grammar::JsonSchema((*text).to_owned()), number..number + PARALLEL).await;
            number += batch.len();
            for answer in batch {
                tokens += answer.finish.usage.completion_tokens;
                if answer.finish.reason == FinishReason::Length {
                    cut += 1;
                    continue;
                }
                assert_eq!(answer.finish.reason, FinishReason::Stop, "{text}: {}", answer.text);
                let value: Value = serde_json::from_str(&answer.text)
                    .unwrap_or_else(|error| panic!("{text}: {error} in {}", answer.text));
                let error = validator.iter_errors(&value).next();
                assert!(error.is_none(), "{text}: {} is not valid: {}", answer.text, error.expect("it is there"));
                complete += 1;
            }
        }
        valid += complete;
    }
    let took = began.elapsed();
    println!("{valid} answers valid, {cut} cut at max_tokens, {tokens} tokens, {took:?}");
    assert!(valid >= schemas.len() * ANSWERS_EACH);
}

// 50 schemas and 10,000 answers, in two tests that run at the same time.
#[tokio::test]
async fn five_thousand_answers_under_the_first_half_of_the_schemas_are_valid() {
    check(&SCHEMAS[..25]).await;
}

#[tokio::test]
async fn five_thousand_answers_under_the_second_half_of_the_schemas_are_valid() {
    check(&SCHEMAS[25..]).await;
}

#[tokio::test]
async fn any_json_object_a_regular_expression_and_a_lark_grammar_are_kept_to() {
    let engine = engine().await;
    for answer in answers(&engine, &Grammar::JsonObject, 0..40).await {
        let parsed = serde_json::from_str::<Value>(&answer.text);
        // Numbers may be larger than a reader can represent.
        let fits = parsed.as_ref().map_or_else(|error| error.to_string().contains("out of range"), Value::is_object);
        assert!(fits || answer.finish.reason == FinishReason::Length, "{}", answer.text);
    }
    for answer in answers(&engine, &Grammar::Regex("(ab|cd){2,5}!".to_owned()), 0..40).await {
        let inner = answer.text.strip_suffix('!').unwrap_or_else(|| panic!("{}", answer.text));
        let pairs = inner.as_bytes().chunks(2).all(|pair| pair == b"ab" || pair == b"cd");
        assert!(pairs && (4..=10).contains(&inner.len()), "{}", answer.text);
        assert_eq!(answer.finish.reason, FinishReason::Stop);
    }
    let lark = Grammar::Lark("start: \"(\" NUMBER (\",\" NUMBER)* \")\"\nNUMBER: /[1-9][0-9]?/\n".to_owned());
    for answer in answers(&engine, &lark, 0..40).await {
        let inner = answer.text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        let Some(inner) = inner else {
            assert_eq!(answer.finish.reason, FinishReason::Length, "{}", answer.text);
            continue;
        };
        assert!(inner.split(',').all(|number| number.parse::<u8>().is_ok_and(|n| (1..=99).contains(&n))), "{inner}");
    }
}

#[tokio::test]
async fn limits_stop_strings_and_minimum_lengths_go_together_with_a_grammar() {
    let engine = engine().await;
    let grammar = Grammar::JsonSchema("{\"type\": \"string\", \"minLength\": 50}".to_owned());
    let with = |sampling| GenerationRequest { sampling, ..request(grammar.clone(), 1) };
    let answer = |request| async { collect(engine.generate(&Caller::local(), request).await.expect("admitted")).await };
    let cut = answer(with(SamplingOverrides { max_tokens: Some(5), ..sampling(1) })).await.expect("answered");
    assert_eq!((cut.finish.reason, cut.finish.usage.completion_tokens), (FinishReason::Length, 5));
    let stopped =
        answer(with(SamplingOverrides { stop: vec!["\"".to_owned()], ..sampling(1) })).await.expect("answered");
    assert_eq!((stopped.finish.reason, stopped.text.as_str()), (FinishReason::StopString, ""));
    // The grammar ends before the minimum: there is nothing more to say.
    let short = Grammar::Text("yes".to_owned());
    let more = SamplingOverrides { min_tokens: Some(50), ignore_end: true, ..sampling(0) };
    let short = GenerationRequest { sampling: more, ..request(short, 0) };
    let short = answer(short).await.expect("answered");
    assert_eq!((short.text.as_str(), short.finish.reason), ("yes", FinishReason::Stop));
    // A bias cannot lead out of the grammar.
    let bias = vec![(super::fakes::END, 100.0), (u32::from(b'x'), 100.0), (u32::from(b'y'), -100.0)];
    let biased = SamplingOverrides { logit_bias: bias, ..sampling(0) };
    let biased = GenerationRequest { sampling: biased, ..request(Grammar::Text("yes".to_owned()), 0) };
    assert_eq!(answer(biased).await.expect("answered").text, "yes");
}

#[tokio::test]
async fn a_grammar_that_cannot_be_followed_is_refused_before_the_answer() {
    let engine = engine().await;
    let refused = |grammar: Grammar| async {
        engine.generate(&Caller::local(), request(grammar, 0)).await.err().expect("refused")
    };
    let error = refused(Grammar::JsonSchema("{\"properties\": {\"a\": {\"uniqueItems\": true}}}".to_owned())).await;
    assert!(
        matches!(&error, Error::Schema { tool: None, pointer, .. } if pointer == "/properties/a/uniqueItems"),
        "{error:?}"
    );
    for (grammar, words) in [
        (Grammar::JsonSchema("{".to_owned()), "not valid JSON"),
        (Grammar::Regex("(".to_owned()), "regular expression"),
        (Grammar::Lark("start: nothing".to_owned()), "grammar is not valid"),
    ] {
        let error = refused(grammar).await;
        assert!(matches!(&error, Error::Usage(text) if text.contains(words)), "{error}");
    }
    let (plain, _) = super::fakes::engine(|_| "x".to_owned(), super::fakes::Plugins::default()).await;
    let error = plain.generate(&Caller::local(), request(Grammar::JsonObject, 0)).await.err().expect("refused");
    assert!(error.to_string().contains("keeps no answers to a grammar"), "{error}");
}

#[tokio::test]
async fn a_message_that_the_model_continues_is_the_beginning_of_the_answer() {
    let engine = engine().await;
    let grammar =
        Grammar::JsonSchema("{\"type\": \"array\", \"items\": {\"type\": \"boolean\"}, \"maxItems\": 4}".to_owned());
    let continued = |begun: &str| {
        let messages = vec![Message::text(Role::User, "list"), Message::text(Role::Assistant, begun)];
        let mut request = request(grammar.clone(), 2);
        (request.prompt, request.chat.end) = (Prompt::Chat(messages), PromptEnd::FinalMessage);
        request
    };
    let generation = engine.generate(&Caller::local(), continued("[true, ")).await.expect("admitted");
    let answer = collect(generation).await.expect("answered");
    let whole: Vec<bool> = serde_json::from_str(&format!("[true, {}", answer.text)).expect("a list");
    assert!((2..=4).contains(&whole.len()), "{}", answer.text);
    let refused = engine.generate(&Caller::local(), continued("{\"a\"")).await.err().expect("refused");
    assert!(refused.to_string().contains("which its grammar does not allow"), "{refused}");
}

#[tokio::test]
async fn a_grammar_begins_after_the_reasoning() {
    let engine = random_model::engine_with("</think> <tool_call>{\"name\": …}").await;
    let grammar =
        Grammar::JsonSchema("{\"type\": \"array\", \"items\": {\"type\": \"boolean\"}, \"maxItems\": 4}".to_owned());
    let budget = ReasoningOptions { max_tokens: Some(6), ..ReasoningOptions::default() };
    let reasoned = |answer: &CollectedAnswer| answer.events.iter().any(|event| matches!(event, Event::Reasoning(_)));
    for number in 0..40 {
        // Reasoning that is open after the prompt, reasoning that the model begins, and an answer without any.
        let mut request = GenerationRequest { reasoning: budget, ..request(grammar.clone(), number) };
        let has_reasoning = number % 3 < 2;
        // Bytes of random reasoning would be no characters.
        request.sampling.logit_bias = vec![(u32::from(b'<'), if has_reasoning { 100.0 } else { -100.0 })];
        if number % 3 == 0 {
            let messages = vec![Message::text(Role::User, "list"), Message::text(Role::Assistant, "<think>hm")];
            (request.prompt, request.chat.end) = (Prompt::Chat(messages), PromptEnd::FinalMessage);
        }
        let answer = collect(engine.generate(&Caller::local(), request).await.expect("admitted")).await;
        let answer = answer.expect("answered");
        let list: Vec<bool> =
            serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{number}: {error} in {:?}", answer.text));
        assert!(list.len() <= 4 && answer.finish.reason == FinishReason::Stop, "{number}: {}", answer.text);
        assert_eq!(answer.finish.usage.reasoning_tokens > 0, has_reasoning, "{number}: {}", answer.text);
        assert!(has_reasoning || !reasoned(&answer), "{number}");
    }
}

//! Answers that keep to a grammar while plugins of the token stage decide about their tokens.

use std::sync::Arc;

use firebox_contract::{BoxFuture, TokenAction, TokenMask, TokenNeeds, TokenRule, TokenSession, TokenStep};

use super::super::fakes::{Plugins, StartSession};
use super::super::{collect, start};
use super::random_model::engine_through;
use super::*;

/// A session that takes back some tokens now and then, and forbids digits.
struct Restless {
    steps: usize,
    taken_back: usize,
}

impl TokenSession for Restless {
    fn needs(&self) -> TokenNeeds {
        TokenNeeds { candidates: 0, hold_back: 4 }
    }

    fn next(&mut self, step: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>> {
        self.steps += 1;
        let action = match self.steps % 5 {
            0 if step.held > 0 && self.taken_back < 60 => {
                let count = 1 + self.steps % step.held;
                self.taken_back += count;
                TokenAction::Backtrack(count)
            }
            _ => {
                let bias = (b'0'..=b'9').map(|digit| (u32::from(digit), -3.0)).collect();
                TokenAction::Choose(TokenRule { allow: None, bias })
            }
        };
        Box::pin(std::future::ready(Ok(action)))
    }
}

fn plugins(start: impl Fn() -> Box<dyn TokenSession> + Send + Sync + 'static) -> Plugins {
    let start: StartSession = Arc::new(move |_| start());
    Plugins { tokens: Some(start), ..Plugins::default() }
}

#[tokio::test]
async fn an_answer_with_tokens_taken_back_is_still_valid() {
    let engine = engine_through(plugins(|| Box::new(Restless { steps: 0, taken_back: 0 }))).await;
    let schema = r#"{"type": "object", "properties": {"a": {"type": "string", "maxLength": 12}, "b": {"enum": ["x", "yy"]},
        "c": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}}, "required": ["a", "b", "c"], "additionalProperties": false}"#;
    let value: Value = serde_json::from_str(schema).expect("a schema");
    let validator = jsonschema::validator_for(&value).expect("a schema");
    let mut complete = 0;
    for number in 0..40 {
        let answers = answers(&engine, &Grammar::JsonSchema(schema.to_owned()), number..number + 1).await;
        for answer in answers.iter().filter(|answer| answer.finish.reason == FinishReason::Stop) {
            let value = serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {}", answer.text));
            assert!(validator.is_valid(&value), "{value}");
            complete += 1;
        }
    }
    assert!(complete > 20, "{complete}");
}

/// A session that always answers the same.
struct Same(TokenAction);

impl TokenSession for Same {
    fn needs(&self) -> TokenNeeds {
        TokenNeeds::default()
    }

    fn next(&mut self, _: TokenStep) -> BoxFuture<'_, Result<TokenAction, Error>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

#[tokio::test]
async fn neither_the_grammar_nor_the_plugin_is_broken_where_they_contradict() {
    let only_z = TokenMask::new(vec![0, 0, 0, 1 << (b'z' % 32)]);
    let rule = TokenRule { allow: Some(only_z), bias: Vec::new() };
    for (action, expected) in [
        (TokenAction::Choose(rule), "allow no token that can come next"),
        (TokenAction::Force(vec![u32::from(b'z')]), "which its grammar does not allow"),
    ] {
        let engine = engine_through(plugins(move || Box::new(Same(action.clone())))).await;
        let asked = request(Grammar::JsonSchema(r#"{"type": "boolean"}"#.to_owned()), 1);
        let error = collect(start(&engine, asked).await.expect("admitted")).await.err().expect("a contradiction");
        assert!(matches!(&error, Error::Refused(text) if text.contains(expected)), "{error}");
    }
}

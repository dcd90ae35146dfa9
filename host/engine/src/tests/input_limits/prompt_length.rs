//! Prompts that do not fit are refused by their bytes and never tokenized completely.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firebox_contract::{
    Caller, Chat, Encoded, Error, Message, Prompt, PromptVerdict, Role, SamplingOverrides, TextCodec, TextDecoder,
    TokenId, ToolCall, limits,
};

use crate::Engine;
use crate::tests::fakes::{Plugins, engine_changed, render};
use crate::tests::{answer, ask, echo, start};

/// A codec with one token per byte, which gives lower bounds and counts the bytes it encodes.
struct CountingCodec {
    codec: Arc<dyn TextCodec>,
    encoded: Arc<AtomicUsize>,
    all_user_text: bool,
}

impl TextCodec for CountingCodec {
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        self.encode_text(&render(chat))
    }

    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        self.encoded.fetch_add(text.len(), Ordering::SeqCst);
        self.codec.encode_text(text)
    }

    fn encode_chat_within(&self, chat: Chat<'_>, max: usize) -> Result<Encoded, Error> {
        let text = render(chat);
        if text.len() > 2 * max {
            Ok(Encoded::AtLeast(text.len() / 2))
        } else {
            self.encode_text(&text).map(Encoded::Whole)
        }
    }

    fn min_tokens(&self, bytes: usize) -> usize {
        bytes
    }

    fn renders_all_user_text(&self) -> bool {
        self.all_user_text
    }

    fn decoder(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder> {
        self.codec.decoder(prompt)
    }

    fn is_end(&self, token: TokenId) -> bool {
        self.codec.is_end(token)
    }

    fn defaults(&self) -> &SamplingOverrides {
        self.codec.defaults()
    }

    fn chat_template(&self) -> Option<&str> {
        None
    }
}

async fn engine_with_counting_codec(plugins: Plugins, all_user_text: bool) -> (Engine, Arc<AtomicUsize>) {
    let encoded = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&encoded);
    let (engine, _) = engine_changed(echo, plugins, 4, 4_096, |options| {
        let codec = Arc::clone(&options.codec);
        options.codec = Arc::new(CountingCodec { codec, encoded: counter, all_user_text });
    })
    .await;
    (engine, encoded)
}

async fn refused(engine: &Engine, prompt: Prompt) -> String {
    let request = firebox_contract::GenerationRequest { prompt, ..ask("") };
    let error = start(engine, request).await.err().expect("it does not fit");
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
    error.to_string()
}

fn said(length: usize) -> Prompt {
    Prompt::Chat(vec![Message::text(Role::User, "x".repeat(length))])
}

#[tokio::test]
async fn a_prompt_that_cannot_fit_is_refused_by_its_bytes() {
    let (engine, encoded) = engine_with_counting_codec(Plugins::default(), true).await;
    for prompt in [said(1 << 20), Prompt::Text("x".repeat(1 << 20))] {
        let error = refused(&engine, prompt).await;
        assert!(error.contains("at least 1048576 tokens") && error.contains("4096"), "{error}");
    }
    assert_eq!(encoded.load(Ordering::SeqCst), 0);
    assert_eq!(
        answer(&engine, ask(&"x".repeat(4_050))).await.text,
        "echo of 4060 bytes",
        "a fitting prompt is answered"
    );
}

#[tokio::test]
async fn a_prompt_is_tokenized_only_as_far_as_needed_if_bytes_give_no_bound() {
    let (engine, encoded) = engine_with_counting_codec(Plugins::default(), false).await;
    let error = refused(&engine, said(1 << 20)).await;
    assert!(error.contains("at least 5242"), "{error}");
    assert_eq!(encoded.load(Ordering::SeqCst), 0);
    let error = refused(&engine, said(5_000)).await;
    assert!(error.contains("has 5010 tokens"), "{error}");
}

#[tokio::test]
async fn a_prompt_that_a_plugin_made_too_long_is_refused() {
    let long = vec![Message::text(Role::User, "x".repeat(1 << 20))];
    let plugins = Plugins { prompt: Some(PromptVerdict::Continue(long)), ..Plugins::default() };
    let (engine, encoded) = engine_with_counting_codec(plugins, true).await;
    let error = refused(&engine, said(2)).await;
    assert!(error.contains("at least 1048576 tokens"), "{error}");
    assert_eq!(encoded.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_json_values_of_all_calls_are_limited() {
    let (engine, encoded) = engine_with_counting_codec(Plugins::default(), false).await;
    let call = |n: usize| ToolCall {
        id: format!("c{n}"),
        name: "f".to_owned(),
        arguments_json: format!("{{\"a\":[{}]}}", vec!["0"; limits::JSON_VALUES_MAX / 10].join(",")),
    };
    let called = Message { tool_calls: (0..20).map(call).collect(), ..Message::text(Role::Assistant, "") };
    let error = refused(&engine, Prompt::Chat(vec![Message::text(Role::User, "x"), called])).await;
    assert!(error.contains("values"), "{error}");
    assert_eq!(encoded.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn counting_tokens_stops_above_the_maximum() {
    let (engine, _) = engine_with_counting_codec(Plugins::default(), false).await;
    let count = |length: usize| {
        let messages = [Message::text(Role::User, "x".repeat(length))];
        engine.count_tokens(Chat::new(&messages, &[]), 100).expect("it is counted")
    };
    assert_eq!((count(90).to_string(), count(90).exact), ("100 tokens".to_owned(), true));
    assert!(!count(1_000).exact && count(1_000).tokens > 100);
    assert_eq!(engine.run_blocking(&Caller::local(), || 7).await, Ok(7));
}

//! A model of random logits over bytes and words. Tokens that close something are a little more likely, so that answers
//! end.

use std::sync::Arc;

use firebox_contract::{
    Chat, Error, LanguageModel, Logits, ModelInfo, SamplingOverrides, SequenceId, Span, TextCodec, TextDecoder,
    TokenId, TokenText, TokenTexts,
};

use super::super::fakes::{END, Plugins, clock, options, render};
use crate::{Engine, EngineOptions};

/// Tokens in addition to the bytes.
const WORDS: &[&str] = &[
    "{\"",
    "\":",
    "\": ",
    "\",",
    "\", \"",
    "\"}",
    "\"]",
    "},",
    "}}",
    "[\"",
    "true",
    "false",
    "null",
    "12",
    "2024-",
    "name",
    "ä",
    " the",
    "  ",
    "\n",
    "<tool_call>",
    "</tool_call>",
    "\"arguments\":",
];
const FIRST: TokenId = 256;
const VOCABULARY: usize = FIRST as usize + WORDS.len();

fn text_of(token: TokenId) -> Vec<u8> {
    match token.checked_sub(FIRST) {
        Some(word) => WORDS[word as usize].as_bytes().to_vec(),
        None => vec![token as u8],
    }
}

struct RandomCodec {
    defaults: SamplingOverrides,
    template: &'static str,
}

impl TextCodec for RandomCodec {
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        self.encode_text(&render(chat))
    }

    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn decoder(&self, _: &[TokenId]) -> Box<dyn TextDecoder> {
        Box::new(Utf8Decoder(Vec::new()))
    }

    fn is_end(&self, token: TokenId) -> bool {
        token == END
    }

    fn defaults(&self) -> &SamplingOverrides {
        &self.defaults
    }

    fn chat_template(&self) -> Option<&str> {
        Some(self.template)
    }

    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        let text = |token| TokenText { token, bytes: text_of(token), indivisible: false };
        TokenTexts::new((1..VOCABULARY as TokenId).map(text).collect()).map(Arc::new)
    }
}

/// Holds back the bytes of an incomplete character.
struct Utf8Decoder(Vec<u8>);

impl TextDecoder for Utf8Decoder {
    fn push(&mut self, token: TokenId) -> Result<String, Error> {
        self.0.extend(text_of(token));
        let whole = match std::str::from_utf8(&self.0) {
            Ok(_) => self.0.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = self.0.split_off(whole);
        Ok(String::from_utf8(std::mem::replace(&mut self.0, rest)).expect("valid up to there"))
    }

    fn finish(&mut self) -> Result<String, Error> {
        Ok(String::new())
    }
}

struct RandomModel {
    info: ModelInfo,
    state: u64,
}

impl RandomModel {
    fn logits(&mut self) -> Logits {
        let mut random = || {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.state >> 40) as f32 / (1 << 24) as f32
        };
        let mut logits: Logits = (0..VOCABULARY).map(|_| random() * 6.0).collect();
        for close in [b'"', b'}', b']'] {
            logits[close as usize] += 3.0;
        }
        logits[END as usize] += 4.0;
        // Exponents of numbers.
        for letter in [b'e', b'E'] {
            logits[letter as usize] -= 8.0;
        }
        logits
    }
}

impl LanguageModel for RandomModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        batch.iter().map(|span| Ok(span.wants_logits.then(|| self.logits()))).collect()
    }

    fn release(&mut self, _: SequenceId) {}
}

pub(super) fn random_options(template: &'static str) -> EngineOptions {
    let codec = Arc::new(RandomCodec { defaults: SamplingOverrides::default(), template });
    let compiler = firebox_grammar::Compiler::new(Arc::clone(&codec) as Arc<dyn TextCodec>);
    EngineOptions { codec, grammars: Some(Arc::new(compiler)), ..options(Plugins::default(), clock(), 64, 64) }
}

pub(super) async fn engine() -> Engine {
    engine_with("<tool_call>{\"name\": …}</tool_call>").await
}

/// An engine whose chat template is `template`, which decides the format of tool calls.
pub(super) async fn engine_with(template: &'static str) -> Engine {
    engine_changed(template, |options| options).await
}

/// An engine whose answers go through `plugins`.
pub(super) async fn engine_through(plugins: Plugins) -> Engine {
    engine_changed("<tool_call>{\"name\": …}</tool_call>", |options| EngineOptions {
        hooks: Arc::new(plugins),
        ..options
    })
    .await
}

async fn engine_changed(template: &'static str, change: impl FnOnce(EngineOptions) -> EngineOptions) -> Engine {
    let info = ModelInfo {
        name: "random".to_owned(),
        architecture: "Fake".to_owned(),
        parameters: 0,
        context_tokens: 4_096,
        vocabulary: VOCABULARY,
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    };
    let factory = move || Ok(Box::new(RandomModel { info: info.clone(), state: 7 }) as Box<dyn LanguageModel>);
    Engine::start(Box::new(factory), change(random_options(template))).await.expect("starts")
}

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

/// The text of a token. Tokens after the words are `markers`.
fn text_of(token: TokenId, markers: &[&str]) -> Vec<u8> {
    match token.checked_sub(FIRST) {
        Some(word) => {
            WORDS.iter().chain(markers).nth(word as usize).map_or_else(Vec::new, |word| word.as_bytes().to_vec())
        }
        None => vec![token as u8],
    }
}

struct RandomCodec {
    defaults: SamplingOverrides,
    template: &'static str,
    /// Control tokens that mark calls.
    markers: &'static [&'static str],
}

impl TextCodec for RandomCodec {
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        self.encode_text(&render(chat))
    }

    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        Ok(text.bytes().map(TokenId::from).collect())
    }

    fn decoder(&self, _: &[TokenId]) -> Box<dyn TextDecoder> {
        Box::new(Utf8Decoder(Vec::new(), self.markers))
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

    fn marker_tokens(&self) -> Vec<(String, TokenId)> {
        (VOCABULARY as TokenId..).zip(self.markers).map(|(token, marker)| ((*marker).to_owned(), token)).collect()
    }

    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        let text = |token| TokenText { token, bytes: text_of(token, &[]), indivisible: false };
        TokenTexts::new((1..VOCABULARY as TokenId).map(text).collect()).map(Arc::new)
    }
}

/// Holds back the bytes of an incomplete character.
struct Utf8Decoder(Vec<u8>, &'static [&'static str]);

impl TextDecoder for Utf8Decoder {
    fn push(&mut self, token: TokenId) -> Result<String, Error> {
        self.0.extend(text_of(token, self.1));
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
        let mut logits: Logits = (0..self.info.vocabulary).map(|_| random() * 6.0).collect();
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

/// A compiler for this vocabulary.
pub(super) fn compiler(template: &'static str, markers: &'static [&'static str]) -> firebox_grammar::Compiler {
    firebox_grammar::Compiler::new(Arc::new(RandomCodec { defaults: SamplingOverrides::default(), template, markers }))
}

fn options_with(template: &'static str, markers: &'static [&'static str]) -> EngineOptions {
    let codec = Arc::new(RandomCodec { defaults: SamplingOverrides::default(), template, markers });
    let compiler = firebox_grammar::Compiler::new(Arc::clone(&codec) as Arc<dyn TextCodec>);
    EngineOptions { codec, grammars: Some(Arc::new(compiler)), ..options(Plugins::default(), clock(), 64, 64) }
}

pub(super) async fn engine() -> Engine {
    engine_with("<tool_call>{\"name\": …}</tool_call>").await
}

/// An engine whose chat template is `template`, which decides the format of tool calls.
pub(super) async fn engine_with(template: &'static str) -> Engine {
    engine_changed(template, &[], |options| options).await
}

/// The same, whose vocabulary has control tokens with these texts.
pub(super) async fn engine_with_markers(template: &'static str, markers: &'static [&'static str]) -> Engine {
    engine_changed(template, markers, |options| options).await
}

/// An engine whose answers go through `plugins`.
pub(super) async fn engine_through(plugins: Plugins) -> Engine {
    let change = |options| EngineOptions { hooks: Arc::new(plugins), ..options };
    engine_changed("<tool_call>{\"name\": …}</tool_call>", &[], change).await
}

async fn engine_changed(
    template: &'static str,
    markers: &'static [&'static str],
    change: impl FnOnce(EngineOptions) -> EngineOptions,
) -> Engine {
    let info = ModelInfo {
        name: "random".to_owned(),
        architecture: "Fake".to_owned(),
        parameters: 0,
        context_tokens: 4_096,
        vocabulary: VOCABULARY + markers.len(),
        device: "none".to_owned(),
        dtype: "f32",
        weights_bytes: 0,
    };
    let factory = move || Ok(Box::new(RandomModel { info: info.clone(), state: 7 }) as Box<dyn LanguageModel>);
    Engine::start(Box::new(factory), change(options_with(template, markers))).await.expect("starts")
}

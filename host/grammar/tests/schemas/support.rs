//! A codec whose tokens have given texts.

use std::sync::Arc;

use firebox_contract::{Chat, Error, SamplingOverrides, TextCodec, TextDecoder, TokenId, TokenText, TokenTexts};

/// A codec of texts only: nothing is encoded with it.
pub(crate) struct TextsCodec {
    defaults: SamplingOverrides,
    texts: Vec<Vec<u8>>,
}

impl TextsCodec {
    /// A codec of all bytes and of `more` texts.
    pub(crate) fn shared(more: impl IntoIterator<Item = Vec<u8>>) -> Arc<dyn TextCodec> {
        let texts = (0..=u8::MAX).map(|byte| vec![byte]).chain(more).collect();
        Arc::new(Self { defaults: SamplingOverrides::default(), texts })
    }
}

fn unused() -> Error {
    Error::Internal("this codec has texts only".to_owned())
}

impl TextCodec for TextsCodec {
    fn encode_chat(&self, _: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        Err(unused())
    }

    fn encode_text(&self, _: &str) -> Result<Vec<TokenId>, Error> {
        Err(unused())
    }

    fn decoder(&self, _: &[TokenId]) -> Box<dyn TextDecoder> {
        panic!("this codec has texts only")
    }

    fn is_end(&self, _: TokenId) -> bool {
        false
    }

    fn defaults(&self) -> &SamplingOverrides {
        &self.defaults
    }

    fn chat_template(&self) -> Option<&str> {
        None
    }

    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        let text = |(token, bytes): (TokenId, &Vec<u8>)| TokenText { token, bytes: bytes.clone(), indivisible: false };
        TokenTexts::new((0..).zip(&self.texts).map(text).collect()).map(Arc::new)
    }
}

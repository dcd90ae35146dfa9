//! The model of a mock: it answers with texts of the file of cases, and no model is loaded.

use std::sync::atomic::{AtomicUsize, Ordering};

use firebox_contract::{
    BoxFuture, Error, FinishReason, PluginAnswer, PluginPrompt, PluginVectors, Prompt, RequestModel, TokenId, Usage,
};
use serde::Deserialize;

/// Maximum number of tokens of a prompt and its answer. A token is a word.
const CONTEXT_TOKENS: usize = 2_048;

/// What the model of a mock answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelMock {
    /// The answers, in the order of the generations. The last one repeats.
    #[serde(default)]
    answers: Vec<String>,
    /// The vectors of texts, in the order of the texts. After the last one the first follows.
    #[serde(default)]
    vectors: Vec<Vec<f32>>,
}

/// See [`ModelMock`].
pub(super) struct CannedModel {
    mock: ModelMock,
    answered: AtomicUsize,
}

impl CannedModel {
    /// The model of `mock`.
    pub(super) fn new(mock: ModelMock) -> Self {
        Self { mock, answered: AtomicUsize::new(0) }
    }

    fn answer(&self, prompt: PluginPrompt) -> Result<PluginAnswer, Error> {
        let number = self.answered.fetch_add(1, Ordering::Relaxed);
        let text = self.mock.answers.get(number).or(self.mock.answers.last());
        let text = text.ok_or_else(|| Error::Unavailable("the model of the mock has no answers".to_owned()))?.clone();
        let prompt_tokens = match prompt.prompt {
            Prompt::Text(text) => words(&text),
            Prompt::Chat(messages) => messages.iter().map(|message| words(&message.content)).sum(),
        };
        let usage = Usage { prompt_tokens, completion_tokens: words(&text), ..Usage::default() };
        Ok(PluginAnswer { text, finish: FinishReason::Stop, usage, log: Vec::new() })
    }

    fn vectors(&self, texts: &[String]) -> Result<PluginVectors, Error> {
        if self.mock.vectors.is_empty() {
            return Err(Error::NotFound("the model of the mock has no vectors".to_owned()));
        }
        let vectors = self.mock.vectors.iter().cycle().take(texts.len()).cloned().collect();
        Ok(PluginVectors { vectors, tokens: texts.iter().map(|text| words(text)).sum() })
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

impl RequestModel for CannedModel {
    fn depth(&self) -> usize {
        0
    }

    fn context_tokens(&self) -> usize {
        CONTEXT_TOKENS
    }

    fn generate<'a>(&'a self, _plugin: &'a str, prompt: PluginPrompt) -> BoxFuture<'a, Result<PluginAnswer, Error>> {
        Box::pin(std::future::ready(self.answer(prompt)))
    }

    fn embed<'a>(
        &'a self,
        _plugin: &'a str,
        _model: Option<String>,
        texts: Vec<String>,
        _tokens_max: usize,
    ) -> BoxFuture<'a, Result<PluginVectors, Error>> {
        Box::pin(std::future::ready(self.vectors(&texts)))
    }

    fn tokenize(&self, text: String) -> BoxFuture<'_, Result<Vec<TokenId>, Error>> {
        Box::pin(std::future::ready(Ok((0..).take(words(&text)).collect())))
    }
}

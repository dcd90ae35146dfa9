//! The model of a request, for the plugins of that request. The engine implements [`RequestModel`], and the sandbox calls it for
//! plugins that were granted it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;
use crate::caller::Caller;
use crate::error::Error;
use crate::generation::sampling::SamplingOverrides;
use crate::generation::{FinishReason, Prompt, Usage};
use crate::hook::LogLine;
use crate::model::TokenId;

/// What a plugin wants the model to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginPrompt {
    /// The prompt. A conversation has messages with text only.
    pub prompt: Prompt,
    /// The sampling parameters, with a maximum number of tokens of the answer.
    pub sampling: SamplingOverrides,
    /// Maximum number of tokens of prompt and answer together.
    pub tokens_max: usize,
}

/// An answer of the model to a plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginAnswer {
    /// The text, without reasoning.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// The tokens, which are charged to the tenant already.
    pub usage: Usage,
    /// What plugins logged during the generation.
    pub log: Vec<LogLine>,
}

/// Texts that a plugin wants vectors of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginTexts {
    /// The id of the work, unique in the process.
    pub id: String,
    /// The name of the embedding model. Without one it is the first that the caller may use.
    pub model: Option<String>,
    /// At least one text, none of them empty.
    pub texts: Vec<String>,
    /// Maximum number of tokens of all texts. More are refused before anything is computed.
    pub tokens_max: usize,
    /// The longest time.
    pub timeout: Duration,
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginVectors {
    /// One vector for each text, all of the same length.
    pub vectors: Vec<Vec<f32>>,
    /// The tokens of all texts, which are charged to the tenant already.
    pub tokens: usize,
}

/// The model of one request. All work is charged to the tenant of the request and ends with the request.
pub trait RequestModel: Send + Sync {
    /// How many generations of plugins the request is in: 0 for the request of a client.
    fn depth(&self) -> usize;

    /// Maximum number of tokens of a prompt and its answer together.
    fn context_tokens(&self) -> usize;

    /// Generates an answer for `plugin`. Dropping the future cancels the generation.
    ///
    /// # Errors
    /// As for a request of a client. `Error::Limited` also if the request's plugins have used the model enough.
    fn generate<'a>(&'a self, plugin: &'a str, prompt: PluginPrompt) -> BoxFuture<'a, Result<PluginAnswer, Error>>;

    /// Computes vectors of texts with an embedding model, for `plugin`. All texts have at most `tokens_max` tokens.
    ///
    /// # Errors
    /// `Error::NotFound` if there is no such model, `Error::Limited` if there are more tokens or the tenant's share is used up,
    /// errors of the encoder.
    fn embed<'a>(
        &'a self,
        plugin: &'a str,
        model: Option<String>,
        texts: Vec<String>,
        tokens_max: usize,
    ) -> BoxFuture<'a, Result<PluginVectors, Error>>;

    /// The tokens of a text, with the special tokens that the tokenizer adds.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer fails.
    fn tokenize(&self, text: String) -> BoxFuture<'_, Result<Vec<TokenId>, Error>>;
}

/// Computes vectors for plugins, with the embedding models of a host.
pub trait PluginEmbedder: Send + Sync {
    /// Computes vectors for a plugin in a request of `caller`, and charges the tenant.
    ///
    /// # Errors
    /// As [`RequestModel::embed`].
    fn embed<'a>(&'a self, caller: &'a Caller, texts: PluginTexts) -> BoxFuture<'a, Result<PluginVectors, Error>>;
}

/// The model of a request, if a model serves it. The default has none.
#[derive(Clone, Default)]
pub struct ModelHandle(Option<Arc<dyn RequestModel>>);

impl ModelHandle {
    /// A handle of `model`.
    #[must_use]
    pub fn new(model: Arc<dyn RequestModel>) -> Self {
        Self(Some(model))
    }

    /// The model.
    #[must_use]
    pub fn get(&self) -> Option<&Arc<dyn RequestModel>> {
        self.0.as_ref()
    }

    /// This handle, or `other` if this one has no model.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        if self.0.is_some() { self.clone() } else { other.clone() }
    }
}

impl fmt::Debug for ModelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ModelHandle(a model)" } else { "ModelHandle(no model)" })
    }
}

/// All handles are equal: the identity of a request does not depend on how its plugins reach the model.
impl PartialEq for ModelHandle {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for ModelHandle {}

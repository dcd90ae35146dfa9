//! The model of a request, for the plugins of that request.
//!
//! A generation of a plugin is a request of the same caller: the gate admits and charges it, and the caller's plugins see it. It
//! runs with the permit of the request that it belongs to, which computes nothing while its plugin waits. So it never waits for a
//! permit that its own request holds. It has no tools.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use firebox_contract::{
    BoxFuture, Caller, Error, Event, GenerationRequest, LogLine, PluginAnswer, PluginPrompt, PluginTexts,
    PluginVectors, RequestModel, TokenId, ToolOptions, limits,
};
use tokio::sync::Mutex as AsyncMutex;

use super::{Engine, Pipeline};
use crate::generation::Generation;

/// See [`RequestModel`].
pub(super) struct PluginModel {
    /// The handle may outlive the engine, and must not be what keeps its thread.
    pub(super) pipeline: Weak<Pipeline>,
    pub(super) context_tokens: usize,
    pub(super) caller: Caller,
    /// The id of the request.
    pub(super) request: Arc<str>,
    /// The plugins that the request adds to its caller's chain. They see the generations of plugins too.
    pub(super) plugins: Vec<String>,
    /// When the request's time is up, on the engine's clock.
    pub(super) until: Duration,
    pub(super) depth: usize,
    /// Tokens that plugins of the request have used.
    pub(super) used: AtomicUsize,
    /// The number of the next generation or embedding.
    pub(super) next: AtomicUsize,
    /// Held by the generation that runs: a request has one permit.
    pub(super) running: AsyncMutex<()>,
}

impl PluginModel {
    fn pipeline(&self) -> Result<Arc<Pipeline>, Error> {
        let gone = || Error::Unavailable("the model is gone; retry later".to_owned());
        self.pipeline.upgrade().ok_or_else(gone)
    }

    /// The id of the next piece of work of `plugin`.
    fn fresh_id(&self, plugin: &str) -> String {
        format!("{}.{plugin}.{}", self.request, self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Tokens that plugins of the request may still use.
    ///
    /// # Errors
    /// `Error::Limited` if there are none.
    fn tokens_left(&self) -> Result<usize, Error> {
        let max = limits::PLUGIN_MODEL_REQUEST_TOKENS_MAX;
        match max.saturating_sub(self.used.load(Ordering::Relaxed)) {
            0 => Err(Error::Limited {
                message: format!("the plugins of this request have used {max} tokens, their limit"),
                retry_after: Duration::ZERO,
            }),
            left => Ok(left),
        }
    }

    async fn answer(&self, plugin: &str, prompt: PluginPrompt) -> Result<PluginAnswer, Error> {
        let pipeline = self.pipeline()?;
        let _running = self.running.lock().await;
        let tokens_max = prompt.tokens_max.min(self.tokens_left()?);
        let id = self.fresh_id(plugin);
        let request = GenerationRequest {
            sampling: prompt.sampling,
            context_tokens_max: Some(tokens_max),
            tools: ToolOptions { rounds: 0, ..ToolOptions::default() },
            timeout: Some(self.until.saturating_sub(pipeline.clock.now())),
            plugins: self.plugins.clone(),
            ..GenerationRequest::new(prompt.prompt)
        };
        let engine = Engine { pipeline };
        let generation = engine.generate_within(&self.caller, request, id, self.depth + 1).await?;
        let mut counted = CountedGeneration { generation, used: &self.used };
        let (mut text, mut log) = (String::new(), Vec::<LogLine>::new());
        while let Some(event) = counted.generation.next().await? {
            match event {
                Event::Text(piece) => text.push_str(&piece),
                Event::Log(line) => log.push(line),
                Event::Finished(finish) => {
                    return Ok(PluginAnswer { text, finish: finish.reason, usage: finish.usage, log });
                }
                _ => {}
            }
        }
        Err(Error::Internal("a generation ended without its last event".to_owned()))
    }

    async fn vectors(
        &self,
        plugin: &str,
        model: Option<String>,
        texts: Vec<String>,
        tokens_max: usize,
    ) -> Result<PluginVectors, Error> {
        let pipeline = self.pipeline()?;
        let none = || Error::NotFound("this host has no embedding model for plugins".to_owned());
        let embedder = pipeline.embedder.as_ref().ok_or_else(none)?;
        let tokens_max = tokens_max.min(self.tokens_left()?);
        let timeout = self.until.saturating_sub(pipeline.clock.now());
        let texts = PluginTexts { id: self.fresh_id(plugin), model, texts, tokens_max, timeout };
        let vectors = embedder.embed(&self.caller, texts).await?;
        self.used.fetch_add(vectors.tokens, Ordering::Relaxed);
        Ok(vectors)
    }

    async fn tokens(&self, text: String) -> Result<Vec<TokenId>, Error> {
        let pipeline = self.pipeline()?;
        let codec = Arc::clone(&pipeline.codec);
        pipeline.encoding_permits.run(&self.caller.tenant, move || codec.encode_text(&text)).await?
    }
}

/// A generation whose tokens are counted when it is dropped, so that a cancelled one counts too.
struct CountedGeneration<'a> {
    generation: Generation,
    used: &'a AtomicUsize,
}

impl Drop for CountedGeneration<'_> {
    fn drop(&mut self) {
        let usage = self.generation.used();
        self.used.fetch_add(usage.prompt_tokens + usage.completion_tokens, Ordering::Relaxed);
    }
}

impl RequestModel for PluginModel {
    fn depth(&self) -> usize {
        self.depth
    }

    fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    fn generate<'a>(&'a self, plugin: &'a str, prompt: PluginPrompt) -> BoxFuture<'a, Result<PluginAnswer, Error>> {
        Box::pin(self.answer(plugin, prompt))
    }

    fn embed<'a>(
        &'a self,
        plugin: &'a str,
        model: Option<String>,
        texts: Vec<String>,
        tokens_max: usize,
    ) -> BoxFuture<'a, Result<PluginVectors, Error>> {
        Box::pin(self.vectors(plugin, model, texts, tokens_max))
    }

    fn tokenize(&self, text: String) -> BoxFuture<'_, Result<Vec<TokenId>, Error>> {
        Box::pin(self.tokens(text))
    }
}

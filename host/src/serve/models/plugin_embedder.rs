//! The embedding models of a server, for plugins that were granted `model:embed`. A plugin's texts go the way of the texts of
//! `/v1/embeddings`: the tenant's gate, admission, the tenant's plugins, the encoder.

use std::sync::{Arc, Weak};

use std::time::Duration;

use firebox_contract::{
    BoxFuture, Caller, Decision, EncoderTask, Error, Gate, HookSource, PluginEmbedder, PluginTexts, PluginVectors,
    RequestUsage, Reservation, ToolCall, ToolOutcome, VectorForm,
};

use super::encoder::{EmbedRequest, EncoderThread, TextOptions};
use super::{LoadedModel, ServedModels};
use crate::serve::hooks::TenantHooks;
use crate::tenancy::Tenancy;

/// See [`PluginEmbedder`].
pub struct ServedEmbedders {
    /// A model has a handle of this, so this must not be what keeps the models.
    models: Weak<ServedModels>,
    hooks: TenantHooks,
    tenancy: Tenancy,
}

impl ServedEmbedders {
    /// The embedding models among `models`.
    #[must_use]
    pub fn new(models: &Arc<ServedModels>, hooks: TenantHooks, tenancy: Tenancy) -> Self {
        Self { models: Arc::downgrade(models), hooks, tenancy }
    }

    /// The encoder of this name that the caller may use, or the first one without a name.
    fn find(&self, caller: &Caller, name: Option<&str>) -> Result<(String, Arc<EncoderThread>), Error> {
        let globs = self.tenancy.models_of(&caller.tenant)?;
        let gone = || Error::Unavailable("the server is shutting down".to_owned());
        let models = self.models.upgrade().ok_or_else(gone)?;
        let embedder = |model: LoadedModel| match model {
            LoadedModel::Encoder(encoder) if encoder.profile().task == EncoderTask::Embed => Some(encoder),
            _ => None,
        };
        let Some(name) = name else {
            let mut found = models.visible(&globs).filter_map(|model| {
                model.ready().ok().and_then(embedder).map(|encoder| (model.name().to_owned(), encoder))
            });
            let none = || Error::NotFound("the tenant has no embedding model".to_owned());
            return found.next().ok_or_else(none);
        };
        let model = models.find(&globs, name)?;
        let other = || Error::NotFound(format!("model \"{}\" makes no embeddings", model.name()));
        Ok((model.name().to_owned(), embedder(model.ready()?).ok_or_else(other)?))
    }

    async fn vectors(&self, caller: &Caller, texts: PluginTexts) -> Result<PluginVectors, Error> {
        let (model, encoder) = self.find(caller, texts.model.as_deref())?;
        let profile = encoder.profile();
        let vector = VectorForm { dimensions: profile.dimensions, normalize: profile.uses_cosine };
        let prompt = profile.prompt(None)?.to_owned();
        let options = TextOptions { prompt, query: None, truncate: false, max_tokens: None, vector };
        let inner = self.tenancy.admit(caller, &model, &texts.id)?;
        let reservation = Box::new(CappedReservation { inner, left: texts.tokens_max });
        let request = EmbedRequest { id: texts.id, texts: texts.texts, options, timeout: texts.timeout };
        let admitted = encoder.admit(caller, request, reservation).await?;
        let chains = (self.hooks.prompt_stage(caller, &[]), self.hooks.embedding_stage(caller, &[]));
        let (chain, stage) = match chains {
            (Ok(chain), Ok(stage)) => (chain, stage.map(|stage| Box::new(stage) as Box<dyn HookSource>)),
            (Err(error), _) | (_, Err(error)) => return Err(admitted.refuse(error)),
        };
        let admitted = admitted.through(stage);
        let found = encoder.embed(admitted, chain.as_ref().map(|chain| chain as &dyn HookSource), Vec::new()).await?;
        Ok(PluginVectors { vectors: found.vectors, tokens: found.tokens })
    }
}

/// A reservation with at most so many tokens. The encoder reserves what it has counted, before it computes.
struct CappedReservation {
    inner: Box<dyn Reservation>,
    left: usize,
}

impl Reservation for CappedReservation {
    fn reserve(&mut self, tokens: usize) -> Result<(), Error> {
        let left = self.left;
        self.left = left.checked_sub(tokens).ok_or_else(|| Error::Limited {
            message: format!(
                "the texts have {tokens} tokens, and {left} are left for plugins; pass fewer or shorter texts, or ask in \
                 another request"
            ),
            retry_after: Duration::ZERO,
        })?;
        self.inner.reserve(tokens)
    }

    fn allow_call(&mut self, call: &ToolCall) -> Result<(), Error> {
        self.inner.allow_call(call)
    }

    fn may_continue(&mut self, fuel: u64) -> Result<(), Error> {
        self.inner.may_continue(fuel)
    }

    fn record_call(&mut self, call: &ToolCall, decision: Decision, outcome: &ToolOutcome) {
        self.inner.record_call(call, decision, outcome);
    }

    fn settle(&mut self, usage: &RequestUsage<'_>) {
        self.inner.settle(usage);
    }
}

impl PluginEmbedder for ServedEmbedders {
    fn embed<'a>(&'a self, caller: &'a Caller, texts: PluginTexts) -> BoxFuture<'a, Result<PluginVectors, Error>> {
        Box::pin(self.vectors(caller, texts))
    }
}

#[cfg(test)]
mod tests {
    use firebox_contract::OpenGate;

    use super::*;

    #[test]
    fn texts_with_more_tokens_than_are_left_are_refused_before_they_are_computed() {
        let inner = OpenGate.admit(&Caller::local(), "m", "1").expect("open");
        let mut capped = CappedReservation { inner, left: 10 };
        capped.reserve(6).expect("4 are left");
        let error = capped.reserve(5).expect_err("too many");
        assert!(
            matches!(&error, Error::Limited { message, .. } if message.contains("5 tokens, and 4 are left")),
            "{error}"
        );
        capped.reserve(4).expect("just enough");
        capped.reserve(1).expect_err("none is left");
    }
}

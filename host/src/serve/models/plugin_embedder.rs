//! The embedding models of a server, for plugins that were granted `model:embed`. A plugin's texts go the way of the texts of
//! `/v1/embeddings`: the tenant's gate, admission, the tenant's plugins, the encoder.

use std::sync::{Arc, Weak};

use firebox_contract::{
    BoxFuture, Caller, EncoderTask, Error, Gate, HookSource, PluginEmbedder, PluginTexts, PluginVectors, VectorForm,
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
        let reservation = self.tenancy.admit(caller, &model, &texts.id)?;
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

impl PluginEmbedder for ServedEmbedders {
    fn embed<'a>(&'a self, caller: &'a Caller, texts: PluginTexts) -> BoxFuture<'a, Result<PluginVectors, Error>> {
        Box::pin(self.vectors(caller, texts))
    }
}

//! The sessions of the token stage: one for each assistant turn.

use std::sync::Arc;

use firebox_contract::{Error, TokenId, TokenSequence};

use super::{Generation, exclusive};
use crate::batch::token_stage::TokenStage;

impl Generation {
    /// Starts the token stage of a turn with the prompt `tokens`. `None` if no plugin has it.
    ///
    /// # Errors
    /// A plugin's fault.
    pub(super) async fn start_token_stage(&mut self, tokens: &[TokenId]) -> Result<Option<TokenStage>, Error> {
        if let Some(session) = self.session.take() {
            session.end().await;
        }
        let (codec, vocabulary) = (&*self.pipeline.codec, self.pipeline.worker.info().vocabulary);
        let sequence = || TokenSequence {
            vocabulary,
            ends: self.pipeline.ends.clone(),
            prompt: tokens.to_vec(),
            texts: codec.token_texts(),
        };
        let hooks = exclusive(&mut self.tools.hooks)?;
        let Some(session) = hooks.start_tokens(&sequence).await? else { return Ok(None) };
        let (stage, handle) =
            TokenStage::start(session, self.pipeline.worker.thread(), Arc::clone(&self.pipeline.clock));
        self.session = Some(handle);
        Ok(Some(stage))
    }
}

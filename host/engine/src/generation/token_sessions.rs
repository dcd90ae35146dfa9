//! The sessions of the token stage: one for each assistant turn.

use firebox_contract::{Error, TokenId, TokenSequence};

use super::{Generation, exclusive};
use crate::batch::token_stage::TokenStage;

impl Generation {
    /// Starts the token stage of a turn with the prompt `tokens`. `None` if no plugin has it.
    ///
    /// # Errors
    /// A plugin's fault.
    pub(super) async fn start_token_stage(&mut self, tokens: &[TokenId]) -> Result<Option<TokenStage>, Error> {
        if let Some(task) = self.session.take() {
            task.end().await;
        }
        let vocabulary = self.pipeline.worker.info().vocabulary;
        let codec = &*self.pipeline.codec;
        let sequence = || TokenSequence {
            vocabulary,
            ends: (0..vocabulary as TokenId).filter(|token| codec.is_end(*token)).collect(),
            prompt: tokens.to_vec(),
            texts: codec.token_texts(),
        };
        let hooks = exclusive(&mut self.tools.hooks)?;
        let Some(session) = hooks.start_tokens(&sequence).await? else { return Ok(None) };
        let (stage, task) = TokenStage::start(session, self.pipeline.worker.thread());
        self.session = Some(task);
        Ok(Some(stage))
    }
}

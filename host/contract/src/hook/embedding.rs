//! The embedding stage: plugins see the texts before an encoder and the vectors after it.

use crate::BoxFuture;
use crate::error::Error;

/// The stage's decision about the texts of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingVerdict {
    /// Continue with these texts; none is empty. There may be more than before, if the hook joins their vectors again.
    Continue(Vec<String>),
    /// Do not compute vectors.
    Refuse {
        /// The plugin that refused.
        plugin: String,
        /// Its reason, for the client.
        message: String,
    },
}

/// The embedding stage: may rewrite or refuse texts, and rewrite vectors.
pub trait EmbeddingHook {
    /// Runs the chain in its configured order, before the texts are tokenized.
    fn before_embedding(&mut self, texts: Vec<String>) -> BoxFuture<'_, Result<EmbeddingVerdict, Error>> {
        Box::pin(std::future::ready(Ok(EmbeddingVerdict::Continue(texts))))
    }

    /// Runs the chain, the last plugin first. All vectors have one length, before and after; it may become smaller. There is one
    /// for each text that [`EmbeddingHook::before_embedding`] got.
    fn after_embedding(&mut self, vectors: Vec<Vec<f32>>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Error>> {
        Box::pin(std::future::ready(Ok(vectors)))
    }
}

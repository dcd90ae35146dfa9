//! The ends of a decoder: embeddings of tokens, and the last norm and output weights, which give logits.

use burn::tensor::Tensor;
use firebox_contract::{Logits, TokenId};
use firebox_kernels::elements::soft_cap;
use firebox_kernels::weights::StoredTensor;

use crate::arch::decoder::config::DecoderConfig;
use crate::arch::decoder::tensors::DecoderTensors;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::layers::{Linear, RmsNorm};

#[derive(Debug)]
pub(super) struct Head {
    embeddings: StoredTensor,
    norm: RmsNorm,
    output: Linear,
    vocabulary: usize,
    /// What embeddings are multiplied by.
    embedding_multiplier: f32,
    logit_multiplier: f32,
    logit_cap: Option<f32>,
}

impl Head {
    /// # Errors
    /// The first tensor that is missing or wrong.
    pub(super) fn load(
        weights: &Weights<'_>,
        names: &DecoderTensors,
        config: &DecoderConfig,
    ) -> Result<Self, ModelError> {
        let (embeddings, output) = load_both(weights, names, config)?;
        Ok(Self {
            embeddings,
            norm: config.norm(weights, names.norm, config.hidden)?,
            output: weights.linear_from(vec![output], None)?,
            vocabulary: config.vocabulary,
            embedding_multiplier: config.multipliers.embeddings,
            logit_multiplier: config.multipliers.logits,
            logit_cap: config.logit_cap,
        })
    }

    /// The tokens' embeddings, gathered from the stored weights: `[tokens, hidden]`.
    ///
    /// # Errors
    /// `Usage` for a token that has none.
    pub(super) fn embed<'a>(&self, tokens: impl Iterator<Item = &'a TokenId>) -> Result<Vec<f32>, ModelError> {
        let mut values = Vec::new();
        for token in tokens {
            if !self.embeddings.append_row(*token as usize, &mut values) {
                return Err(ModelError::Usage(format!("token \"{token}\" has no embedding")));
            }
        }
        if self.embedding_multiplier != 1.0 {
            values.iter_mut().for_each(|value| *value *= self.embedding_multiplier);
        }
        Ok(values)
    }

    /// `[rows, hidden]` after the last layer, normed.
    pub(super) fn normed(&self, x: Tensor<2>) -> Tensor<2> {
        self.norm.forward(x)
    }

    /// `[rows, hidden]` after the last layer to `[rows, vocabulary]`, which [`Self::read`] turns into logits.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.output.forward_normed(x, Some(&self.norm))
    }

    /// Reads `rows` rows of logits from the device in one transfer.
    ///
    /// # Errors
    /// The device's message.
    pub(super) fn read(&self, products: Tensor<2>, rows: usize) -> Result<Vec<Logits>, String> {
        let mut flat = products.try_into_vec_as::<f32>().map_err(|error| error.to_string())?;
        if self.logit_multiplier != 1.0 {
            flat.iter_mut().for_each(|logit| *logit *= self.logit_multiplier);
        }
        if let Some(cap) = self.logit_cap {
            flat.iter_mut().for_each(|logit| *logit = soft_cap(*logit, cap));
        }
        if rows == 1 {
            return Ok(vec![flat]);
        }
        Ok(flat.chunks_exact(self.vocabulary).take(rows).map(<[f32]>::to_vec).collect())
    }
}

/// Embeddings and output weights, each `[vocabulary, hidden]`. If the config ties them and the checkpoint has both, they
/// are tied only if they are equal, as in transformers. If the checkpoint has one of them, it is used for both.
fn load_both(
    weights: &Weights<'_>,
    names: &DecoderTensors,
    config: &DecoderConfig,
) -> Result<(StoredTensor, StoredTensor), ModelError> {
    let shape = [config.vocabulary, config.hidden];
    let (embeddings, head) = (format!("{}.weight", names.embeddings), format!("{}.weight", names.head));
    let (embeddings, head) = (embeddings.as_str(), head.as_str());
    if !config.tied_embeddings {
        return Ok((weights.stored(embeddings, &shape)?, weights.stored(head, &shape)?));
    }
    if !weights.has(head) {
        let both = weights.stored(embeddings, &shape)?;
        return Ok((both.clone(), both));
    }
    if !weights.has(embeddings) {
        let both = weights.stored(head, &shape)?;
        return Ok((both.clone(), both));
    }
    let first = weights.stored(embeddings, &shape)?;
    if weights.has_same(embeddings, head) {
        weights.note_used(head);
        return Ok((first.clone(), first));
    }
    weights
        .warn(&format!("\"tie_word_embeddings\" is true, but \"{head}\" differs from the embeddings; both are used"));
    Ok((first, weights.stored(head, &shape)?))
}

//! A decoder as a text encoder: the vectors of its tokens after the last norm. Each token attends to itself and to those
//! before it, so the last one has seen the whole text.

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::{SequenceId, TokenId, limits};

use crate::arch::decoder::batch::{Batch, BatchPart};
use crate::arch::decoder::cache::SequenceCache;
use crate::arch::decoder::config::DecoderConfig;
use crate::arch::decoder::{Decoder, DecoderOptions};
use crate::arch::{DecoderArchitecture, EncoderModel, TextTokens};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::sentence::{Pooling, Rows};

/// A decoder on the CPU that makes vectors of texts.
#[derive(Debug)]
pub(crate) struct DecoderEncoder {
    decoder: Decoder,
}

impl DecoderEncoder {
    /// Loads the weights. The head is not needed, and most checkpoints do not have it.
    ///
    /// # Errors
    /// The first tensor that is missing or wrong.
    pub(crate) fn load(
        weights: &Weights<'_>,
        architecture: &DecoderArchitecture,
        mut config: DecoderConfig,
        options: DecoderOptions,
    ) -> Result<Self, ModelError> {
        config.tied_embeddings |= !weights.has(&format!("{}.weight", architecture.tensors.head));
        Ok(Self { decoder: Decoder::load(weights, architecture, config, options)? })
    }

    /// The vectors of the tokens of these texts, `[rows, hidden]`, in one pass.
    fn states(&self, texts: &[TextTokens]) -> Result<Vec<f32>, ModelError> {
        let decoder = &self.decoder;
        let no_cache = || decoder.failed("text vectors are computed on the CPU only".to_owned());
        let tokens: Vec<&[TokenId]> = texts.iter().map(|text| text.ids.as_slice()).collect();
        let mut parts: Vec<BatchPart<'_>> = Vec::with_capacity(tokens.len());
        for tokens in &tokens {
            let cache = SequenceCache::of_one_pass(decoder.cache_shape, tokens.len()).ok_or_else(no_cache)?;
            parts.push((SequenceId(parts.len() as u64), cache, tokens));
        }
        let mut batch = Batch::new(parts, &decoder.config, false);
        let rows = batch.rows;
        let values = decoder.head.embed(tokens.iter().copied().flatten())?;
        let data = TensorData::new(values, [rows, decoder.config.hidden]);
        let x = Tensor::from_data(data, (&decoder.device, DType::F32));
        let x = decoder.run_layers(x, &mut batch, None, &mut || true)?.ok_or_else(no_cache)?;
        let states = decoder.head.normed(x).try_into_vec_as::<f32>();
        states.map_err(|error| decoder.failed(error.to_string()))
    }
}

impl EncoderModel for DecoderEncoder {
    fn hidden(&self) -> usize {
        self.decoder.config.hidden
    }

    fn vocabulary(&self) -> usize {
        self.decoder.config.vocabulary
    }

    fn positions(&self) -> usize {
        self.decoder.config.positions
    }

    fn device(&self) -> &Device {
        &self.decoder.device
    }

    fn forward(&mut self, texts: &[TextTokens], _tokens: usize, pooling: &Pooling) -> Result<Tensor<2>, ModelError> {
        let hidden = self.hidden();
        let mut pooled = Vec::with_capacity(texts.len() * pooling.width(hidden));
        let mut rest = texts;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(texts_of_a_pass(rest));
            let rows: Vec<Rows> =
                now.iter().map(|text| Rows { tokens: text.ids.len(), left_out: text.left_out }).collect();
            pooled.extend(pooling.pool_rows(&self.states(now)?, hidden, &rows));
            rest = later;
        }
        let data = TensorData::new(pooled, [texts.len(), pooling.width(hidden)]);
        Ok(Tensor::from_data(data, (self.device(), DType::F32)))
    }
}

/// The number of texts that are computed together: as many as have the rows of a step, and at least one.
fn texts_of_a_pass(texts: &[TextTokens]) -> usize {
    let mut rows = 0;
    let fits = |text: &&TextTokens| {
        rows += text.ids.len();
        rows <= limits::PREFILL_CHUNK_TOKENS
    };
    texts.iter().take_while(fits).count().max(1)
}

//! Texts to vectors: tokenizer, padded batch, pooling, normalization.

use std::panic::{AssertUnwindSafe, catch_unwind};

use firebox_contract::{Encoder, Encoding, Error, ModelInfo};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::arch::{BertEncoder, panic_text};
use crate::codec::bounded;
use crate::error::ModelError;
use crate::kernel::join_in;
use crate::pooling::Head;

/// On devices that compile kernels per shape, texts are padded to multiples of this.
const PAD_TOKENS: usize = 16;

/// A loaded sentence encoder.
pub(crate) struct TextEncoder {
    pub(crate) info: ModelInfo,
    pub(crate) model: BertEncoder,
    pub(crate) head: Head,
    pub(crate) tokenizer: Tokenizer,
    /// Path of the tokenizer, for messages.
    pub(crate) tokenizer_file: String,
    pub(crate) pad_shapes: bool,
}

impl TextEncoder {
    fn tokenizer_failed(&self, error: &(dyn std::error::Error + Send + Sync)) -> ModelError {
        ModelError::Tokenizer { file: self.tokenizer_file.clone(), reason: error.to_string() }
    }

    /// Token ids with special tokens, cut to `limit` in all.
    fn tokenize(&self, text: &str, limit: usize) -> Result<Vec<u32>, ModelError> {
        let failed = |error: tokenizers::Error| self.tokenizer_failed(&*error);
        let special = self.special_tokens();
        let text = bounded::beginning(&self.tokenizer, text, limit).map_err(failed)?;
        let mut encoding = bounded::encode_all(&self.tokenizer, text, false).map_err(failed)?;
        encoding.truncate(limit.saturating_sub(special).max(1), 0, TruncationDirection::Right);
        let encoding = self.tokenizer.post_process(encoding, None, true).map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    fn special_tokens(&self) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(false))
    }

    fn run(&self, ids: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let longest = ids.iter().map(|ids| ids.len()).max().unwrap_or(1).max(1);
        let tokens = match self.pad_shapes {
            true => longest.next_multiple_of(PAD_TOKENS),
            false => longest,
        };
        let failed = |reason| ModelError::Device { device: self.info.device.clone(), reason };
        let pooled = catch_unwind(AssertUnwindSafe(|| {
            let pooled = self.model.forward(ids, tokens, self.head.pooling)?;
            pooled.try_into_vec_as::<f32>().map_err(|error| failed(error.to_string()))
        }));
        pooled.unwrap_or_else(|panic| Err(failed(panic_text(&*panic))))
    }
}

impl Encoder for TextEncoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn dimensions(&self) -> usize {
        self.model.config().hidden
    }

    fn count_tokens(&self, text: &str) -> Result<usize, Error> {
        let far_more = bounded::far_more(&self.tokenizer, text, self.info.context_tokens);
        if let Some(least) = far_more.map_err(|error| self.tokenizer_failed(&*error))? {
            return Ok(least);
        }
        let encoding =
            bounded::encode_all(&self.tokenizer, text, true).map_err(|error| self.tokenizer_failed(&*error))?;
        Ok(encoding.len())
    }

    fn encode(&mut self, texts: &[&str], max_tokens: Option<usize>, normalize: bool) -> Result<Vec<Encoding>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        // On the CPU.
        let _claim = (!self.pad_shapes).then(join_in);
        let limit = max_tokens.unwrap_or(usize::MAX).min(self.info.context_tokens);
        let least = self.special_tokens() + 1;
        if limit < least {
            return Err(ModelError::Usage(format!("max tokens \"{limit}\" is less than {least}")).into());
        }
        let ids = texts.iter().map(|text| self.tokenize(text, limit)).collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let values = self.run(&rows)?;
        let vectors = values.chunks_exact(self.dimensions());
        let normalize = normalize || self.head.normalize;
        let encoding = |(vector, ids): (&[f32], &Vec<u32>)| Encoding {
            embedding: if normalize { normalized(vector) } else { vector.to_vec() },
            tokens: ids.len(),
        };
        Ok(vectors.zip(&ids).map(encoding).collect())
    }
}

/// The vector at length 1 (L2); a vector of zeros stays as it is.
fn normalized(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    #[allow(clippy::cast_possible_truncation, reason = "a length in f64 becomes a scale in f32")]
    let scale = (1.0 / length.max(1e-12)) as f32;
    vector.iter().map(|value| value * scale).collect()
}

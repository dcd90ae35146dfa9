//! From texts to vectors: tokenizer, batch, transformer, pooling, and the modules after it.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use firebox_contract::{Encoder, EncoderProfile, EncoderText, Encoding, Error, ModelInfo, panic_text};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::arch::EncoderModel;
use crate::codec::bounded;
use crate::error::ModelError;
use crate::kernel::join_pool;
use crate::sentence::EmbeddingHead;

/// Texts are padded to multiples of this on devices that compile kernels for each shape.
const PAD_TOKENS: usize = 16;

/// A loaded text encoder.
pub(crate) struct TextEncoder {
    pub(crate) info: ModelInfo,
    pub(crate) profile: EncoderProfile,
    pub(crate) model: Box<dyn EncoderModel>,
    pub(crate) head: EmbeddingHead,
    pub(crate) tokenizer: Tokenizer,
    /// Path of the tokenizer, for messages.
    pub(crate) tokenizer_file: String,
    pub(crate) pad_shapes: bool,
    /// On the CPU.
    pub(crate) threads: usize,
}

/// A tokenized text.
struct Tokens {
    ids: Vec<u32>,
    /// Tokens at the beginning that belong to a prompt and are not pooled.
    left_out: usize,
}

impl TextEncoder {
    fn tokenizer_failed(&self, error: &(dyn std::error::Error + Send + Sync)) -> ModelError {
        ModelError::Tokenizer { file: self.tokenizer_file.clone(), reason: error.to_string() }
    }

    /// The token ids of a text with special tokens, cut to the limits of the text and of the model.
    fn tokenize(&self, text: &EncoderText<'_>) -> Result<Tokens, ModelError> {
        let limit = text.max_tokens.unwrap_or(usize::MAX).min(self.info.context_tokens);
        let least = self.special_tokens() + 1;
        if limit < least {
            return Err(ModelError::Usage(format!("max tokens \"{limit}\" is less than {least}")));
        }
        let ids = self.ids(&joined(text), limit)?;
        let left_out = match self.head.pooling.include_prompt || text.prompt.is_empty() {
            true => 0,
            false => self.prompt_tokens(text.prompt, limit)?,
        };
        Ok(Tokens { ids, left_out })
    }

    fn ids(&self, text: &str, limit: usize) -> Result<Vec<u32>, ModelError> {
        let failed = |error: tokenizers::Error| self.tokenizer_failed(&*error);
        let (text, side) = match self.profile.truncates_left {
            true => (text, TruncationDirection::Left),
            false => (bounded::beginning(&self.tokenizer, text, limit).map_err(failed)?, TruncationDirection::Right),
        };
        let mut encoding = bounded::encode_all(&self.tokenizer, text, false).map_err(failed)?;
        encoding.truncate(limit.saturating_sub(self.special_tokens()).max(1), 0, side);
        let encoding = self.tokenizer.post_process(encoding, None, true).map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The number of tokens of the prompt alone, without the special token at its end. sentence-transformers leaves out
    /// this number of tokens, also if the prompt is tokenized differently within the text.
    fn prompt_tokens(&self, prompt: &str, limit: usize) -> Result<usize, ModelError> {
        let ids = self.ids(prompt, limit)?;
        let added = self.tokenizer.get_added_tokens_decoder();
        let special = ids.last().is_some_and(|last| added.get(last).is_some_and(|token| token.special));
        Ok(ids.len() - usize::from(special))
    }

    fn special_tokens(&self) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(false))
    }

    fn run(&self, texts: &[Tokens]) -> Result<Vec<f32>, ModelError> {
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids.as_slice()).collect();
        let left_out: Vec<usize> = texts.iter().map(|text| text.left_out).collect();
        let longest = ids.iter().map(|ids| ids.len()).max().unwrap_or(1).max(1);
        let tokens = match self.pad_shapes {
            true => longest.next_multiple_of(PAD_TOKENS),
            false => longest,
        };
        let failed = |reason| ModelError::Device { device: self.info.device.clone(), reason };
        let vectors = catch_unwind(AssertUnwindSafe(|| {
            let pooled = self.model.forward(&ids, &left_out, tokens, &self.head.pooling)?;
            let pooled = pooled.try_into_vec_as::<f32>().map_err(|error| failed(error.to_string()))?;
            self.head.finish(pooled, self.model.hidden(), self.model.device())
        }));
        vectors.unwrap_or_else(|panic| Err(failed(panic_text(&*panic).to_owned())))
    }
}

impl Encoder for TextEncoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn profile(&self) -> &EncoderProfile {
        &self.profile
    }

    fn count_tokens(&self, text: &EncoderText<'_>) -> Result<usize, Error> {
        let text = joined(text);
        let far_more = bounded::far_more(&self.tokenizer, &text, self.info.context_tokens);
        if let Some(least) = far_more.map_err(|error| self.tokenizer_failed(&*error))? {
            return Ok(least);
        }
        let encoding =
            bounded::encode_all(&self.tokenizer, &text, true).map_err(|error| self.tokenizer_failed(&*error))?;
        Ok(encoding.len())
    }

    fn encode(&mut self, texts: &[EncoderText<'_>]) -> Result<Vec<Encoding>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        // On the CPU.
        let _claim = (!self.pad_shapes).then(|| join_pool(self.threads));
        let texts = texts.iter().map(|text| self.tokenize(text)).collect::<Result<Vec<_>, _>>()?;
        let values = self.run(&texts)?;
        let vectors = values.chunks_exact(self.head.width);
        let encoding =
            |(vector, text): (&[f32], &Tokens)| Encoding { embedding: vector.to_vec(), tokens: text.ids.len() };
        Ok(vectors.zip(&texts).map(encoding).collect())
    }
}

/// The prompt and the text in one.
fn joined<'a>(text: &EncoderText<'a>) -> Cow<'a, str> {
    match text.prompt.is_empty() {
        true => Cow::Borrowed(text.text),
        false => Cow::Owned([text.prompt, text.text].concat()),
    }
}

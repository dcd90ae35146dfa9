//! From texts to vectors: tokenizer, batch, transformer, pooling, and the modules after it.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use firebox_contract::{Encoder, EncoderProfile, EncoderText, Error, ModelInfo, panic_text};
use firebox_kernels::threads::join_pool;
use tokenizers::{
    Encoding, PostProcessor, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};

use crate::arch::{EncoderModel, TextTokens};
use crate::codec::bounded;
use crate::error::ModelError;
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
    /// Whether the model gets the types of tokens.
    pub(crate) reads_types: bool,
    /// On the CPU.
    pub(crate) threads: usize,
}

impl TextEncoder {
    fn tokenizer_failed(&self, error: &(dyn std::error::Error + Send + Sync)) -> ModelError {
        ModelError::Tokenizer { file: self.tokenizer_file.clone(), reason: error.to_string() }
    }

    /// The tokens of a text or of a pair with special tokens, cut to the limits of the text and of the model.
    fn tokenize(&self, text: &EncoderText<'_>) -> Result<TextTokens, ModelError> {
        let limit = text.max_tokens.unwrap_or(usize::MAX).min(self.info.context_tokens);
        let is_pair = text.query.is_some();
        let least = self.special_tokens(is_pair) + 1 + usize::from(is_pair);
        if limit < least {
            return Err(ModelError::Usage(format!("max tokens \"{limit}\" is less than {least}")));
        }
        let encoding = self.cut(text, limit)?;
        let left_out = match self.head.pooling.include_prompt || text.prompt.is_empty() || is_pair {
            true => 0,
            false => self.prompt_tokens(text.prompt, limit)?,
        };
        Ok(TextTokens { ids: encoding.get_ids().to_vec(), types: self.types(&encoding), left_out })
    }

    fn types(&self, encoding: &Encoding) -> Vec<u32> {
        if self.reads_types { encoding.get_type_ids().to_vec() } else { Vec::new() }
    }

    /// Encodes at most `limit` tokens. Of a pair, the longer text is cut first.
    fn cut(&self, text: &EncoderText<'_>, limit: usize) -> Result<Encoding, ModelError> {
        let failed = |error: tokenizers::Error| self.tokenizer_failed(&*error);
        let (first, second) = parts(text);
        let first = self.beginning(&first, limit)?;
        let second = second.map(|text| self.beginning(text, limit)).transpose()?;
        let direction =
            if self.profile.truncates_left { TruncationDirection::Left } else { TruncationDirection::Right };
        let room = limit.saturating_sub(self.special_tokens(second.is_some())).max(1);
        let parameters =
            TruncationParams { max_length: room, strategy: TruncationStrategy::LongestFirst, stride: 0, direction };
        let (first, second) = truncate_encodings(first, second, &parameters).map_err(failed)?;
        self.tokenizer.post_process(first, second, true).map_err(failed)
    }

    /// All tokens of a text, or those of a part of it that is certainly longer than `limit` tokens.
    fn beginning(&self, text: &str, limit: usize) -> Result<Encoding, ModelError> {
        let failed = |error: tokenizers::Error| self.tokenizer_failed(&*error);
        let text = match self.profile.truncates_left {
            true => text,
            false => bounded::beginning(&self.tokenizer, text, limit).map_err(failed)?,
        };
        bounded::encode_all(&self.tokenizer, text, false).map_err(failed)
    }

    /// The number of tokens of the prompt alone, without the special token at its end. sentence-transformers leaves out
    /// this number of tokens, also if the prompt is tokenized differently within the text.
    fn prompt_tokens(&self, prompt: &str, limit: usize) -> Result<usize, ModelError> {
        let encoding = self.cut(&EncoderText::from(prompt), limit)?;
        let added = self.tokenizer.get_added_tokens_decoder();
        let last = encoding.get_ids().last();
        let special = last.is_some_and(|last| added.get(last).is_some_and(|token| token.special));
        Ok(encoding.len() - usize::from(special))
    }

    fn special_tokens(&self, is_pair: bool) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |post| post.added_tokens(is_pair))
    }

    /// The number of tokens of a text, or a lower bound of it above the model's limit.
    fn count(&self, text: &str) -> Result<usize, ModelError> {
        let failed = |error: tokenizers::Error| self.tokenizer_failed(&*error);
        match bounded::far_more(&self.tokenizer, text, self.info.context_tokens).map_err(failed)? {
            Some(least) => Ok(least),
            None => Ok(bounded::encode_all(&self.tokenizer, text, false).map_err(failed)?.len()),
        }
    }

    /// Runs the tokenizer. It may panic on the tables of a hostile file.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let reason = panic_text(&*panic).to_owned();
            Err(ModelError::Tokenizer { file: self.tokenizer_file.clone(), reason })
        })
    }

    fn run(&mut self, texts: &[TextTokens]) -> Result<Vec<f32>, ModelError> {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(1).max(1);
        let tokens = match self.pad_shapes {
            true => longest.next_multiple_of(PAD_TOKENS),
            false => longest,
        };
        let device = self.info.device.clone();
        let failed = |reason| ModelError::Device { device: device.clone(), reason };
        let vectors = catch_unwind(AssertUnwindSafe(|| {
            let pooled = self.model.forward(texts, tokens, &self.head.pooling)?;
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
        let (first, second) = parts(text);
        let special = self.special_tokens(second.is_some());
        let count = || Ok(self.count(&first)? + second.map_or(Ok(0), |text| self.count(text))? + special);
        Ok(self.guarded(count)?)
    }

    fn encode(&mut self, texts: &[EncoderText<'_>]) -> Result<Vec<firebox_contract::Encoding>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        // On the CPU.
        let _claim = (!self.pad_shapes).then(|| join_pool(self.threads));
        let texts = self.guarded(|| texts.iter().map(|text| self.tokenize(text)).collect::<Result<Vec<_>, _>>())?;
        let values = self.run(&texts)?;
        let vectors = values.chunks_exact(self.head.width);
        let encoding = |(vector, text): (&[f32], &TextTokens)| firebox_contract::Encoding {
            embedding: vector.to_vec(),
            tokens: text.ids.len(),
        };
        Ok(vectors.zip(&texts).map(encoding).collect())
    }
}

/// The first and the second text: the prompt is put before the first, which is the query of a pair.
fn parts<'a>(text: &EncoderText<'a>) -> (Cow<'a, str>, Option<&'a str>) {
    let (first, second) = match text.query {
        Some(query) => (query, Some(text.text)),
        None => (text.text, None),
    };
    let first = match text.prompt.is_empty() {
        true => Cow::Borrowed(first),
        false => Cow::Owned([text.prompt, first].concat()),
    };
    (first, second)
}

//! A decoder of the Llama family: embeddings, layers, head, and the caches of its sequences.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::{Error, LanguageModel, Logits, ModelInfo, SequenceId, Span, TokenId, limits};

use crate::arch::block::{Block, Pass, RmsNorm, View};
use crate::arch::cache::{CacheShape, SequenceCache};
use crate::arch::config::DecoderConfig;
use crate::checkpoint::tensors::StoredTensor;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::linear::Linear;

/// Added to the score of a position a row must not see; `exp` of it is 0 and, unlike infinity, it never makes NaN.
const MASKED: f32 = -1e30;
/// On devices that compile kernels per shape, the cache is seen in multiples of this.
const VIEW_BLOCK_TOKENS: usize = 64;

/// What is decided when a decoder is loaded.
#[derive(Debug, Clone)]
pub(crate) struct DecoderOptions {
    pub(crate) name: String,
    pub(crate) architecture: &'static str,
    pub(crate) device_name: String,
    pub(crate) context_tokens: usize,
    pub(crate) cache_bytes: u64,
    /// Few shapes for devices that compile kernels; exact shapes for the CPU.
    pub(crate) pad_shapes: bool,
}

/// A loaded decoder.
#[derive(Debug)]
pub(crate) struct Decoder {
    info: ModelInfo,
    device: Device,
    config: DecoderConfig,
    embeddings: StoredTensor,
    blocks: Vec<Block>,
    norm: RmsNorm<2>,
    head: Linear,
    cache_shape: CacheShape,
    cache_bytes: u64,
    pad_shapes: bool,
    sequences: HashMap<SequenceId, SequenceCache>,
}

impl Decoder {
    /// Loads the weights `config` asks for.
    ///
    /// # Errors
    /// The first tensor that is missing or wrong.
    pub(crate) fn load(
        weights: &Weights<'_>,
        config: DecoderConfig,
        options: DecoderOptions,
    ) -> Result<Self, ModelError> {
        let embeddings = weights.stored("model.embed_tokens.weight", &[config.vocabulary, config.hidden])?;
        let blocks =
            (0..config.layers).map(|layer| Block::load(weights, &config, layer)).collect::<Result<Vec<_>, _>>()?;
        let norm = weights.vector("model.norm.weight", config.hidden)?;
        let head = match config.tied_embeddings {
            true => weights.linear_from(vec![embeddings.clone()], None)?,
            false => weights.linear(&[("lm_head".to_owned(), config.vocabulary)], config.hidden, false)?,
        };
        let info = ModelInfo {
            name: options.name,
            architecture: options.architecture.to_owned(),
            parameters: weights.parameters(),
            context_tokens: options.context_tokens,
            vocabulary: config.vocabulary,
            device: options.device_name,
            dtype: "f32",
            weights_bytes: weights.bytes(),
        };
        let cache_shape = CacheShape {
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            context: options.context_tokens,
        };
        Ok(Self {
            info,
            device: weights.device().clone(),
            embeddings,
            blocks,
            norm: RmsNorm::new(norm.unsqueeze(), config.norm_epsilon),
            head,
            cache_shape,
            cache_bytes: options.cache_bytes,
            pad_shapes: options.pad_shapes,
            sequences: HashMap::new(),
            config,
        })
    }

    /// Checks a span against vocabulary, context and cache budget, and makes room for it.
    fn admit(&mut self, span: &Span<'_>) -> Result<(), ModelError> {
        if span.tokens.is_empty() {
            return Err(ModelError::Usage(format!("sequence \"{}\" was given no tokens", span.sequence.0)));
        }
        if let Some(token) = span.tokens.iter().find(|token| **token as usize >= self.config.vocabulary) {
            let size = self.config.vocabulary;
            return Err(ModelError::Usage(format!("token \"{token}\" is outside the vocabulary of {size}")));
        }
        let used: u64 = self.sequences.values().map(|cache| self.cache_shape.bytes(cache.capacity())).sum();
        let current = self.sequences.get(&span.sequence).map_or((0, 0), |cache| (cache.length, cache.capacity()));
        let needed = current.0.saturating_add(span.tokens.len());
        if needed > self.info.context_tokens {
            return Err(ModelError::TooLarge(format!(
                "{needed} tokens do not fit into the context of {} tokens of \"{}\"; shorten the conversation",
                self.info.context_tokens, self.info.name
            )));
        }
        let capacity = self.cache_shape.grown(current.1, needed);
        let wanted = used + self.cache_shape.bytes(capacity) - self.cache_shape.bytes(current.1);
        if wanted > self.cache_bytes {
            return Err(ModelError::Busy(format!(
                "the caches of \"{}\" would need {wanted} bytes, at most {} are allowed; try again when others are done",
                self.info.name, self.cache_bytes
            )));
        }
        let shape = self.cache_shape;
        let cache = self.sequences.entry(span.sequence).or_insert_with(|| SequenceCache::empty(shape));
        if cache.broken {
            let text = format!("sequence \"{}\" failed before and must be released first", span.sequence.0);
            return Err(ModelError::Usage(text));
        }
        cache.reserve(shape, capacity, &self.device);
        Ok(())
    }

    /// Appends a span in chunks; the logits after its last token, if wanted.
    fn append(&mut self, span: &Span<'_>) -> Result<Option<Logits>, ModelError> {
        self.admit(span)?;
        let chunks = span.tokens.chunks(limits::PREFILL_CHUNK_TOKENS);
        let last = chunks.len();
        let mut logits = None;
        for (index, chunk) in chunks.enumerate() {
            let wants = span.wants_logits && index + 1 == last;
            logits = self.step(span.sequence, chunk, wants)?;
        }
        Ok(logits)
    }

    /// One forward pass over the tokens of one sequence.
    fn step(&mut self, id: SequenceId, tokens: &[TokenId], wants: bool) -> Result<Option<Logits>, ModelError> {
        let missing = || ModelError::Usage(format!("sequence \"{}\" has no cache", id.0));
        let start = self.sequences.get(&id).ok_or_else(missing)?.length;
        let rows = if self.pad_shapes { tokens.len().next_power_of_two() } else { tokens.len() };
        let pass = Pass { start, tokens: tokens.len(), angles: self.config.rotary.angles(start, rows, &self.device) };
        let views = self.views(&pass, rows, self.sequences.get(&id).map_or(0, SequenceCache::capacity));
        let mut x = self.embed(tokens, rows)?;
        let cache = self.sequences.get_mut(&id).ok_or_else(missing)?;
        cache.broken = true;
        for ((block, window), layer) in self.blocks.iter().zip(&self.config.windows).zip(&mut cache.layers) {
            let view = views.get(window).ok_or_else(missing)?;
            x = block.forward(x, &pass, view, layer).ok_or_else(missing)?;
        }
        cache.length += tokens.len();
        cache.broken = false;
        if !wants {
            return Ok(None);
        }
        let last = self.norm.forward(x.narrow(0, tokens.len() - 1, 1));
        self.read(self.head.forward(last)).map(Some)
    }

    /// The tokens' embeddings, `[rows, hidden]`, gathered from the stored weights; rows beyond the tokens are zero.
    fn embed(&self, tokens: &[TokenId], rows: usize) -> Result<Tensor<2>, ModelError> {
        let mut values = Vec::with_capacity(rows * self.config.hidden);
        for token in tokens {
            if !self.embeddings.append_row(*token as usize, &mut values) {
                return Err(ModelError::Usage(format!("token \"{token}\" has no embedding")));
            }
        }
        values.resize(rows * self.config.hidden, 0.0);
        let data = TensorData::new(values, [rows, self.config.hidden]);
        Ok(Tensor::from_data(data, (&self.device, DType::F32)))
    }

    /// What each kind of window lets the rows of this pass see.
    fn views(&self, pass: &Pass, rows: usize, capacity: usize) -> HashMap<Option<usize>, View> {
        let mut views = HashMap::new();
        for window in &self.config.windows {
            views.entry(*window).or_insert_with(|| self.view(pass, rows, capacity, *window));
        }
        views
    }

    fn view(&self, pass: &Pass, rows: usize, capacity: usize, window: Option<usize>) -> View {
        let end = pass.start + pass.tokens;
        let first = window.map_or(0, |window| (pass.start + 1).saturating_sub(window));
        let (from, to) = match self.pad_shapes {
            true => (first - first % VIEW_BLOCK_TOKENS, end.next_multiple_of(VIEW_BLOCK_TOKENS).min(capacity)),
            false => (first, end),
        };
        let sees = |row: usize, position: usize| {
            let own = (pass.start + row).min(end - 1);
            position <= own && window.is_none_or(|window| position + window > own)
        };
        let all = rows == 1 && (from, to) == (first, end);
        let mask = (!all).then(|| {
            let cell = |row, position| if sees(row, position) { 0.0 } else { MASKED };
            let values: Vec<f32> = (0..rows).flat_map(|row| (from..to).map(move |at| cell(row, at))).collect();
            Tensor::from_data(TensorData::new(values, [1, rows, to - from]), (&self.device, DType::F32))
        });
        View { from, to, mask }
    }

    fn read(&self, logits: Tensor<2>) -> Result<Logits, ModelError> {
        logits.try_into_vec_as::<f32>().map_err(|error| self.failed(error.to_string()))
    }

    fn failed(&self, reason: String) -> ModelError {
        ModelError::Device { device: self.info.device.clone(), reason }
    }
}

impl LanguageModel for Decoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>> {
        let mut row = |span: &Span<'_>| {
            // burn and the drivers below it may panic (out of memory, lost device); the sequence stays marked as broken.
            let result = catch_unwind(AssertUnwindSafe(|| self.append(span)));
            Ok(result.unwrap_or_else(|panic| Err(self.failed(panic_text(&*panic))))?)
        };
        batch.iter().map(&mut row).collect()
    }

    fn release(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked without a message").to_owned()
}

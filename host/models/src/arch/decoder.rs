//! A decoder of the Llama family: embeddings, layers, head, and the caches of its sequences.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::{
    CacheUse, Error, LanguageModel, Logits, ModelInfo, SequenceId, Span, TokenId, limits, panic_text,
};

use crate::arch::batch::{Batch, Part, Segment};
use crate::arch::block::Block;
use crate::arch::cache::{CacheShape, SequenceCache};
use crate::arch::config::DecoderConfig;
use crate::arch::steps::{Pass, Steps};
use crate::checkpoint::tensors::StoredTensor;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{GPU_KERNEL_SIZES, Gpu, Input, Layout, PageShape, PageStore, PagedRows, join_in};
use crate::linear::Linear;
use crate::load::is_cpu;
use crate::norm::RmsNorm;

/// What is decided when a decoder is loaded.
#[derive(Debug, Clone)]
pub(crate) struct DecoderOptions {
    pub(crate) name: String,
    pub(crate) architecture: &'static str,
    pub(crate) device_name: String,
    pub(crate) context_tokens: usize,
    pub(crate) cache_bytes: u64,
}

/// A loaded decoder.
#[derive(Debug)]
pub(crate) struct Decoder {
    info: ModelInfo,
    device: Device,
    config: DecoderConfig,
    embeddings: StoredTensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
    head: Linear,
    cache_shape: CacheShape,
    cache_bytes: u64,
    /// Keys and values of all sequences, on a GPU.
    store: Option<PageStore>,
    /// What of a GPU's work is launched as a whole.
    steps: Steps,
    sequences: HashMap<SequenceId, SequenceCache>,
}

/// A span on its way through the passes.
struct Left<'a> {
    id: SequenceId,
    /// Those that no pass has taken yet.
    tokens: &'a [TokenId],
    wants_logits: bool,
    logits: Option<Logits>,
}

impl<'a> From<&Span<'a>> for Left<'a> {
    fn from(span: &Span<'a>) -> Self {
        Self { id: span.sequence, tokens: span.tokens, wants_logits: span.wants_logits, logits: None }
    }
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
        let (embeddings, head) = load_ends(weights, &config)?;
        let blocks =
            (0..config.layers).map(|layer| Block::load(weights, &config, layer)).collect::<Result<Vec<_>, _>>()?;
        let norm = weights.vector("model.norm.weight", config.hidden)?;
        let head = weights.linear_from(vec![head], None)?;
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
            layout: is_cpu(weights.device()).then(|| Layout::new(config.kv_heads, config.head_dim)),
        };
        let pages = PageShape { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim };
        let tokens_max = usize::try_from(options.cache_bytes / cache_shape.token_bytes().max(1)).unwrap_or(usize::MAX);
        let store = (!is_cpu(weights.device())).then(|| PageStore::new(Gpu::new(weights.device()), pages, tokens_max));
        Ok(Self {
            info,
            device: weights.device().clone(),
            embeddings,
            blocks,
            norm: RmsNorm::new(norm, config.norm_epsilon),
            head,
            cache_shape,
            cache_bytes: options.cache_bytes,
            store,
            steps: Steps::default(),
            sequences: HashMap::new(),
            config,
        })
    }

    fn used_bytes(&self) -> u64 {
        self.sequences.values().map(|cache| self.cache_shape.bytes(cache.capacity())).sum()
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
        let used = self.used_bytes();
        let current = self.sequences.get(&span.sequence).map_or((0, 0), |cache| (cache.length, cache.capacity()));
        let needed = current.0.saturating_add(span.tokens.len());
        if needed > self.info.context_tokens {
            return Err(ModelError::Exceeds(format!(
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
        let reserved = cache.reserve(capacity, self.store.as_mut());
        reserved
            .map_err(|reason| ModelError::Busy(format!("the device has no memory for this: {reason}; try again later")))
    }

    /// Runs passes until every span of `left` is done, at most a chunk of rows and one span a sequence each. False when
    /// the first of them was given up because `goes_on` said so; nothing has changed then.
    fn run<'a>(&mut self, left: &mut [Left<'a>], goes_on: &mut dyn FnMut() -> bool) -> Result<bool, ModelError> {
        let mut first = true;
        loop {
            let mut parts: Vec<Part<'a>> = Vec::new();
            let mut wanted = Vec::new();
            let mut room = limits::PREFILL_CHUNK_TOKENS;
            for (index, span) in left.iter_mut().enumerate() {
                if span.tokens.is_empty() || room == 0 || parts.iter().any(|part| part.0 == span.id) {
                    continue;
                }
                let (now, later) = span.tokens.split_at(span.tokens.len().min(room));
                room -= now.len();
                span.tokens = later;
                parts.push((span.id, self.take(span.id)?, now));
                if later.is_empty() && span.wants_logits {
                    wanted.push((parts.len() - 1, index));
                }
            }
            if parts.is_empty() {
                return Ok(true);
            }
            let rows: Vec<usize> = wanted.iter().map(|(part, _)| *part).collect();
            let Some(logits) = self.step(parts, &rows, &mut || !first || goes_on())? else { return Ok(false) };
            first = false;
            for ((_, index), logits) in wanted.into_iter().zip(logits) {
                left[index].logits = Some(logits);
            }
        }
    }

    /// A sequence's cache for one pass. What stays in its place says that the pass did not end, until it has.
    fn take(&mut self, id: SequenceId) -> Result<SequenceCache, ModelError> {
        let missing = || ModelError::Usage(format!("sequence \"{}\" has no cache", id.0));
        let place = self.sequences.get_mut(&id).ok_or_else(missing)?;
        let mut broken = SequenceCache::empty(self.cache_shape);
        broken.broken = true;
        Ok(std::mem::replace(place, broken))
    }

    /// One forward pass; the logits after the last token of the parts in `wanted`. `None` when it was given up.
    fn step(
        &mut self,
        parts: Vec<Part<'_>>,
        wanted: &[usize],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<Logits>>, ModelError> {
        let tokens: Vec<&[TokenId]> = parts.iter().map(|part| part.2).collect();
        let mut batch = Batch::new(parts, &self.config.rotary, self.store.is_some());
        let values = self.embed(batch.rows, &tokens)?;
        // Where a driver panics they are gone.
        let mut steps = std::mem::take(&mut self.steps);
        let logits = self.pass(&mut steps, values, &mut batch, wanted, goes_on);
        self.steps = steps;
        let Some(logits) = logits? else {
            // What was written lies behind the length of each cache.
            self.put_back(batch, |_| 0);
            return Ok(None);
        };
        self.put_back(batch, |segment| segment.tokens);
        Ok(Some(logits))
    }

    /// From embeddings, `[rows, hidden]`, to logits.
    fn pass(
        &self,
        steps: &mut Steps,
        values: Vec<f32>,
        batch: &mut Batch,
        wanted: &[usize],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<Logits>>, ModelError> {
        let rows = batch.rows;
        let x =
            |values| Tensor::from_data(TensorData::new(values, [rows, self.config.hidden]), (&self.device, DType::F32));
        let (Some(store), Some(plan)) = (&self.store, batch.plan.take()) else {
            let Some(x) = self.layers(x(values), batch, None, goes_on)? else { return Ok(None) };
            return self.logits(x, batch, wanted).map(Some);
        };
        if !goes_on() {
            return Ok(None);
        }
        if wanted.iter().copied().eq(0..rows) {
            let pass =
                Pass { values: &values, plan: &plan, rows, device: &self.device, device_name: &self.info.device };
            let compute = |x: &Input, placed: &PagedRows| {
                let whole = self.layers(x.tensor.clone(), batch, Some((placed, store)), &mut || true)?;
                let given_up = || self.failed("a step that nobody waits for was given up".to_owned());
                whole.map(|x| self.head.forward_normed(x, &self.norm)).ok_or_else(given_up)
            };
            if let Some(logits) = steps.run(&pass, store, compute, |logits| self.read(logits, rows))? {
                return Ok(Some(logits));
            }
        }
        let placed = plan.upload(store.gpu());
        let Some(x) = self.layers(x(values), batch, Some((&placed, store)), goes_on)? else { return Ok(None) };
        self.logits(x, batch, wanted).map(Some)
    }

    /// `x`, `[rows, hidden]`, after the last layer; `None` as soon as `goes_on` says so, which is asked before each half of one.
    fn layers(
        &self,
        mut x: Tensor<2>,
        batch: &mut Batch,
        device: Option<(&PagedRows, &PageStore)>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Tensor<2>>, ModelError> {
        for (layer, (block, window)) in self.blocks.iter().zip(&self.config.windows).enumerate() {
            if !goes_on() {
                return Ok(None);
            }
            let missing = || ModelError::Usage(format!("a sequence has no cache for layer {layer}"));
            x = block.attend(x, batch, layer, *window, device).ok_or_else(missing)?;
            if !goes_on() {
                return Ok(None);
            }
            x = block.feed_forward(x);
        }
        Ok(goes_on().then_some(x))
    }

    /// Takes the caches back after a pass, each longer by what `gained` says.
    fn put_back(&mut self, batch: Batch, gained: impl Fn(&Segment) -> usize) {
        for mut segment in batch.segments {
            segment.cache.length += gained(&segment);
            self.sequences.insert(segment.id, segment.cache);
        }
    }

    /// The tokens' embeddings, `[rows, hidden]`, gathered from the stored weights.
    fn embed(&self, rows: usize, tokens: &[&[TokenId]]) -> Result<Vec<f32>, ModelError> {
        let mut values = Vec::with_capacity(rows * self.config.hidden);
        for token in tokens.iter().copied().flatten() {
            if !self.embeddings.append_row(*token as usize, &mut values) {
                return Err(ModelError::Usage(format!("token \"{token}\" has no embedding")));
            }
        }
        Ok(values)
    }

    /// One row of logits for each of `wanted`.
    fn logits(&self, x: Tensor<2>, batch: &Batch, wanted: &[usize]) -> Result<Vec<Logits>, ModelError> {
        let last = |part: &usize| batch.segments.get(*part).map(|segment| segment.first + segment.tokens - 1);
        let last: Vec<usize> = wanted.iter().filter_map(last).collect();
        let rows = match last.as_slice() {
            [] => return Ok(Vec::new()),
            // A step of decode.
            all if all.iter().copied().eq(0..batch.rows) => x,
            [row] => x.narrow(0, *row, 1),
            some => Tensor::cat(some.iter().map(|row| x.clone().narrow(0, *row, 1)).collect(), 0),
        };
        self.read(self.head.forward_normed(rows, &self.norm), wanted.len())
    }

    /// So many rows of logits from the device in one transfer.
    fn read(&self, logits: Tensor<2>, rows: usize) -> Result<Vec<Logits>, ModelError> {
        let flat = logits.try_into_vec_as::<f32>().map_err(|error| self.failed(error.to_string()))?;
        if rows == 1 {
            return Ok(vec![flat]);
        }
        Ok(flat.chunks_exact(self.config.vocabulary).take(rows).map(<[f32]>::to_vec).collect())
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
        self.forward_while(batch, &mut || true).unwrap_or_default()
    }

    fn forward_while(
        &mut self,
        batch: &[Span<'_>],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Option<Logits>, Error>>> {
        // On the CPU.
        let _claim = self.store.is_none().then(join_in);
        let admitted: Vec<Result<(), ModelError>> = batch.iter().map(|span| self.admit(span)).collect();
        let mut left: Vec<Left<'_>> =
            batch.iter().zip(&admitted).filter(|(_, admitted)| admitted.is_ok()).map(|(span, _)| span.into()).collect();
        // burn and the drivers below it may panic (out of memory, lost device). The sequences of that pass stay marked
        // as broken.
        let ran = catch_unwind(AssertUnwindSafe(|| self.run(&mut left, goes_on)));
        let ran = ran.unwrap_or_else(|panic| Err(self.failed(panic_text(&*panic).to_owned()))).map_err(Error::from);
        if matches!(ran, Ok(false)) {
            return None;
        }
        let mut done = left.into_iter();
        let row = |admitted: Result<(), ModelError>| {
            admitted?;
            let span = done.next();
            ran.clone()?;
            Ok(span.and_then(|span| span.logits))
        };
        Some(admitted.into_iter().map(row).collect())
    }

    fn release(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> bool {
        match self.sequences.get_mut(&sequence) {
            Some(cache) if !cache.broken && tokens <= cache.length => {
                // What lies behind is never looked at before it is written again.
                cache.length = tokens;
                true
            }
            _ => false,
        }
    }

    fn fork(&mut self, from: SequenceId, to: SequenceId, tokens: usize) -> bool {
        let capacity = self.cache_shape.grown(0, tokens);
        let wanted = self.used_bytes() + self.cache_shape.bytes(capacity);
        let Some(source) = self.sequences.get(&from) else { return false };
        let free = !self.sequences.contains_key(&to) && wanted <= self.cache_bytes;
        if source.broken || tokens > source.length || !free {
            return false;
        }
        let store = self.store.as_mut();
        match catch_unwind(AssertUnwindSafe(|| source.copy(tokens, capacity, store))) {
            Ok(Some(copy)) => self.sequences.insert(to, copy).is_none(),
            _ => false,
        }
    }

    fn kernel_sizes(&self) -> &'static [usize] {
        if self.store.is_some() { GPU_KERNEL_SIZES } else { &[] }
    }

    fn cache_use(&self) -> CacheUse {
        CacheUse {
            used_bytes: self.used_bytes(),
            budget_bytes: self.cache_bytes,
            token_bytes: self.cache_shape.token_bytes(),
            block_tokens: self.cache_shape.block_tokens(),
        }
    }
}

/// Embeddings and output weights, each `[vocabulary, hidden]`. Where the config ties them and the checkpoint has both, they are
/// tied only if they are equal, as in transformers; where it has one, that one is both.
fn load_ends(weights: &Weights<'_>, config: &DecoderConfig) -> Result<(StoredTensor, StoredTensor), ModelError> {
    let shape = [config.vocabulary, config.hidden];
    let (embeddings, head) = ("model.embed_tokens.weight", "lm_head.weight");
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
    weights.warn("its \"tie_word_embeddings\" is true, but \"lm_head.weight\" is not the embeddings; both are used");
    Ok((first, weights.stored(head, &shape)?))
}

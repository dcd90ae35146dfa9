//! The decoder that all architectures of `decoders/` configure: embeddings, layers, head, and the KV caches of its
//! sequences.

mod batch;
mod cache;
mod config;
mod layer;
mod recorded;
mod rotary;
mod states;
mod tensors;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::{
    CacheUse, Error, LanguageModel, Logits, ModelInfo, SequenceId, Span, TokenId, limits, panic_text,
};

use crate::arch::DecoderArchitecture;
use crate::arch::decoder::batch::{Batch, BatchPart, Segment};
use crate::arch::decoder::cache::{CacheShape, SequenceCache};
use crate::arch::decoder::layer::DecoderLayer;
use crate::arch::decoder::recorded::{RecordedSteps, StepInput};
use crate::checkpoint::tensors::StoredTensor;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{GPU_KERNEL_SIZES, Gpu, HeadCacheLayout, Input, PageShape, PageStore, PagedRows, join_pool};
use crate::layers::{Linear, RmsNorm};
use crate::load::is_cpu;

pub(crate) use config::{Biases, CONFIG_KEYS, ConfigDefaults, DecoderConfig, read_window};
pub(crate) use rotary::{ROTARY_KEYS, Rotary};
pub(crate) use states::DecoderEncoder;
pub(crate) use tensors::{DecoderTensors, Projections};

/// The options of a load, with defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct DecoderOptions {
    pub(crate) name: String,
    pub(crate) device_name: String,
    /// The longest context of a sequence, in tokens.
    pub(crate) context_tokens: usize,
    /// Bytes of the KV caches of all sequences.
    pub(crate) cache_bytes: u64,
    /// Threads that compute on the CPU, the calling thread included.
    pub(crate) threads: usize,
}

/// Bytes of the KV cache of one token on the CPU.
pub(crate) fn cache_token_bytes(config: &DecoderConfig) -> u64 {
    let &DecoderConfig { layers, kv_heads, head_dim, positions, .. } = config;
    let layout = Some(HeadCacheLayout::new(kv_heads, head_dim));
    CacheShape { layers, kv_heads, head_dim, context: positions, layout }.token_bytes()
}

/// A loaded decoder.
#[derive(Debug)]
pub(crate) struct Decoder {
    info: ModelInfo,
    device: Device,
    config: DecoderConfig,
    embeddings: StoredTensor,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    head: Linear,
    cache_shape: CacheShape,
    cache_bytes: u64,
    /// The KV caches of all sequences, on a GPU.
    store: Option<PageStore>,
    /// On a GPU.
    recorded: RecordedSteps,
    /// On the CPU.
    threads: usize,
    sequences: HashMap<SequenceId, SequenceCache>,
}

/// A span that is computed in one or several steps.
struct RemainingSpan<'a> {
    id: SequenceId,
    /// The tokens that no step has taken yet.
    tokens: &'a [TokenId],
    /// Tokens at the end after which the logits are wanted.
    wanted: usize,
    logits: Vec<Logits>,
}

impl<'a> RemainingSpan<'a> {
    fn new(span: &Span<'a>, drafted: usize) -> Self {
        let wanted = if span.wants_logits { drafted + 1 } else { 0 };
        Self { id: span.sequence, tokens: span.tokens, wanted, logits: Vec::new() }
    }

    /// Takes at most `room` tokens. The second value is the number of tokens at their end after which logits are wanted.
    fn take(&mut self, room: usize) -> (&'a [TokenId], usize) {
        let (now, rest) = self.tokens.split_at(self.tokens.len().min(room));
        self.tokens = rest;
        (now, self.wanted.saturating_sub(rest.len()).min(now.len()))
    }
}

/// The rows of a part of a batch after which logits are wanted: its last `rows` rows.
#[derive(Debug, Clone, Copy)]
struct WantedRows {
    part: usize,
    rows: usize,
}

impl Decoder {
    /// Loads the weights of an architecture.
    ///
    /// # Errors
    /// The first tensor that is missing or wrong.
    pub(crate) fn load(
        weights: &Weights<'_>,
        architecture: &DecoderArchitecture,
        config: DecoderConfig,
        options: DecoderOptions,
    ) -> Result<Self, ModelError> {
        let names = architecture.tensors;
        let (embeddings, head) = load_embeddings_and_head(weights, names, &config)?;
        let layers = (0..config.layers)
            .map(|layer| DecoderLayer::load(weights, &config, names, layer))
            .collect::<Result<Vec<_>, _>>()?;
        let norm = weights.vector(&format!("{}.weight", names.norm), config.hidden)?;
        let head = weights.linear_from(vec![head], None)?;
        let info = ModelInfo {
            name: options.name,
            architecture: architecture.names.first().copied().unwrap_or_default().to_owned(),
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
            layout: is_cpu(weights.device()).then(|| HeadCacheLayout::new(config.kv_heads, config.head_dim)),
        };
        let pages = PageShape { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim };
        let tokens_max = usize::try_from(options.cache_bytes / cache_shape.token_bytes().max(1)).unwrap_or(usize::MAX);
        let store = (!is_cpu(weights.device())).then(|| PageStore::new(Gpu::new(weights.device()), pages, tokens_max));
        Ok(Self {
            info,
            device: weights.device().clone(),
            embeddings,
            layers,
            norm: RmsNorm::new(norm, config.norm_epsilon),
            head,
            cache_shape,
            cache_bytes: options.cache_bytes,
            store,
            recorded: RecordedSteps::default(),
            threads: options.threads,
            sequences: HashMap::new(),
            config,
        })
    }

    fn used_bytes(&self) -> u64 {
        self.sequences.values().map(|cache| self.cache_shape.bytes(cache.capacity())).sum()
    }

    /// Checks a span against vocabulary, context and cache budget, and grows its KV cache.
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
                "the KV caches of \"{}\" would need {wanted} bytes, at most {} are allowed; retry when other requests have ended",
                self.info.name, self.cache_bytes
            )));
        }
        let shape = self.cache_shape;
        let cache = self.sequences.entry(span.sequence).or_insert_with(|| SequenceCache::empty(shape));
        if cache.broken {
            let text = format!("sequence \"{}\" failed in an earlier step; release it first", span.sequence.0);
            return Err(ModelError::Usage(text));
        }
        let reserved = cache.reserve(capacity, self.store.as_mut());
        reserved.map_err(|reason| {
            ModelError::Busy(format!("the device has no memory for the KV cache: {reason}; retry later"))
        })
    }

    /// Computes every span of `spans`, in steps of at most `PREFILL_CHUNK_TOKENS` rows and one span of a sequence. False
    /// if `may_continue` stopped the first step. The sequences are then unchanged.
    fn run<'a>(
        &mut self,
        spans: &mut [RemainingSpan<'a>],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Result<bool, ModelError> {
        let mut first = true;
        loop {
            let mut parts: Vec<BatchPart<'a>> = Vec::new();
            let mut wanted = Vec::new();
            let mut room = limits::PREFILL_CHUNK_TOKENS;
            for (index, span) in spans.iter_mut().enumerate() {
                if span.tokens.is_empty() || room == 0 || parts.iter().any(|part| part.0 == span.id) {
                    continue;
                }
                let (now, rows) = span.take(room);
                room -= now.len();
                parts.push((span.id, self.take(span.id)?, now));
                if rows > 0 {
                    wanted.push((WantedRows { part: parts.len() - 1, rows }, index));
                }
            }
            if parts.is_empty() {
                return Ok(true);
            }
            let rows: Vec<WantedRows> = wanted.iter().map(|(rows, _)| *rows).collect();
            let Some(logits) = self.step(parts, &rows, &mut || !first || may_continue())? else { return Ok(false) };
            first = false;
            let mut logits = logits.into_iter();
            for (WantedRows { rows, .. }, index) in wanted {
                spans[index].logits.extend(logits.by_ref().take(rows));
            }
        }
    }

    /// Takes a sequence's KV cache for one step. Until the step ends, an empty cache that is marked as broken replaces
    /// it.
    fn take(&mut self, id: SequenceId) -> Result<SequenceCache, ModelError> {
        let missing = || ModelError::Usage(format!("sequence \"{}\" has no cache", id.0));
        let cache = self.sequences.get_mut(&id).ok_or_else(missing)?;
        let mut broken = SequenceCache::empty(self.cache_shape);
        broken.broken = true;
        Ok(std::mem::replace(cache, broken))
    }

    /// One step: a forward pass over the parts. Returns the logits of the rows in `wanted`, or `None` if `may_continue`
    /// stopped the step.
    fn step(
        &mut self,
        parts: Vec<BatchPart<'_>>,
        wanted: &[WantedRows],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<Logits>>, ModelError> {
        let tokens: Vec<&[TokenId]> = parts.iter().map(|part| part.2).collect();
        let mut batch = Batch::new(parts, &self.config.rotary, self.store.is_some());
        let values = self.embed(batch.rows, &tokens)?;
        let ends = |wanted: &WantedRows| {
            let segment = batch.segments.get(wanted.part)?;
            let end = segment.first + segment.tokens;
            Some(end.saturating_sub(wanted.rows)..end)
        };
        let wanted: Vec<usize> = wanted.iter().filter_map(ends).flatten().collect();
        // If a driver panics, the recordings are lost.
        let mut recorded = std::mem::take(&mut self.recorded);
        let logits = self.forward_batch(&mut recorded, values, &mut batch, &wanted, may_continue);
        self.recorded = recorded;
        let Some(logits) = logits? else {
            // The keys and values that the step wrote are beyond the length of each cache.
            self.put_back(batch, |_| 0);
            return Ok(None);
        };
        self.put_back(batch, |segment| segment.tokens);
        Ok(Some(logits))
    }

    /// From embeddings, `[rows, hidden]`, to the logits of the rows `wanted`, in ascending order.
    fn forward_batch(
        &self,
        recorded: &mut RecordedSteps,
        values: Vec<f32>,
        batch: &mut Batch,
        wanted: &[usize],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<Logits>>, ModelError> {
        let rows = batch.rows;
        let x =
            |values| Tensor::from_data(TensorData::new(values, [rows, self.config.hidden]), (&self.device, DType::F32));
        let (Some(store), Some(plan)) = (&self.store, batch.plan.take()) else {
            let Some(x) = self.run_layers(x(values), batch, None, may_continue)? else { return Ok(None) };
            return self.logits(x, batch, wanted).map(Some);
        };
        if !may_continue() {
            return Ok(None);
        }
        if wanted.iter().copied().eq(0..rows) {
            let device_name = &self.info.device;
            let step = StepInput { values: &values, plan: &plan, rows, device: &self.device, device_name };
            let compute = |x: &Input, paged_rows: &PagedRows| {
                let whole = self.run_layers(x.tensor.clone(), batch, Some((paged_rows, store)), &mut || true)?;
                let stopped = || self.failed("a recorded step was stopped".to_owned());
                whole.map(|x| self.head.forward_normed(x, &self.norm)).ok_or_else(stopped)
            };
            if let Some(logits) = recorded.run(&step, store, compute, |logits| self.read(logits, rows))? {
                return Ok(Some(logits));
            }
        }
        let paged_rows = plan.upload(store.gpu());
        let device = Some((&paged_rows, store));
        let Some(x) = self.run_layers(x(values), batch, device, may_continue)? else { return Ok(None) };
        self.logits(x, batch, wanted).map(Some)
    }

    /// Runs `x`, `[rows, hidden]`, through all layers. Calls `may_continue` before attention and before the feed-forward
    /// part of each layer, and returns `None` as soon as it is false.
    fn run_layers(
        &self,
        mut x: Tensor<2>,
        batch: &mut Batch,
        device: Option<(&PagedRows, &PageStore)>,
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Tensor<2>>, ModelError> {
        for (index, (layer, window)) in self.layers.iter().zip(&self.config.windows).enumerate() {
            if !may_continue() {
                return Ok(None);
            }
            let missing = || ModelError::Usage(format!("a sequence has no KV cache for layer {index}"));
            x = layer.attend(x, batch, index, *window, device).ok_or_else(missing)?;
            if !may_continue() {
                return Ok(None);
            }
            x = layer.feed_forward(x);
        }
        Ok(may_continue().then_some(x))
    }

    /// Takes the KV caches back after a step, and adds `added` to the length of each.
    fn put_back(&mut self, batch: Batch, added: impl Fn(&Segment) -> usize) {
        for mut segment in batch.segments {
            segment.cache.length += added(&segment);
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

    /// One row of logits for each of the rows `wanted`.
    fn logits(&self, x: Tensor<2>, batch: &Batch, wanted: &[usize]) -> Result<Vec<Logits>, ModelError> {
        let rows = match wanted {
            [] => return Ok(Vec::new()),
            // A decode step.
            all if all.iter().copied().eq(0..batch.rows) => x,
            [row] => x.narrow(0, *row, 1),
            some => Tensor::cat(some.iter().map(|row| x.clone().narrow(0, *row, 1)).collect(), 0),
        };
        self.read(self.head.forward_normed(rows, &self.norm), wanted.len())
    }

    /// Reads `rows` rows of logits from the device in one transfer.
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
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Option<Logits>, Error>>> {
        let results = self.forward_drafts(batch, &[], may_continue)?;
        Some(results.into_iter().map(|result| Ok(result?.pop())).collect())
    }

    fn verifies_drafts(&self) -> bool {
        true
    }

    fn forward_drafts(
        &mut self,
        batch: &[Span<'_>],
        drafted: &[usize],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Vec<Logits>, Error>>> {
        // On the CPU.
        let _claim = self.store.is_none().then(|| join_pool(self.threads));
        let admitted: Vec<Result<(), ModelError>> = batch.iter().map(|span| self.admit(span)).collect();
        let drafted = drafted.iter().copied().chain(std::iter::repeat(0));
        let all = batch.iter().zip(drafted).zip(&admitted).filter(|(_, admitted)| admitted.is_ok());
        let mut spans: Vec<RemainingSpan<'_>> =
            all.map(|((span, drafted), _)| RemainingSpan::new(span, drafted)).collect();
        // burn and the drivers below it may panic (out of memory, lost device). The sequences of that step stay marked
        // as broken.
        let ran = catch_unwind(AssertUnwindSafe(|| self.run(&mut spans, may_continue)));
        let ran = ran.unwrap_or_else(|panic| Err(self.failed(panic_text(&*panic).to_owned()))).map_err(Error::from);
        if matches!(ran, Ok(false)) {
            return None;
        }
        let mut done = spans.into_iter();
        let row = |admitted: Result<(), ModelError>| {
            admitted?;
            let span = done.next();
            ran.clone()?;
            Ok(span.map(|span| span.logits).unwrap_or_default())
        };
        Some(admitted.into_iter().map(row).collect())
    }

    fn release(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> bool {
        match self.sequences.get_mut(&sequence) {
            Some(cache) if !cache.broken && tokens <= cache.length => {
                // Positions beyond the length are written again before they are read.
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

/// Embeddings and output weights, each `[vocabulary, hidden]`. If the config ties them and the checkpoint has both, they
/// are tied only if they are equal, as in transformers. If the checkpoint has one of them, it is used for both.
fn load_embeddings_and_head(
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

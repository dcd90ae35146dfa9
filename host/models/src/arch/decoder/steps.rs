//! The steps of a decoder: spans are admitted, cut into steps, and computed layer by layer.

use burn::tensor::{DType, Tensor, TensorData};
use firebox_contract::{Logits, SequenceId, Span, TokenId, limits};

use crate::arch::decoder::Decoder;
use crate::arch::decoder::batch::{Batch, BatchPart, Segment};
use crate::arch::decoder::cache::SequenceCache;
use crate::arch::decoder::recorded::{RecordedSteps, StepInput};
use crate::error::ModelError;
use crate::kernel::{Input, PageStore, PagedRows};

/// A span that is computed in one or several steps.
pub(super) struct RemainingSpan<'a> {
    id: SequenceId,
    /// The tokens that no step has taken yet.
    tokens: &'a [TokenId],
    /// Tokens at the end after which the logits are wanted.
    wanted: usize,
    pub(super) logits: Vec<Logits>,
}

impl<'a> RemainingSpan<'a> {
    pub(super) fn new(span: &Span<'a>, drafted: usize) -> Self {
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
    pub(super) fn used_bytes(&self) -> u64 {
        self.sequences.values().map(|cache| self.cache_shape.bytes(cache.capacity())).sum()
    }

    /// Checks a span against vocabulary, context and cache budget, and grows its KV cache.
    pub(super) fn admit(&mut self, span: &Span<'_>) -> Result<(), ModelError> {
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
    pub(super) fn run<'a>(
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
        let mut batch = Batch::new(parts, &self.config, self.store.is_some());
        let values = self.head.embed(tokens.into_iter().flatten())?;
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
                whole.map(|x| self.head.forward(x)).ok_or_else(stopped)
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
    pub(super) fn run_layers(
        &self,
        mut x: Tensor<2>,
        batch: &mut Batch,
        device: Option<(&PagedRows, &PageStore)>,
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Tensor<2>>, ModelError> {
        for (index, layer) in self.layers.iter().enumerate() {
            if !may_continue() {
                return Ok(None);
            }
            let missing = || ModelError::Usage(format!("a sequence has no KV cache for layer {index}"));
            x = layer.attend(x, batch, index, device).ok_or_else(missing)?;
            if !may_continue() {
                return Ok(None);
            }
            x = layer.feed_forward(x).map_err(|reason| self.failed(reason))?;
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

    /// One row of logits for each of the rows `wanted`.
    fn logits(&self, x: Tensor<2>, batch: &Batch, wanted: &[usize]) -> Result<Vec<Logits>, ModelError> {
        let rows = match wanted {
            [] => return Ok(Vec::new()),
            // A decode step.
            all if all.iter().copied().eq(0..batch.rows) => x,
            [row] => x.narrow(0, *row, 1),
            some => Tensor::cat(some.iter().map(|row| x.clone().narrow(0, *row, 1)).collect(), 0),
        };
        self.read(self.head.forward(rows), wanted.len())
    }

    fn read(&self, products: Tensor<2>, rows: usize) -> Result<Vec<Logits>, ModelError> {
        self.head.read(products, rows).map_err(|reason| self.failed(reason))
    }

    pub(super) fn failed(&self, reason: String) -> ModelError {
        ModelError::Device { device: self.info.device.clone(), reason }
    }
}

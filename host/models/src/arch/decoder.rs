//! The decoder that all architectures of `decoders/` configure: embeddings, layers, head, and the KV caches of its
//! sequences.

mod batch;
mod cache;
mod config;
mod experts;
mod head;
mod layer;
mod qk_norm;
mod recorded;
mod rotary;
mod states;
mod steps;
mod tensors;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Device;
use firebox_contract::{CacheUse, Error, LanguageModel, Logits, ModelInfo, SequenceId, Span, panic_text};
use firebox_kernels::attention::HeadCacheLayout;
use firebox_kernels::attention::KvCacheType;
use firebox_kernels::threads::join_pool;

use crate::arch::DecoderArchitecture;
use crate::arch::decoder::cache::{CacheShape, SequenceCache};
use crate::arch::decoder::head::Head;
use crate::arch::decoder::layer::DecoderLayer;
use crate::arch::decoder::recorded::RecordedSteps;
use crate::arch::decoder::steps::RemainingSpan;
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::{GPU_KERNEL_SIZES, Gpu, PageShape, PageStore};
use crate::load::is_cpu;

pub(crate) use config::{
    Biases, CONFIG_KEYS, ConfigDefaults, DecoderConfig, ExpertsConfig, Multipliers, QkNorms, QueryGrowth, read_window,
    read_windows,
};
pub(crate) use rotary::{ROTARY_KEYS, Rotary, RotaryDefaults};
pub(crate) use states::DecoderEncoder;
pub(crate) use tensors::{Around, DecoderTensors, ExpertTensors, Projections};

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
    /// On the CPU.
    pub(crate) kv_cache: KvCacheType,
}

/// Bytes of the KV cache of one token on the CPU.
pub(crate) fn cache_token_bytes(config: &DecoderConfig, kind: KvCacheType) -> u64 {
    let &DecoderConfig { kv_heads, head_dim, positions, .. } = config;
    let layers = config.layers.len();
    let layout = Some(HeadCacheLayout::new(kv_heads, head_dim, kind));
    CacheShape { layers, kv_heads, head_dim, context: positions, layout }.token_bytes()
}

/// A loaded decoder.
#[derive(Debug)]
pub(crate) struct Decoder {
    info: ModelInfo,
    device: Device,
    config: DecoderConfig,
    layers: Vec<DecoderLayer>,
    head: Head,
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
        let on_cpu = is_cpu(weights.device());
        if !on_cpu && options.kv_cache == KvCacheType::Q8_0 {
            let reason = "its kernels keep the KV cache in f32; choose --device cpu, or no q8_0 for the KV cache";
            return Err(ModelError::Device { device: options.device_name, reason: reason.to_owned() });
        }
        let head = Head::load(weights, names, &config)?;
        let layers = (0..config.layers.len())
            .map(|layer| DecoderLayer::load(weights, &config, names, layer))
            .collect::<Result<Vec<_>, _>>()?;
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
        let (layer_count, kv_heads, head_dim) = (config.layers.len(), config.kv_heads, config.head_dim);
        let cache_shape = CacheShape {
            layers: layer_count,
            kv_heads,
            head_dim,
            context: options.context_tokens,
            layout: on_cpu.then(|| HeadCacheLayout::new(kv_heads, head_dim, options.kv_cache)),
        };
        let tokens_max = usize::try_from(options.cache_bytes / cache_shape.token_bytes().max(1)).unwrap_or(usize::MAX);
        let store = match on_cpu {
            true => None,
            false => Some(page_store(weights.device(), &config, tokens_max)?),
        };
        // A mixture of experts reads its scores back, which a recording cannot.
        let recorded = if config.experts.is_some() { RecordedSteps::refused() } else { RecordedSteps::default() };
        Ok(Self {
            info,
            device: weights.device().clone(),
            layers,
            head,
            cache_shape,
            cache_bytes: options.cache_bytes,
            store,
            recorded,
            threads: options.threads,
            sequences: HashMap::new(),
            config,
        })
    }
}

/// The KV caches on a GPU, for at most `tokens_max` tokens.
///
/// # Errors
/// `Exceeds` where heads are wider than the kernels of this device can take.
fn page_store(device: &Device, config: &DecoderConfig, tokens_max: usize) -> Result<PageStore, ModelError> {
    let (layers, kv_heads, head_dim) = (config.layers.len(), config.kv_heads, config.head_dim);
    let gpu = Gpu::new(device);
    gpu.check_heads(head_dim).map_err(|most| {
        let reason = format!("heads have {head_dim} elements, and the kernels of this device take at most {most}");
        ModelError::Exceeds(format!("{reason}; choose --device cpu"))
    })?;
    Ok(PageStore::new(gpu, PageShape { layers, kv_heads, head_dim }, tokens_max))
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

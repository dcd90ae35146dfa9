//! The KV cache of one sequence, allocated in blocks and written in place.

use firebox_kernels::attention::{HeadCache, HeadCacheLayout};

use crate::kernel::{PAGE_TOKENS, PageStore, Pages};

/// Positions by which a cache on the CPU grows. Growth copies the cache, so a larger cache doubles.
const BLOCK_TOKENS: usize = 256;

/// The memory of the keys and values.
#[derive(Debug)]
pub(crate) enum CacheStorage {
    /// In plain memory, for the kernels of the CPU. One cache for each layer.
    Host(Vec<HeadCache>),
    /// In pages of the model's store on a GPU. All layers use the same pages.
    Device(Pages),
}

/// The KV cache of one sequence, all layers.
#[derive(Debug)]
pub(crate) struct SequenceCache {
    pub(crate) storage: CacheStorage,
    /// Positions that are filled.
    pub(crate) length: usize,
    capacity: usize,
    /// Set while a step runs. It stays set if the step failed.
    pub(crate) broken: bool,
}

/// The size of a position in the KV cache and the limits of its growth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// The longest context, in tokens.
    pub(crate) context: usize,
    /// The layout of the CPU's kernels; `None` on a GPU.
    pub(crate) layout: Option<HeadCacheLayout>,
}

impl CacheShape {
    /// Bytes of `capacity` positions over all layers.
    pub(crate) fn bytes(&self, capacity: usize) -> u64 {
        let bytes = match &self.layout {
            Some(layout) => layout.bytes(capacity),
            None => 2 * self.kv_heads * self.head_dim * capacity * size_of::<f32>(),
        };
        self.layers as u64 * bytes as u64
    }

    /// Positions by which a cache grows.
    pub(crate) fn block_tokens(&self) -> usize {
        if self.layout.is_some() { BLOCK_TOKENS } else { PAGE_TOKENS }
    }

    /// Bytes of one position in a block.
    pub(crate) fn token_bytes(&self) -> u64 {
        self.bytes(self.block_tokens()) / self.block_tokens() as u64
    }

    /// The capacity for a sequence of `needed` positions whose cache has the capacity `current`.
    pub(crate) fn grown(&self, current: usize, needed: usize) -> usize {
        if needed <= current {
            return current;
        }
        // On a GPU pages are added. On the CPU the cache is copied.
        let wanted = if self.layout.is_some() { needed.max(2 * current) } else { needed };
        let block = self.block_tokens();
        wanted.next_multiple_of(block).min(self.context.next_multiple_of(block))
    }
}

impl SequenceCache {
    pub(crate) fn empty(shape: CacheShape) -> Self {
        let storage = match shape.layout {
            Some(layout) => CacheStorage::Host((0..shape.layers).map(|_| HeadCache::new(layout, 0)).collect()),
            None => CacheStorage::Device(Pages::default()),
        };
        Self { storage, length: 0, capacity: 0, broken: false }
    }

    /// A cache on the CPU for a text that is computed in a single pass. No layer needs the keys and values of another, so
    /// all of them use the same memory. `None` for a layout of a GPU.
    pub(crate) fn of_one_pass(shape: CacheShape, tokens: usize) -> Option<Self> {
        let storage = CacheStorage::Host(vec![HeadCache::new(shape.layout?, tokens)]);
        Some(Self { storage, length: 0, capacity: tokens, broken: false })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A new cache of `capacity` positions that begins with the first `tokens` of this one. `None` if the device has no
    /// store or no memory for it.
    pub(crate) fn copy(&self, tokens: usize, capacity: usize, store: Option<&mut PageStore>) -> Option<Self> {
        let storage = match &self.storage {
            CacheStorage::Host(layers) => {
                CacheStorage::Host(layers.iter().map(|cache| cache.resized(tokens, capacity)).collect())
            }
            CacheStorage::Device(pages) => CacheStorage::Device(store?.copy(pages, tokens, capacity).ok()?),
        };
        Some(Self { storage, length: tokens, capacity, broken: false })
    }

    /// Grows to `capacity` positions. Filled positions stay.
    ///
    /// # Errors
    /// The device's message if it has no memory. The cache is then unchanged.
    pub(crate) fn reserve(&mut self, capacity: usize, store: Option<&mut PageStore>) -> Result<(), String> {
        if capacity <= self.capacity {
            return Ok(());
        }
        match (&mut self.storage, store) {
            (CacheStorage::Host(layers), _) => {
                layers.iter_mut().for_each(|cache| *cache = cache.resized(self.length, capacity));
            }
            (CacheStorage::Device(pages), Some(store)) => store.reserve(pages, capacity)?,
            (CacheStorage::Device(_), None) => return Err("there is no store of pages".to_owned()),
        }
        self.capacity = capacity;
        Ok(())
    }
}

//! The keys and values of one sequence, preallocated in blocks and written in place.

use crate::kernel::{HeadCache, Layout, PAGE_TOKENS, PageStore, Pages};

/// Positions a cache grows by on the CPU; growth copies it, so it doubles while it is larger than this.
const BLOCK_TOKENS: usize = 256;

/// Where the keys and values are.
#[derive(Debug)]
pub(crate) enum Kept {
    /// In plain memory, for the kernels of the CPU, a cache a layer.
    Host(Vec<HeadCache>),
    /// In pages of the model's store on a GPU, the same ones in each layer.
    Device(Pages),
}

/// All layers of one sequence.
#[derive(Debug)]
pub(crate) struct SequenceCache {
    pub(crate) kept: Kept,
    /// Positions filled.
    pub(crate) length: usize,
    capacity: usize,
    /// Set while a forward pass runs; stays set when it failed.
    pub(crate) broken: bool,
}

/// What one position costs and how far a cache may grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) context: usize,
    /// That of the CPU's kernels; `None` on other devices.
    pub(crate) layout: Option<Layout>,
}

impl CacheShape {
    /// Bytes of `capacity` positions over all layers.
    pub(crate) fn bytes(&self, capacity: usize) -> u64 {
        let elements = match &self.layout {
            Some(layout) => layout.elements(capacity),
            None => 2 * self.kv_heads * self.head_dim * capacity,
        };
        (self.layers * size_of::<f32>()) as u64 * elements as u64
    }

    /// Positions a cache grows by.
    pub(crate) fn block_tokens(&self) -> usize {
        if self.layout.is_some() { BLOCK_TOKENS } else { PAGE_TOKENS }
    }

    /// Bytes one position costs in a block.
    pub(crate) fn token_bytes(&self) -> u64 {
        self.bytes(self.block_tokens()) / self.block_tokens() as u64
    }

    /// The capacity a sequence of `needed` positions gets, coming from `current`.
    pub(crate) fn grown(&self, current: usize, needed: usize) -> usize {
        if needed <= current {
            return current;
        }
        // Pages are added to what is there; a cache of the CPU is copied.
        let wanted = if self.layout.is_some() { needed.max(2 * current) } else { needed };
        let block = self.block_tokens();
        wanted.next_multiple_of(block).min(self.context.next_multiple_of(block))
    }
}

impl SequenceCache {
    pub(crate) fn empty(shape: CacheShape) -> Self {
        let kept = match shape.layout {
            Some(layout) => Kept::Host((0..shape.layers).map(|_| HeadCache::new(layout, 0)).collect()),
            None => Kept::Device(Pages::default()),
        };
        Self { kept, length: 0, capacity: 0, broken: false }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A new cache of `capacity` positions that begins with the first `tokens` of this one; `None` where the device has no
    /// store or no memory for it.
    pub(crate) fn copy(&self, tokens: usize, capacity: usize, store: Option<&mut PageStore>) -> Option<Self> {
        let kept = match &self.kept {
            Kept::Host(layers) => Kept::Host(layers.iter().map(|cache| cache.resized(tokens, capacity)).collect()),
            Kept::Device(pages) => Kept::Device(store?.copy(pages, tokens, capacity).ok()?),
        };
        Some(Self { kept, length: tokens, capacity, broken: false })
    }

    /// Makes room for `capacity` positions; what is there stays.
    ///
    /// # Errors
    /// What the device said when it had no memory for that; the cache is as it was.
    pub(crate) fn reserve(&mut self, capacity: usize, store: Option<&mut PageStore>) -> Result<(), String> {
        if capacity <= self.capacity {
            return Ok(());
        }
        match (&mut self.kept, store) {
            (Kept::Host(layers), _) => {
                layers.iter_mut().for_each(|cache| *cache = cache.resized(self.length, capacity));
            }
            (Kept::Device(pages), Some(store)) => store.reserve(pages, capacity)?,
            (Kept::Device(_), None) => return Err("there is no store of pages".to_owned()),
        }
        self.capacity = capacity;
        Ok(())
    }
}

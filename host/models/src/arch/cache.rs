//! The keys and values of one sequence, preallocated in blocks and written in place.

use burn::tensor::{DType, Device, Tensor};

use crate::kernel::{HeadCache, Layout};

/// Positions a cache grows by; growth copies it, so it doubles while it is larger than this.
pub(crate) const BLOCK_TOKENS: usize = 256;

/// Keys and values of one layer.
#[derive(Debug)]
pub(crate) enum LayerCache {
    /// In plain memory, for the kernels of the CPU.
    Host(HeadCache),
    /// Tensors of a device.
    Device(Box<DeviceCache>),
}

/// Each `[kv_heads, capacity, head_dim]`.
#[derive(Debug, Default)]
pub(crate) struct DeviceCache {
    // `None` only while a write is under way: a live second handle would turn the write in place into a copy.
    keys: Option<Tensor<3>>,
    values: Option<Tensor<3>>,
}

/// All layers of one sequence.
#[derive(Debug)]
pub(crate) struct SequenceCache {
    pub(crate) layers: Vec<LayerCache>,
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

    /// Bytes one position costs in a block.
    pub(crate) fn token_bytes(&self) -> u64 {
        self.bytes(BLOCK_TOKENS) / BLOCK_TOKENS as u64
    }

    /// The capacity a sequence of `needed` positions gets, coming from `current`.
    pub(crate) fn grown(&self, current: usize, needed: usize) -> usize {
        if needed <= current {
            return current;
        }
        let wanted = needed.max(2 * current).next_multiple_of(BLOCK_TOKENS);
        wanted.min(self.context.next_multiple_of(BLOCK_TOKENS))
    }

    fn empty_layer(&self) -> LayerCache {
        match self.layout {
            Some(layout) => LayerCache::Host(HeadCache::new(layout, 0)),
            None => LayerCache::Device(Box::default()),
        }
    }
}

impl SequenceCache {
    pub(crate) fn empty(shape: CacheShape) -> Self {
        let layers = (0..shape.layers).map(|_| shape.empty_layer()).collect();
        Self { layers, length: 0, capacity: 0, broken: false }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// A new cache of `capacity` positions that begins with the first `tokens` of this one.
    pub(crate) fn copy(&self, shape: CacheShape, tokens: usize, capacity: usize, device: &Device) -> Self {
        let copy = |tensor: &Option<Tensor<3>>| Some(grow(tensor.clone(), shape, capacity, tokens, device));
        let layers = self.layers.iter().map(|layer| match layer {
            LayerCache::Host(cache) => LayerCache::Host(cache.resized(tokens, capacity)),
            LayerCache::Device(cache) => {
                LayerCache::Device(Box::new(DeviceCache { keys: copy(&cache.keys), values: copy(&cache.values) }))
            }
        });
        Self { layers: layers.collect(), length: tokens, capacity, broken: false }
    }

    /// Makes room for `capacity` positions; what is there stays.
    pub(crate) fn reserve(&mut self, shape: CacheShape, capacity: usize, device: &Device) {
        if capacity <= self.capacity {
            return;
        }
        for layer in &mut self.layers {
            match layer {
                LayerCache::Host(cache) => *cache = cache.resized(self.length, capacity),
                LayerCache::Device(cache) => {
                    cache.keys = Some(grow(cache.keys.take(), shape, capacity, self.length, device));
                    cache.values = Some(grow(cache.values.take(), shape, capacity, self.length, device));
                }
            }
        }
        self.capacity = capacity;
    }
}

fn grow(old: Option<Tensor<3>>, shape: CacheShape, capacity: usize, length: usize, device: &Device) -> Tensor<3> {
    // Zeros, not uninitialised memory: masked positions are multiplied by zero, and zero times NaN is NaN.
    let fresh = Tensor::zeros([shape.kv_heads, capacity, shape.head_dim], (device, DType::F32));
    match old {
        Some(old) if length > 0 => fresh.slice_assign([0..shape.kv_heads, 0..length], old.narrow(1, 0, length)),
        _ => fresh,
    }
}

impl DeviceCache {
    /// Writes keys and values, each `[rows, kv_heads, head_dim]`, at `start`.
    pub(crate) fn write(&mut self, start: usize, keys: Tensor<3>, values: Tensor<3>) {
        write(&mut self.keys, start, keys);
        write(&mut self.values, start, values);
    }

    /// Views of positions `from..to`: keys and values, each `[kv_heads, to - from, head_dim]`.
    pub(crate) fn read(&self, from: usize, to: usize) -> Option<(Tensor<3>, Tensor<3>)> {
        let view = |tensor: &Option<Tensor<3>>| tensor.clone().map(|tensor| tensor.narrow(1, from, to - from));
        Some((view(&self.keys)?, view(&self.values)?))
    }
}

fn write(place: &mut Option<Tensor<3>>, start: usize, rows: Tensor<3>) {
    let rows = rows.swap_dims(0, 1);
    let [heads, count, _] = rows.dims();
    *place = place.take().map(|tensor| tensor.slice_assign([0..heads, start..start + count], rows));
}

//! The KV cache of one sequence in one layer, in the order in which attention reads it.
//!
//! ```text
//! keys    [kv_heads][positions / panel][head_dim][panel]      the lanes of a register are positions
//! values  [kv_heads][head_dim / panel][positions][panel]      the lanes of a register are elements
//! scales  [kv_heads][positions / panel][keys, values][head_dim / 32][panel]       of codes of 8 bits
//! ```
//!
//! A panel is as wide as two vector registers. The rest of a head beyond its last whole panel is as wide as one or two.
//! Values are f32, IEEE halves or codes of 8 bits, which are widened when a register is loaded.

use std::ops::Range;

use super::super::linear::Level;
use super::super::linear::vector::PanelValue;
use super::blocks::{BLOCK, quantize};
use super::memory::FloatBuffer;
use crate::attention::KvCacheType;

/// The places of the elements of heads in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadCacheLayout {
    pub(super) level: Level,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) kind: KvCacheType,
}

impl HeadCacheLayout {
    /// Positions, or elements, in a panel.
    pub(super) fn panel(&self) -> usize {
        2 * self.level.lanes()
    }

    /// Bytes that `positions` positions of all heads need.
    pub fn bytes(&self, positions: usize) -> usize {
        let positions = positions.next_multiple_of(self.panel());
        let elements = self.floats(self.key_elements(positions)) + self.floats(self.value_elements(positions));
        self.kv_heads * (elements + self.scale_floats(positions)) * size_of::<f32>()
    }

    /// The size in f32 of so many elements, which are a multiple of a register's lanes.
    fn floats(&self, elements: usize) -> usize {
        let per_float = match self.kind {
            KvCacheType::F32 => f32::PER_FLOAT,
            KvCacheType::F16 => u16::PER_FLOAT,
            KvCacheType::Q8_0 => i8::PER_FLOAT,
        };
        elements / per_float
    }

    /// The size in f32 of the scales of one head, for whole panels of positions.
    fn scale_floats(&self, positions: usize) -> usize {
        match self.kind {
            KvCacheType::F32 | KvCacheType::F16 => 0,
            KvCacheType::Q8_0 => 2 * self.blocks() * positions / u16::PER_FLOAT,
        }
    }

    /// Blocks of a head that have a scale each. Panels of values lie in one block.
    fn blocks(&self) -> usize {
        self.head_dim.div_ceil(BLOCK)
    }

    /// Elements of the keys of one head, for whole panels of positions.
    fn key_elements(&self, positions: usize) -> usize {
        positions * self.head_dim
    }

    fn value_elements(&self, positions: usize) -> usize {
        positions * self.value_panels().map(|(_, width)| width).sum::<usize>()
    }

    /// The first element of each panel of values, and its width.
    pub(super) fn value_panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (head_dim, panel, lanes) = (self.head_dim, self.panel(), self.level.lanes());
        (0..head_dim).step_by(panel).map(move |first| (first, (head_dim - first).min(panel).next_multiple_of(lanes)))
    }
}

/// The part of a cache that belongs to one head.
#[derive(Debug)]
pub(super) struct CachedHead<'a> {
    layout: HeadCacheLayout,
    positions: usize,
    keys: &'a mut [f32],
    values: &'a mut [f32],
    scales: &'a mut [f32],
}

impl CachedHead<'_> {
    /// Whether keys and values become codes, and are transformed before.
    #[inline(always)]
    pub(super) fn is_in_codes(&self) -> bool {
        self.layout.kind == KvCacheType::Q8_0
    }

    /// Writes the key and value of a position, `[head_dim]` each.
    #[inline(always)]
    pub(super) fn write(&mut self, position: usize, key: &[f32], value: &[f32]) {
        match self.layout.kind {
            KvCacheType::F32 => self.write_as::<f32>(position, key, value),
            KvCacheType::F16 => self.write_as::<u16>(position, key, value),
            KvCacheType::Q8_0 => self.write_blocks(position, key, value),
        }
    }

    #[inline(always)]
    fn write_blocks(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let (layout, panel, width) = (self.layout, self.layout.panel(), self.layout.head_dim);
        let (whole, lane) = (position / panel, position % panel);
        let (keys, values, scales) = (i8::of_mut(self.keys), i8::of_mut(self.values), u16::of_mut(self.scales));
        let first = whole * 2 * layout.blocks() * panel + lane;
        let scales = scales[first..].iter_mut().step_by(panel);
        // The blocks of the key, then those of the value.
        for ((block, from), scale) in (0..).zip(key.chunks(BLOCK).chain(value.chunks(BLOCK))).zip(scales) {
            let codes;
            (*scale, codes) = quantize(from);
            if block < layout.blocks() {
                let keys = keys[(whole * width + block * BLOCK) * panel + lane..].iter_mut().step_by(panel);
                keys.zip(&codes[..from.len()]).for_each(|(to, code)| *to = *code);
                continue;
            }
            for (at, codes) in codes[..from.len()].chunks(panel).enumerate() {
                let element = (block - layout.blocks()) * BLOCK + at * panel;
                let wide = (width - element).min(panel).next_multiple_of(layout.level.lanes());
                let at = element * self.positions + position * wide;
                values[at..at + codes.len()].copy_from_slice(codes);
            }
        }
    }

    #[inline(always)]
    fn write_as<T: PanelValue>(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let (panel, width) = (self.layout.panel(), self.layout.head_dim);
        let first = position / panel * panel * width + position % panel;
        let (keys, values) = (T::of_mut(self.keys), T::of_mut(self.values));
        keys[first..].iter_mut().step_by(panel).zip(key).for_each(|(to, from)| *to = T::nearest(*from));
        for (first, width) in self.layout.value_panels() {
            let from = &value[first..value.len().min(first + width)];
            let at = first * self.positions + position * width;
            values[at..at + from.len()].iter_mut().zip(from).for_each(|(to, from)| *to = T::nearest(*from));
        }
    }
}

/// The keys and values of all heads.
#[derive(Debug)]
pub struct HeadCache {
    pub(super) layout: HeadCacheLayout,
    /// The capacity in positions, in whole panels.
    positions: usize,
    keys: FloatBuffer,
    values: FloatBuffer,
    scales: FloatBuffer,
}

impl HeadCache {
    /// A cache for one step, or an empty cache that grows later.
    pub fn new(layout: HeadCacheLayout, positions: usize) -> Self {
        Self::of(layout, positions, FloatBuffer::zeros)
    }

    fn of(layout: HeadCacheLayout, positions: usize, zeros: fn(usize) -> FloatBuffer) -> Self {
        let positions = positions.next_multiple_of(layout.panel());
        let keys = zeros(layout.kv_heads * layout.floats(layout.key_elements(positions)));
        let values = zeros(layout.kv_heads * layout.floats(layout.value_elements(positions)));
        let scales = zeros(layout.kv_heads * layout.scale_floats(positions));
        Self { layout, positions, keys, values, scales }
    }

    /// A new, long-lived cache with room for `positions`, which begins with the first `kept` positions of this one.
    pub fn resized(&self, kept: usize, positions: usize) -> Self {
        let mut new = Self::of(self.layout, positions, FloatBuffer::mapped);
        let (old, room, width) = (self.positions, new.positions, self.layout.head_dim);
        // Whole panels are copied, since a position is a column of a panel of keys.
        let whole = kept.next_multiple_of(self.layout.panel()).min(old).min(room);
        let floats = |elements| self.layout.floats(elements);
        for head in 0..self.layout.kv_heads {
            let (from, to) = (head * self.layout.key_elements(old), head * self.layout.key_elements(room));
            let (from, to, count) = (floats(from), floats(to), floats(whole * width));
            new.keys[to..to + count].copy_from_slice(&self.keys[from..from + count]);
            let (from, to) = (head * self.layout.value_elements(old), head * self.layout.value_elements(room));
            for (first, width) in self.layout.value_panels() {
                let (from, to, count) = (floats(from + first * old), floats(to + first * room), floats(kept * width));
                new.values[to..to + count].copy_from_slice(&self.values[from..from + count]);
            }
            let scales = |positions| self.layout.scale_floats(positions);
            let (from, to, count) = (head * scales(old), head * scales(room), scales(whole));
            new.scales[to..to + count].copy_from_slice(&self.scales[from..from + count]);
        }
        new
    }

    /// The parts of all heads, for writing.
    pub(super) fn heads(&mut self) -> impl Iterator<Item = CachedHead<'_>> {
        let (layout, positions) = (self.layout, self.positions);
        let keys = self.keys.chunks_exact_mut(layout.floats(layout.key_elements(positions)).max(1));
        let values = self.values.chunks_exact_mut(layout.floats(layout.value_elements(positions)).max(1));
        let (each, mut later) = (layout.scale_floats(positions), &mut *self.scales);
        keys.zip(values).map(move |(keys, values)| {
            let scales;
            (scales, later) = std::mem::take(&mut later).split_at_mut(each);
            CachedHead { layout, positions, keys, values, scales }
        })
    }

    /// The keys of a panel of positions, `[head_dim, panel]`.
    pub(super) fn keys<T: PanelValue>(&self, head: usize, panel: usize) -> &[T] {
        let elements = self.layout.panel() * self.layout.head_dim;
        let from = head * self.layout.key_elements(self.positions) + panel * elements;
        &T::of(&self.keys)[from..from + elements]
    }

    /// Some positions of the panel of values that begins with element `first` and is `width` wide: `[positions,
    /// width]`.
    pub(super) fn values<T: PanelValue>(
        &self,
        head: usize,
        (first, width): (usize, usize),
        positions: Range<usize>,
    ) -> &[T] {
        let from = head * self.layout.value_elements(self.positions) + first * self.positions;
        &T::of(&self.values)[from + positions.start * width..from + positions.end * width]
    }

    /// The scales of a panel of positions, `[blocks, panel]` halves: of its keys, and of its values.
    pub(super) fn scales(&self, head: usize, panel: usize) -> (&[u16], &[u16]) {
        let count = self.layout.blocks() * self.layout.panel();
        let from = u16::PER_FLOAT * head * self.layout.scale_floats(self.positions) + panel * 2 * count;
        u16::of(&self.scales)[from..from + 2 * count].split_at(count)
    }
}

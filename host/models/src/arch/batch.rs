//! Several sequences in one forward pass: their rows stand one after another, so that every matrix of the model is
//! read once for all of them; attention alone is each sequence's own.

use std::collections::HashMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::{SequenceId, TokenId};

use crate::arch::cache::{LayerCache, SequenceCache};
use crate::arch::rotary::{Angles, Rotary};
use crate::kernel::Run;

/// Added to the score of a position a row must not see; `exp` of it is 0 and, unlike infinity, it never makes NaN.
const MASKED: f32 = -1e30;
/// The cache is seen in multiples of this, since kernels are compiled per shape.
const VIEW_BLOCK_TOKENS: usize = 64;

/// Which part of the cache a layer's queries see, on devices that compile kernels.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// First and last-plus-one position.
    pub(super) from: usize,
    pub(super) to: usize,
    /// 0 where a row may look and a very negative number where not, `[1, rows, to - from]`; `None` allows all.
    pub(super) mask: Option<Tensor<3>>,
}

/// One sequence's rows in a pass.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SequenceId,
    /// Where its rows begin.
    pub(super) first: usize,
    /// Its rows; those beyond its tokens pad the shape.
    pub(super) rows: usize,
    /// Rows that are tokens.
    pub(super) tokens: usize,
    /// Position of its first token in the sequence.
    pub(super) start: usize,
    /// Out of the model's keeping while the pass runs.
    pub(super) cache: SequenceCache,
    views: HashMap<Option<usize>, View>,
}

/// One forward pass.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) segments: Vec<Segment>,
    /// Rows in all, padding included.
    pub(super) rows: usize,
    pub(super) angles: Angles,
}

/// What a batch is made of: a sequence, its cache and the tokens it gains.
pub(super) type Part<'a> = (SequenceId, SequenceCache, &'a [TokenId]);

impl Batch {
    /// Lays the parts out. `windows` are the kinds of attention window the layers have; `pad` asks for few shapes.
    pub(super) fn new(
        parts: Vec<Part<'_>>,
        windows: &[Option<usize>],
        rotary: &Rotary,
        pad: bool,
        device: &Device,
    ) -> Self {
        let padded = |rows: usize| if pad { rows.next_power_of_two() } else { rows };
        let (mut segments, mut first) = (Vec::with_capacity(parts.len()), 0);
        for (id, cache, tokens) in parts {
            let rows = padded(tokens.len());
            let start = cache.length;
            let mut segment = Segment { id, first, rows, tokens: tokens.len(), start, cache, views: HashMap::new() };
            // The CPU's attention asks each row what it sees.
            for window in windows.iter().filter(|_| pad) {
                let view = segment.views.get(window).cloned().unwrap_or_else(|| segment.view(*window, device));
                segment.views.insert(*window, view);
            }
            first += rows;
            segments.push(segment);
        }
        // Decode batches get few shapes; a prefill is padded to a block, or a few decodes beside it would double it.
        let rows =
            if pad && first > VIEW_BLOCK_TOKENS { first.next_multiple_of(VIEW_BLOCK_TOKENS) } else { padded(first) };
        let own = segments.iter().flat_map(|segment| segment.start..segment.start + segment.rows);
        let positions: Vec<usize> = own.chain(std::iter::repeat_n(0, rows - first)).collect();
        Self { segments, rows, angles: rotary.angles(&positions, device) }
    }

    /// The rows after the last segment, which only pad the shape.
    pub(super) fn padding(&self) -> usize {
        self.rows - self.segments.iter().map(|segment| segment.rows).sum::<usize>()
    }
}

impl Segment {
    /// For the CPU; `None` where the cache has no such layer there.
    pub(super) fn run(&mut self, layer: usize) -> Option<Run<'_>> {
        let LayerCache::Host(cache) = self.cache.layers.get_mut(layer)? else { return None };
        Some(Run { first: self.first, tokens: self.tokens, start: self.start, cache })
    }

    pub(super) fn view_of(&self, window: Option<usize>) -> Option<&View> {
        self.views.get(&window)
    }

    fn view(&self, window: Option<usize>, device: &Device) -> View {
        let end = self.start + self.tokens;
        let first = window.map_or(0, |window| (self.start + 1).saturating_sub(window));
        let from = first - first % VIEW_BLOCK_TOKENS;
        let to = end.next_multiple_of(VIEW_BLOCK_TOKENS).min(self.cache.capacity());
        let sees = |row: usize, position: usize| {
            let own = (self.start + row).min(end - 1);
            position <= own && window.is_none_or(|window| position + window > own)
        };
        let all = self.rows == 1 && (from, to) == (first, end);
        let mask = (!all).then(|| {
            let cell = |row, position| if sees(row, position) { 0.0 } else { MASKED };
            let values: Vec<f32> = (0..self.rows).flat_map(|row| (from..to).map(move |at| cell(row, at))).collect();
            Tensor::from_data(TensorData::new(values, [1, self.rows, to - from]), (device, DType::F32))
        });
        View { from, to, mask }
    }
}

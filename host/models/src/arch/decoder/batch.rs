//! The batch of one step: the rows of several sequences one after another, so that every matrix of the model is read once
//! for all of them. Only attention treats each sequence by itself.

use firebox_contract::{SequenceId, TokenId};
use firebox_kernels::attention::SequenceRows;

use crate::arch::decoder::cache::{CacheStorage, SequenceCache};
use crate::arch::decoder::config::DecoderConfig;
use crate::kernel::{PagedSequenceRows, RowPlan};

/// The rows of one sequence in a step.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SequenceId,
    /// Its first row.
    pub(super) first: usize,
    /// Its number of rows, one for each token.
    pub(super) tokens: usize,
    /// Position of its first token in the sequence.
    pub(super) start: usize,
    /// The sequence's KV cache, which the decoder does not have while the step runs.
    pub(super) cache: SequenceCache,
}

/// The positions of the rows in their sequences, as the attention kernels of a device need them.
#[derive(Debug)]
pub(super) enum RowPositions {
    /// For the CPU, of each rotary embedding of the model: cosines and sines, each `[rows, pairs]`.
    Host(Vec<(Vec<f32>, Vec<f32>)>),
    /// For a GPU: in [`Batch::plan`].
    Device,
}

/// The batch of one step.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) segments: Vec<Segment>,
    /// The number of rows of all segments.
    pub(super) rows: usize,
    pub(super) positions: RowPositions,
    /// What queries are multiplied by, `[rows]`, where they grow with their positions.
    pub(super) query_factors: Option<Vec<f32>>,
    /// For a GPU.
    pub(super) plan: Option<RowPlan>,
}

/// A sequence in a new batch: its KV cache and the tokens that the step adds.
pub(super) type BatchPart<'a> = (SequenceId, SequenceCache, &'a [TokenId]);

impl Batch {
    /// Lays the parts out one after another, for a GPU or for the CPU.
    pub(super) fn new(parts: Vec<BatchPart<'_>>, config: &DecoderConfig, on_gpu: bool) -> Self {
        let (mut segments, mut rows) = (Vec::with_capacity(parts.len()), 0);
        for (id, cache, tokens) in parts {
            segments.push(Segment { id, first: rows, tokens: tokens.len(), start: cache.length, cache });
            rows += tokens.len();
        }
        let positions: Vec<usize> =
            segments.iter().flat_map(|segment| segment.start..segment.start + segment.tokens).collect();
        let growth = config.query_growth.filter(|growth| positions.iter().any(|position| *position >= growth.tokens));
        let query_factors = growth.map(|growth| positions.iter().map(|position| growth.factor(*position)).collect());
        let (positions, plan) = match on_gpu {
            false => {
                // A sequence has one set of frequencies for all of its steps, since a load is for contexts of one set. A text
                // that is computed in a single pass has those of its length.
                let sequences = || segments.iter().map(|segment| segment.start..segment.start + segment.tokens);
                let angles = config.rotaries.iter().map(|rotary| rotary.angles_of_sequences(sequences()));
                (RowPositions::Host(angles.collect()), None)
            }
            true => {
                let sequences: Vec<PagedSequenceRows<'_>> = segments.iter().filter_map(Segment::paged_rows).collect();
                let angles = config.rotaries.iter().map(|rotary| rotary.joined_angles(&positions));
                (RowPositions::Device, Some(RowPlan::new(&sequences, angles.collect())))
            }
        };
        Self { segments, rows, positions, query_factors, plan }
    }
}

impl Segment {
    /// The rows for the CPU's attention in layer `layer`. `None` if the cache is not on the CPU or lacks the layer.
    pub(super) fn rows(&mut self, layer: usize) -> Option<SequenceRows<'_>> {
        let CacheStorage::Host(layers) = &mut self.cache.storage else { return None };
        // All layers of a single pass share one cache.
        let index = if layers.len() == 1 { 0 } else { layer };
        Some(SequenceRows { first: self.first, tokens: self.tokens, start: self.start, cache: layers.get_mut(index)? })
    }

    /// The rows for a GPU's attention. `None` if the cache is not on a GPU.
    fn paged_rows(&self) -> Option<PagedSequenceRows<'_>> {
        let CacheStorage::Device(pages) = &self.cache.storage else { return None };
        Some(PagedSequenceRows { tokens: self.tokens, start: self.start, pages })
    }
}

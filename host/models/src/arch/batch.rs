//! Several sequences in one forward pass: their rows stand one after another, so that every matrix of the model is
//! read once for all of them; attention alone is each sequence's own.

use firebox_contract::{SequenceId, TokenId};

use crate::arch::cache::{Kept, SequenceCache};
use crate::arch::rotary::Rotary;
use crate::kernel::{PagedRun, RowPlan, Run};

/// One sequence's rows in a pass.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: SequenceId,
    /// Where its rows begin.
    pub(super) first: usize,
    /// Its rows, a token each.
    pub(super) tokens: usize,
    /// Position of its first token in the sequence.
    pub(super) start: usize,
    /// Out of the model's keeping while the pass runs.
    pub(super) cache: SequenceCache,
}

/// Where each row is in its sequence, as the attention of a device wants to know it.
#[derive(Debug)]
pub(super) enum Places {
    /// Cosines and sines, each `[rows, head_dim / 2]`, for the kernels of the CPU.
    Host { cos: Vec<f32>, sin: Vec<f32> },
    /// On a GPU, from a plan.
    Device,
}

/// One forward pass.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) segments: Vec<Segment>,
    /// Rows in all.
    pub(super) rows: usize,
    pub(super) places: Places,
    /// For a GPU.
    pub(super) plan: Option<RowPlan>,
}

/// What a batch is made of: a sequence, its cache and the tokens it gains.
pub(super) type Part<'a> = (SequenceId, SequenceCache, &'a [TokenId]);

impl Batch {
    /// Lays the parts out, for a GPU or for the CPU.
    pub(super) fn new(parts: Vec<Part<'_>>, rotary: &Rotary, on_gpu: bool) -> Self {
        let (mut segments, mut rows) = (Vec::with_capacity(parts.len()), 0);
        for (id, cache, tokens) in parts {
            segments.push(Segment { id, first: rows, tokens: tokens.len(), start: cache.length, cache });
            rows += tokens.len();
        }
        let positions: Vec<usize> =
            segments.iter().flat_map(|segment| segment.start..segment.start + segment.tokens).collect();
        let (places, plan) = match on_gpu {
            false => {
                let (cos, sin) = rotary.angles(&positions);
                (Places::Host { cos, sin }, None)
            }
            true => {
                let runs: Vec<PagedRun<'_>> = segments.iter().filter_map(Segment::paged).collect();
                (Places::Device, Some(RowPlan::new(&runs, rotary.joined_angles(&positions))))
            }
        };
        Self { segments, rows, places, plan }
    }
}

impl Segment {
    /// For the CPU; `None` where the cache has no such layer there.
    pub(super) fn run(&mut self, layer: usize) -> Option<Run<'_>> {
        let Kept::Host(layers) = &mut self.cache.kept else { return None };
        Some(Run { first: self.first, tokens: self.tokens, start: self.start, cache: layers.get_mut(layer)? })
    }

    /// For a GPU; `None` where the cache is not there.
    fn paged(&self) -> Option<PagedRun<'_>> {
        let Kept::Device(pages) = &self.cache.kept else { return None };
        Some(PagedRun { tokens: self.tokens, start: self.start, pages })
    }
}

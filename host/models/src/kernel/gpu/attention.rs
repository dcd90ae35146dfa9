//! Attention of several sequences on a GPU, each over its own pages. A layer takes two launches, whatever the number of
//! sequences.
//!
//! ```text
//! pages           the KV cache: pages of one store, of which each sequence owns some
//! rotate          norms and rotary embedding of heads; writes queries, and keys and values into their pages
//! online_softmax  softmax attention of a few queries over the pages of their sequence, a tile of positions at a time
//! combine         one result from the parts of several cubes, for decode steps of long sequences
//! ```
//!
//! In the scores units are positions, so keys of adjacent positions are adjacent. In the sums units are elements of the
//! result, so elements of a value are adjacent (paged attention, Kwon et al. 2023; online softmax, Milakov and
//! Gimelshein 2018).

mod combine;
mod online_softmax;
mod pages;
mod rotate;
#[cfg(test)]
mod tests;

use burn::tensor::Tensor as BurnTensor;
use firebox_kernels::attention::ScoreScale;

use super::{DeviceBuffer, Gpu, empty_like, primitive, tensor};
pub(crate) use pages::{PAGE_TOKENS, PageShape, PageStore, Pages};

/// The rows of one sequence in a step.
pub(crate) struct PagedSequenceRows<'a> {
    /// The number of rows.
    pub(crate) tokens: usize,
    /// Position of the first row.
    pub(crate) start: usize,
    /// The pages of the sequence's keys and values. They have room for all rows.
    pub(crate) pages: &'a Pages,
}

/// The description of a step's rows that the kernels read.
#[derive(Debug)]
pub(crate) struct RowPlan {
    slots: Vec<u32>,
    angles: Vec<Vec<f32>>,
    tasks: Vec<u32>,
    tables: Vec<u32>,
    rows_of_task: usize,
    splits: usize,
}

/// A [`RowPlan`] on the device.
#[derive(Debug)]
pub(crate) struct PagedRows {
    /// For each row, the page of its keys and values and the position in the page, as one number.
    slots: DeviceBuffer,
    /// Of each rotary embedding of the model the cosines, then the sines, of each row: `[rows, 2 * pairs]`.
    angles: Vec<DeviceBuffer>,
    /// Four words each: first row, number of rows, index of the first page in `tables`, position of the first row.
    tasks: DeviceBuffer,
    /// The pages of all sequences, one sequence after another.
    tables: DeviceBuffer,
    /// Rows of a task at most: 1 in a decode step.
    rows_of_task: usize,
    /// Cubes that share the positions of a sequence.
    splits: usize,
}

/// Rows of a task in other steps. The rows of a task share what they read of keys and values.
const ROWS_OF_TASK: usize = 8;
/// If the longest sequence of a decode step has at least this many positions, several cubes share the positions of each
/// sequence.
pub(super) const LONG_TOKENS: usize = 257;
/// The number of cubes that share a sequence's positions. It is the same for all lengths, so that a recorded step can
/// be replayed for longer sequences.
const SPLITS: usize = 16;

impl RowPlan {
    /// The rows of `sequences` are one after another. `angles` has, of each rotary embedding of the model, the cosines,
    /// then the sines, of each row.
    pub(crate) fn new(sequences: &[PagedSequenceRows<'_>], angles: Vec<Vec<f32>>) -> Self {
        let rows_of_task = if sequences.iter().all(|run| run.tokens == 1) { 1 } else { ROWS_OF_TASK };
        let (mut slots, mut tasks, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for run in sequences {
            for at in (0..run.tokens).step_by(rows_of_task) {
                let rows = rows_of_task.min(run.tokens - at);
                tasks.extend([first + at, rows, tables.len(), run.start + at].map(|number| number as u32));
            }
            slots.extend((run.start..run.start + run.tokens).map(|position| run.pages.slot(position)));
            tables.extend_from_slice(run.pages.ids());
            first += run.tokens;
        }
        let longest = sequences.iter().map(|run| run.start + run.tokens).max().unwrap_or(0);
        let splits = if rows_of_task == 1 && longest >= LONG_TOKENS { SPLITS } else { 1 };
        Self { slots, angles, tasks, tables, rows_of_task, splits }
    }

    /// Whether it is a decode step: each sequence has one row.
    pub(crate) fn is_decode(&self) -> bool {
        self.rows_of_task == 1
    }

    /// Whether several cubes share the positions of each sequence.
    pub(crate) fn is_long(&self) -> bool {
        self.splits > 1
    }

    pub(crate) fn upload(&self, gpu: &Gpu) -> PagedRows {
        self.upload_with(&self.tables, gpu)
    }

    /// Uploads the plan with room for the tables of later steps.
    pub(crate) fn upload_roomy(&self, gpu: &Gpu) -> PagedRows {
        self.upload_with(&self.tables_of((2 * self.tables.len()).next_power_of_two()), gpu)
    }

    fn upload_with(&self, tables: &[u32], gpu: &Gpu) -> PagedRows {
        PagedRows {
            slots: gpu.upload(&self.slots),
            angles: self.angles.iter().map(|angles| gpu.upload(angles)).collect(),
            tasks: gpu.upload(&self.tasks),
            tables: gpu.upload(tables),
            rows_of_task: self.rows_of_task,
            splits: self.splits,
        }
    }

    /// The tables, with zeros up to `count`.
    fn tables_of(&self, count: usize) -> Vec<u32> {
        self.tables.iter().copied().chain(std::iter::repeat(0)).take(count).collect()
    }
}

impl PagedRows {
    /// Overwrites the rows of an earlier step. Returns false and changes nothing if they do not fit.
    pub(crate) fn overwrite(&self, plan: &RowPlan, gpu: &Gpu) -> bool {
        let fits = (plan.rows_of_task, plan.splits, plan.slots.len())
            == (self.rows_of_task, self.splits, self.slots.count)
            && plan.tables.len() <= self.tables.count;
        if fits {
            gpu.overwrite(&self.slots, &plan.slots);
            self.angles.iter().zip(&plan.angles).for_each(|(words, angles)| gpu.overwrite(words, angles));
            gpu.overwrite(&self.tasks, &plan.tasks);
            gpu.overwrite(&self.tables, &plan.tables_of(self.tables.count));
        }
        fits
    }
}

/// One layer's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PagedAttention<'a> {
    pub(crate) heads: usize,
    pub(crate) layer: usize,
    /// The norms over heads: the weights for queries, then for keys, `[2 * head_dim]`, and epsilon.
    pub(crate) norms: Option<(&'a BurnTensor<1>, f32)>,
    /// The sliding window: positions that a row attends to, its own included.
    pub(crate) window: Option<usize>,
    /// The index of the layer's rotary embedding. It rotates the first elements of a head, twice its number of pairs.
    pub(crate) rotary: usize,
    pub(crate) scores: ScoreScale,
}

impl Gpu {
    /// Checks that attention can compute with heads of `head_dim` elements.
    ///
    /// # Errors
    /// The widest heads that fit into the shared memory of the device.
    pub(crate) fn check_heads(&self, head_dim: usize) -> Result<(), usize> {
        let most = online_softmax::head_dim_max(self.client.properties().hardware.max_shared_memory_size);
        if head_dim <= most { Ok(()) } else { Err(most) }
    }
}

impl PagedAttention<'_> {
    /// `qkv` is `[rows, (heads + 2 * kv_heads) * head_dim]`. The result is `[rows, heads * head_dim]`. Keys and values
    /// are written to the pages.
    pub(crate) fn forward(&self, qkv: BurnTensor<2>, rows: &PagedRows, store: &PageStore) -> BurnTensor<2> {
        let [count, columns] = qkv.dims();
        let PageShape { kv_heads, head_dim, .. } = store.shape();
        // The kernels do not check bounds.
        assert_eq!((count, columns), (rows.slots.count, (self.heads + 2 * kv_heads) * head_dim), "rows of other heads");
        let angles = rows.angles.get(self.rotary).map_or(0, |angles| angles.count);
        assert!(
            angles.is_multiple_of(2 * count) && (2..=head_dim).contains(&(angles / count)),
            "rows have other angles"
        );
        assert!(self.norms.is_none_or(|(weights, _)| weights.dims() == [2 * head_dim]), "heads have other norms");
        let qkv = primitive(qkv);
        let shape = [count, self.heads * store.shape().head_dim];
        let queries = empty_like(&qkv, shape);
        rotate::launch(self, &qkv, rows, store, &queries);
        let out = empty_like(&qkv, shape);
        online_softmax::launch(self, &queries, rows, store, &out);
        tensor(out)
    }
}

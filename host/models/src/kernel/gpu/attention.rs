//! Attention of several sequences on a GPU, each over its own pages, in two launches a layer whatever their number.
//!
//! ```text
//! pages   where keys and values are: pages of one store, which a sequence owns some of
//! place   norms and rotary embedding of heads; queries go on, keys and values into their pages
//! attend  softmax attention of a few queries over the pages of their sequence, a tile of positions at a time
//! combine one result from the parts of several cubes, where a step's sequences are long
//! ```
//!
//! Keys of a page lie so that units, which are positions, read beside each other; values so that units, which are elements
//! of the result, do (paged attention, Kwon et al. 2023; online softmax, Milakov and Gimelshein 2018).

mod combine;
mod online_softmax;
mod pages;
mod rotate;
#[cfg(test)]
mod tests;

use burn::tensor::Tensor as BurnTensor;

use super::{DeviceBuffer, Gpu, empty_like, primitive, tensor};
pub(crate) use pages::{PAGE_TOKENS, PageShape, PageStore, Pages};

/// Rows of one sequence in a pass.
pub(crate) struct PagedSequenceRows<'a> {
    /// How many.
    pub(crate) tokens: usize,
    /// Position of the first of them.
    pub(crate) start: usize,
    /// Where its keys and values go and are; has room for all.
    pub(crate) pages: &'a Pages,
}

/// What kernels need to know about the rows of a pass.
#[derive(Debug)]
pub(crate) struct RowPlan {
    slots: Vec<u32>,
    angles: Vec<f32>,
    tasks: Vec<u32>,
    tables: Vec<u32>,
    rows_of_task: usize,
    splits: usize,
}

/// The same on the device.
#[derive(Debug)]
pub(crate) struct PagedRows {
    /// The page and the place in it of each row's keys and values, as one number.
    slots: DeviceBuffer,
    /// Cosines, then sines, of each row: `[rows, head_dim]`.
    angles: DeviceBuffer,
    /// Four words each: first row, rows, first of its pages in `tables`, position of the first row.
    tasks: DeviceBuffer,
    /// The pages of all sequences, one sequence after the other.
    tables: DeviceBuffer,
    /// Rows a task has at most: one in a step of decode.
    rows_of_task: usize,
    /// Cubes that share the positions of a sequence.
    splits: usize,
}

/// Rows of a task where there are more than one: what they read of keys and values they read once.
const ROWS_OF_TASK: usize = 8;
/// Positions of the longest sequence of a step from which on cubes share those of each.
pub(super) const LONG_TOKENS: usize = 257;
/// Cubes that do then: a number for all lengths, so that a step can be launched again when it is longer.
const SPLITS: usize = 16;

impl RowPlan {
    /// The rows of `sequences` stand one after another. `angles` are cosines, then sines, of each.
    pub(crate) fn new(sequences: &[PagedSequenceRows<'_>], angles: Vec<f32>) -> Self {
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

    /// Whether it is a step of decode: each sequence has one row.
    pub(crate) fn is_decode(&self) -> bool {
        self.rows_of_task == 1
    }

    /// Whether that is computed as one of long sequences.
    pub(crate) fn is_long(&self) -> bool {
        self.splits > 1
    }

    pub(crate) fn upload(&self, gpu: &Gpu) -> PagedRows {
        self.upload_with(&self.tables, gpu)
    }

    /// With room for the tables of later steps.
    pub(crate) fn upload_roomy(&self, gpu: &Gpu) -> PagedRows {
        self.upload_with(&self.tables_of((2 * self.tables.len()).next_power_of_two()), gpu)
    }

    fn upload_with(&self, tables: &[u32], gpu: &Gpu) -> PagedRows {
        PagedRows {
            slots: gpu.upload(&self.slots),
            angles: gpu.upload(&self.angles),
            tasks: gpu.upload(&self.tasks),
            tables: gpu.upload(tables),
            rows_of_task: self.rows_of_task,
            splits: self.splits,
        }
    }

    /// The tables, and zeros up to `count`.
    fn tables_of(&self, count: usize) -> Vec<u32> {
        self.tables.iter().copied().chain(std::iter::repeat(0)).take(count).collect()
    }
}

impl PagedRows {
    /// Takes the place of another step's rows. False, and nothing has changed, where they do not fit.
    pub(crate) fn overwrite(&self, plan: &RowPlan, gpu: &Gpu) -> bool {
        let fits = (plan.rows_of_task, plan.splits, plan.slots.len())
            == (self.rows_of_task, self.splits, self.slots.count)
            && plan.tables.len() <= self.tables.count;
        if fits {
            gpu.overwrite(&self.slots, &plan.slots);
            gpu.overwrite(&self.angles, &plan.angles);
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
    /// Weights of the norms over heads of queries, then of keys, `[2 * head_dim]`, and what they add to the mean square.
    pub(crate) norms: Option<(&'a BurnTensor<1>, f32)>,
    /// Positions a row sees, itself included.
    pub(crate) window: Option<usize>,
}

impl PagedAttention<'_> {
    /// `qkv` is `[rows, (heads + 2 * kv_heads) * head_dim]`; keys and values are added to the pages. The result is
    /// `[rows, heads * head_dim]`.
    pub(crate) fn forward(&self, qkv: BurnTensor<2>, rows: &PagedRows, store: &PageStore) -> BurnTensor<2> {
        let [count, columns] = qkv.dims();
        let PageShape { kv_heads, head_dim, .. } = store.shape();
        // The kernels do not look.
        assert_eq!((count, columns), (rows.slots.count, (self.heads + 2 * kv_heads) * head_dim), "rows of other heads");
        assert_eq!(rows.angles.count, count * head_dim, "rows have other angles");
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

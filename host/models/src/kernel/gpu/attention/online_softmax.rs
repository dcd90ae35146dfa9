//! Softmax attention of a few queries over the pages of their sequence.
//!
//! A cube takes the rows of a task and some heads that share keys and values: these are its queries. For each tile of
//! positions its units are first positions (a score of each with every query), then elements of the result (a sum over
//! the tile). In a decode step of long sequences several cubes share the tiles of one sequence, and [`combine`] adds up
//! their results.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::combine::{self, PART_EXTRA};
use super::pages::{PAGE_TOKENS, PageStore};
use super::{PagedAttention, PagedRows};
use crate::kernel::gpu::{argument, empty_like, lanes_sum};

/// Units of a cube, and positions of a tile.
const UNITS: usize = 128;
/// Queries of a cube at most.
const QUERIES_MAX: usize = 8;
/// Parts of a tile whose greatest scores are searched separately, for each query.
const PARTS: usize = UNITS / QUERIES_MAX;
/// Loads that a unit waits for together: vectors of a key, or values of positions.
const AT_ONCE: usize = 8;
/// Less than every score.
const LOWEST: f32 = -1e30;

/// The compile-time parameters of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SoftmaxPlan {
    heads: usize,
    kv_heads: usize,
    width: usize,
    /// Heads of a cube.
    cube_heads: usize,
    /// Queries of a cube: its heads for each row of a task.
    queries: usize,
    window: bool,
    /// Whether scores have a soft cap.
    capped: bool,
    /// Cubes that share the tiles of a sequence.
    splits: usize,
}

impl SoftmaxPlan {
    /// Vectors of a result, of `lanes` elements, that one unit sums.
    fn own(&self, lanes: usize) -> usize {
        (self.width / lanes).div_ceil(UNITS)
    }

    /// Parts of a tile that are summed in parallel if a result has fewer vectors than a cube has units: its sides.
    fn sides(&self, lanes: usize) -> usize {
        (UNITS * lanes / self.width).max(1)
    }

    /// Positions whose values a unit waits for together. The number divides a tile.
    fn at_once(&self, lanes: usize) -> usize {
        let wanted = if self.queries > 2 { AT_ONCE / 2 } else { AT_ONCE };
        if UNITS.is_multiple_of(wanted * self.sides(lanes)) { wanted } else { 1 }
    }
}

/// The widest heads for which a cube's part of this much shared memory suffices.
pub(super) fn head_dim_max(shared_bytes: usize) -> usize {
    // Weights and greatest scores of each query, and the sums over sides, which are vectors of up to 4.
    let others = QUERIES_MAX * (UNITS + PARTS) + 4 * UNITS;
    (shared_bytes / size_of::<f32>()).saturating_sub(others) / QUERIES_MAX
}

pub(super) fn launch(
    attention: &PagedAttention<'_>,
    queries: &CubeTensor,
    rows: &PagedRows,
    store: &PageStore,
    out: &CubeTensor,
) {
    let shape = store.shape();
    let (heads, kv_heads, width) = (attention.heads, shape.kv_heads, shape.head_dim);
    let group = heads / kv_heads;
    let most = QUERIES_MAX / rows.rows_of_task;
    let cube_heads = (1..=most.max(1)).rev().find(|heads| group.is_multiple_of(*heads)).unwrap_or(1);
    let window = attention.window.is_some();
    let plan = SoftmaxPlan {
        heads,
        kv_heads,
        width,
        cube_heads,
        queries: cube_heads * rows.rows_of_task,
        window,
        capped: attention.scores.cap.is_some(),
        splits: rows.splits,
    };
    let lanes = shape.key_lanes();
    let [keys, values] = store.layer(attention.layer);
    let tasks = (rows.tasks.count / 4) as u32;
    let all = rows.slots.count * heads;
    let parts = (rows.splits > 1).then(|| empty_like(queries, [all * rows.splits, width + PART_EXTRA * lanes]));
    // SAFETY: queries and out have the rows of the tasks. Positions before the end of a task's rows are on pages that
    // its sequence owns, and the layer's store has those pages.
    unsafe {
        online_softmax::launch_unchecked(
            &queries.client,
            CubeCount::Static(tasks, (heads / cube_heads) as u32, rows.splits as u32),
            CubeDim::new_1d(UNITS as u32),
            lanes,
            argument(queries, lanes),
            keys.argument(lanes),
            values.argument(lanes),
            rows.tasks.argument(1),
            rows.tables.argument(1),
            argument(parts.as_ref().unwrap_or(out), lanes),
            attention.window.unwrap_or(0) as u32,
            attention.scores.cap.unwrap_or(1.0),
            plan,
        );
    }
    if let Some(parts) = parts {
        combine::launch(&parts, out, all, rows.splits, lanes, width);
    }
}

/// The work of a cube: rows of a sequence, and heads that share keys and values.
#[derive(CubeType)]
struct SoftmaxTask {
    first_row: usize,
    rows: usize,
    /// Index of the sequence's first page in `tables`.
    table: usize,
    /// Position of the first row.
    start: usize,
    first_head: usize,
    kv_head: usize,
}

/// A unit's state for each query: the sums of its own vectors of the result, the sum of weights, and the greatest
/// score, which every unit has.
#[derive(CubeType)]
struct SoftmaxState<N: Size> {
    sums: Array<Vector<f32, N>>,
    totals: Array<f32>,
    highest: Array<f32>,
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "a kernel's buffers and sizes are its arguments")]
#[allow(clippy::collapsible_if, reason = "the outer condition is looked at when the kernel is compiled")]
fn online_softmax<N: Size>(
    queries: &[Vector<f32, N>],
    keys: &[Vector<f32, N>],
    values: &[Vector<f32, N>],
    tasks: &[u32],
    tables: &[u32],
    out: &mut [Vector<f32, N>],
    window: u32,
    cap: f32,
    #[comptime] plan: SoftmaxPlan,
) {
    let lanes = N::value();
    let at = CUBE_POS_X as usize * 4;
    let first_head = CUBE_POS_Y as usize * comptime!(plan.cube_heads);
    let task = SoftmaxTask {
        first_row: tasks[at] as usize,
        rows: tasks[at + 1] as usize,
        table: tasks[at + 2] as usize,
        start: tasks[at + 3] as usize,
        first_head,
        kv_head: first_head / comptime!(plan.heads / plan.kv_heads),
    };
    let mut query = Shared::<[Vector<f32, N>]>::new_slice(comptime!(plan.queries * plan.width / lanes));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(plan.queries * UNITS));
    let mut greatest = Shared::<[f32]>::new_slice(comptime!(plan.queries * PARTS));
    load_queries::<N>(queries, &mut query, &task, plan);
    sync_cube();
    let mut state = fresh::<N>(plan);
    let end = task.start + task.rows;
    let window = window as usize;
    let mut tile = 0usize;
    if comptime!(plan.window) {
        if task.start + 1 > window {
            tile = (task.start + 1 - window) / comptime!(UNITS) * comptime!(UNITS);
        }
    }
    tile += CUBE_POS_Z as usize * comptime!(UNITS);
    while tile < end {
        score::<N>(keys, tables, &query, &mut weights, &task, tile, window, cap, plan);
        sync_cube();
        find_greatest(&weights, &mut greatest, plan);
        sync_cube();
        weigh::<N>(&mut weights, &greatest, &mut state, plan);
        sync_cube();
        add_values::<N>(values, tables, &weights, &mut state, &task, tile, plan);
        sync_cube();
        tile += comptime!(UNITS * plan.splits);
    }
    write::<N>(out, &state, &task, plan);
}

#[cube]
fn load_queries<N: Size>(
    queries: &[Vector<f32, N>],
    query: &mut Shared<[Vector<f32, N>]>,
    task: &SoftmaxTask,
    #[comptime] plan: SoftmaxPlan,
) {
    let lanes = N::value();
    let vectors = comptime!(plan.width / lanes);
    let mut at = UNIT_POS as usize;
    while at < comptime!(plan.queries * plan.width / lanes) {
        let own = at / vectors;
        // Rows past the last row are computed like the last row and not written.
        let row = task.first_row + usize::min(own / comptime!(plan.cube_heads), task.rows - 1);
        let head = task.first_head + own % comptime!(plan.cube_heads);
        query[at] = queries[(row * comptime!(plan.heads) + head) * vectors + at % vectors];
        at += comptime!(UNITS);
    }
}

#[cube]
fn fresh<N: Size>(#[comptime] plan: SoftmaxPlan) -> SoftmaxState<N> {
    let lanes = N::value();
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(plan.queries * plan.own(lanes)));
    let mut totals = Array::<f32>::new(comptime!(plan.queries));
    let mut highest = Array::<f32>::new(comptime!(plan.queries));
    #[unroll]
    for at in 0..comptime!(plan.queries * plan.own(lanes)) {
        sums[at] = Vector::<f32, N>::new(0.0f32);
    }
    #[unroll]
    for q in 0..comptime!(plan.queries) {
        totals[q] = 0.0f32;
        highest[q] = f32::new(LOWEST);
    }
    SoftmaxState::<N> { sums, totals, highest }
}

/// The index of the head of keys or values in the page of a position.
#[cube]
fn head_page(tables: &[u32], task: &SoftmaxTask, position: usize, #[comptime] kv_heads: usize) -> usize {
    tables[task.table + position / comptime!(PAGE_TOKENS)] as usize * kv_heads + task.kv_head
}

/// The scores of a unit's position in a tile with each query, or [`LOWEST`] if the query does not attend to the
/// position.
#[allow(clippy::manual_clamp, reason = "CubeCL has a minimum and a maximum")]
#[cube]
#[allow(clippy::too_many_arguments, reason = "what a tile is and where it goes")]
fn score<N: Size>(
    keys: &[Vector<f32, N>],
    tables: &[u32],
    query: &Shared<[Vector<f32, N>]>,
    weights: &mut Shared<[f32]>,
    task: &SoftmaxTask,
    tile: usize,
    window: usize,
    cap: f32,
    #[comptime] plan: SoftmaxPlan,
) {
    let lanes = N::value();
    let vectors = comptime!(plan.width / lanes);
    let page_tokens = comptime!(PAGE_TOKENS);
    let position = tile + UNIT_POS as usize;
    let inside = position < task.start + task.rows;
    let mut scores = Array::<Vector<f32, N>>::new(comptime!(plan.queries));
    #[unroll]
    for q in 0..comptime!(plan.queries) {
        scores[q] = Vector::<f32, N>::new(0.0f32);
    }
    if inside {
        let page = head_page(tables, task, position, comptime!(plan.kv_heads));
        let from = page * vectors * page_tokens + position % page_tokens;
        let step = comptime!(if vectors.is_multiple_of(AT_ONCE) { AT_ONCE } else { 1 });
        let mut key = Array::<Vector<f32, N>>::new(step);
        for some in 0..comptime!(vectors / step) {
            #[unroll]
            for v in 0..step {
                key[v] = keys[from + (some * step + v) * page_tokens];
            }
            #[unroll]
            for v in 0..step {
                #[unroll]
                for q in 0..comptime!(plan.queries) {
                    scores[q] += query[q * vectors + some * step + v] * key[v];
                }
            }
        }
    }
    #[unroll]
    for q in 0..comptime!(plan.queries) {
        let row = task.start + comptime!(q / plan.cube_heads);
        let mut seen = inside && position <= row;
        if comptime!(plan.window) {
            seen = seen && position + window > row;
        }
        let mut score = f32::new(LOWEST);
        if seen {
            score = lanes_sum::<N>(scores[q]);
            if comptime!(plan.capped) {
                // The hyperbolic tangent, of a number whose exponential is finite.
                let part = f32::max(f32::min(score / cap, 20.0f32), -20.0f32);
                score = cap * (1.0f32 - 2.0f32 / (1.0f32 + (2.0f32 * part).exp()));
            }
        }
        weights[comptime!(q * UNITS) + UNIT_POS as usize] = score;
    }
}

/// The greatest score of each part of a tile, for each query.
#[cube]
fn find_greatest(weights: &Shared<[f32]>, greatest: &mut Shared<[f32]>, #[comptime] plan: SoftmaxPlan) {
    let unit = UNIT_POS as usize;
    let parts = comptime!(PARTS);
    if unit < comptime!(plan.queries * PARTS) {
        let own = unit / parts;
        let mut most = f32::new(LOWEST);
        for at in 0..comptime!(UNITS / PARTS) {
            most = f32::max(most, weights[own * comptime!(UNITS) + at * parts + unit % parts]);
        }
        greatest[unit] = most;
    }
}

/// Turns scores into weights relative to the greatest score so far, and rescales the earlier sums to it.
#[cube]
fn weigh<N: Size>(
    weights: &mut Shared<[f32]>,
    greatest: &Shared<[f32]>,
    state: &mut SoftmaxState<N>,
    #[comptime] plan: SoftmaxPlan,
) {
    let lanes = N::value();
    #[unroll]
    for q in 0..comptime!(plan.queries) {
        let mut most = state.highest[q];
        for at in 0..comptime!(PARTS) {
            most = f32::max(most, greatest[comptime!(q * PARTS) + at]);
        }
        let score = weights[comptime!(q * UNITS) + UNIT_POS as usize];
        let mut weight = 0.0f32;
        if score > comptime!(LOWEST / 2.0) {
            weight = (score - most).exp();
        }
        weights[comptime!(q * UNITS) + UNIT_POS as usize] = weight;
        let less = (state.highest[q] - most).exp();
        state.highest[q] = most;
        state.totals[q] *= less;
        #[unroll]
        for own in 0..comptime!(plan.own(lanes)) {
            let at = comptime!(q * plan.own(lanes) + own);
            state.sums[at] *= Vector::<f32, N>::new(less);
        }
    }
}

/// Adds a tile's weighted values to the sums of a unit. Each side takes every `sides`th position.
#[cube]
fn add_values<N: Size>(
    values: &[Vector<f32, N>],
    tables: &[u32],
    weights: &Shared<[f32]>,
    state: &mut SoftmaxState<N>,
    task: &SoftmaxTask,
    tile: usize,
    #[comptime] plan: SoftmaxPlan,
) {
    let lanes = N::value();
    let vectors = comptime!(plan.width / lanes);
    let (sides, at_once) = comptime!((plan.sides(lanes), plan.at_once(lanes)));
    let owned = comptime!(plan.own(lanes));
    let side = UNIT_POS as usize / vectors;
    let element = UNIT_POS as usize % vectors;
    let count = usize::min(comptime!(UNITS), task.start + task.rows - tile);
    let mut at = side;
    while side < sides && at < count {
        let mut value = Array::<Vector<f32, N>>::new(comptime!(at_once * owned));
        #[unroll]
        for step in 0..at_once {
            // Positions past the last one are read as the last one and have weight zero.
            let position = tile + usize::min(at + comptime!(step * sides), count - 1);
            let page = head_page(tables, task, position, comptime!(plan.kv_heads));
            let from = (page * comptime!(PAGE_TOKENS) + position % comptime!(PAGE_TOKENS)) * vectors;
            #[unroll]
            for own in 0..owned {
                // Vectors past the last one are read as the last one and not written.
                let vector = usize::min(element + comptime!(own * UNITS), vectors - 1);
                value[comptime!(step * owned + own)] = values[from + vector];
            }
        }
        #[unroll]
        for step in 0..at_once {
            #[unroll]
            for q in 0..comptime!(plan.queries) {
                let weight = weights[comptime!(q * UNITS + step * sides) + at];
                state.totals[q] += weight;
                #[unroll]
                for own in 0..owned {
                    let sum = comptime!(q * owned + own);
                    let value = value[comptime!(step * owned + own)];
                    state.sums[sum] += Vector::<f32, N>::new(weight) * value;
                }
            }
        }
        at += comptime!(at_once * sides);
    }
}

/// Adds up the sides, and writes the results of the task's rows, or this cube's part of them.
#[cube]
fn write<N: Size>(
    out: &mut [Vector<f32, N>],
    state: &SoftmaxState<N>,
    task: &SoftmaxTask,
    #[comptime] plan: SoftmaxPlan,
) {
    let lanes = N::value();
    let vectors = comptime!(plan.width / lanes);
    let (sides, owned) = comptime!((plan.sides(lanes), plan.own(lanes)));
    let element = UNIT_POS as usize % vectors;
    let mut shared = Shared::<[Vector<f32, N>]>::new_slice(comptime!(UNITS));
    #[unroll]
    for q in 0..comptime!(plan.queries) {
        let mut total = Vector::<f32, N>::new(state.totals[q]);
        if comptime!(sides > 1) {
            total = over_sides::<N>(total, &mut shared, element, vectors, sides);
        }
        #[unroll]
        for own in 0..owned {
            let mut sum = state.sums[comptime!(q * owned + own)];
            if comptime!(sides > 1) {
                sum = over_sides::<N>(sum, &mut shared, element, vectors, sides);
            }
            let row = comptime!(q / plan.cube_heads).runtime();
            let vector = element + comptime!(own * UNITS);
            if (UNIT_POS as usize) < vectors && row < task.rows && vector < vectors {
                let head = task.first_head + comptime!(q % plan.cube_heads);
                let query = (task.first_row + row) * comptime!(plan.heads) + head;
                if comptime!(plan.splits > 1) {
                    let part = query * comptime!(plan.splits) + CUBE_POS_Z as usize;
                    let to = part * comptime!(vectors + PART_EXTRA);
                    out[to + vector] = sum;
                    if vector == 0 {
                        out[to + vectors] = total;
                        out[to + comptime!(vectors + 1)] = Vector::<f32, N>::new(state.highest[q]);
                    }
                } else {
                    out[query * vectors + vector] = sum / total;
                }
            }
        }
    }
}

/// The sum over the units of an element, one in each side.
#[cube]
fn over_sides<N: Size>(
    value: Vector<f32, N>,
    shared: &mut Shared<[Vector<f32, N>]>,
    element: usize,
    #[comptime] vectors: usize,
    #[comptime] sides: usize,
) -> Vector<f32, N> {
    shared[UNIT_POS as usize] = value;
    sync_cube();
    let mut sum = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for side in 0..sides {
        sum += shared[element + comptime!(side * vectors)];
    }
    sync_cube();
    sum
}

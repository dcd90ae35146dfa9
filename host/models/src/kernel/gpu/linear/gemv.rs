//! GEMV for few rows of `x`: adjacent units read adjacent weights of a row, each weight is read once, and it meets all
//! rows of `x` in registers. The operations of a layer before and after the product are part of the kernel, since a
//! launch costs more than they do.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use firebox_kernels::elements::Activation;

use super::codes::{codes_dot, group_factors};
use super::halves::{Half, lower, upper};
use super::{Form, Product};
use crate::kernel::gpu::elements::activated;
use crate::kernel::gpu::{argument, lanes_sum};

/// Units that share a row of weights: a group.
const LANES: usize = 32;
/// Groups in a cube.
const GROUPS: usize = 4;
/// Rows of `x` that one pass over the weights can serve.
pub(super) const X_ROWS: [usize; 3] = [1, 4, 16];

/// The compile-time parameters of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct GemvPlan {
    form: Form,
    /// Rows of `x` a unit sums for.
    x_rows: usize,
    /// Rows of weights a unit reads.
    w_rows: usize,
    norm: bool,
    bias: bool,
    base: bool,
    /// For a gated linear unit: the function of the gates, which are the first half of the weights' rows.
    gate: Option<Activation>,
}

impl GemvPlan {
    /// Sums of a unit: of products, then of squares.
    fn sums(&self) -> usize {
        self.w_rows * self.x_rows + if self.norm { self.x_rows } else { 0 }
    }

    /// Columns of the result that a group computes.
    fn columns(&self) -> usize {
        if self.gate.is_some() { self.w_rows / 2 } else { self.w_rows }
    }
}

pub(super) fn launch(product: &Product<'_>) {
    let matrix = product.matrix;
    let x_rows = X_ROWS.into_iter().find(|rows| *rows >= product.m).unwrap_or(X_ROWS[2]);
    // The rows of weights share the cost of reading `x`. Each lane of a group adds up at most one sum.
    let w_rows = if x_rows == 4 { 4 } else { 2 };
    let plan = GemvPlan {
        form: matrix.form,
        x_rows,
        w_rows,
        norm: product.norm.is_some(),
        bias: product.bias.is_some(),
        base: product.base.is_some(),
        gate: product.gate,
    };
    let columns = product.columns();
    let lanes = matrix.form.lanes;
    // SAFETY: rows past the last row of x or of the weights are read as the last row and not written. No vector past
    // the end of a row is read.
    unsafe {
        gemv::launch_unchecked(
            &product.x.client,
            CubeCount::Static(columns.div_ceil(GROUPS * plan.columns()) as u32, product.m.div_ceil(x_rows) as u32, 1),
            CubeDim::new_2d(LANES as u32, GROUPS as u32),
            lanes,
            argument(product.x, lanes),
            argument(&matrix.words, lanes),
            // Absent scales are replaced by `x`, which the kernel then does not read.
            argument(matrix.scales.as_ref().unwrap_or(product.x), 1),
            product.norm(lanes),
            product.bias(),
            product.base(),
            argument(product.out, 1),
            product.m as u32,
            columns as u32,
            product.epsilon(),
            plan,
        );
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "a kernel's buffers and sizes are its arguments")]
fn gemv<N: Size>(
    x: &[Vector<f32, N>],
    weights: &[Vector<u32, N>],
    scales: &[f32],
    norm: &[Vector<f32, N>],
    bias: &[f32],
    base: &[f32],
    out: &mut [f32],
    m: u32,
    columns: u32,
    epsilon: f32,
    #[comptime] plan: GemvPlan,
) {
    let (m, columns) = (m as usize, columns as usize);
    let lane = UNIT_POS_X as usize;
    let group = UNIT_POS_Y as usize;
    let first_column = (CUBE_POS_X as usize * comptime!(GROUPS) + group) * comptime!(plan.columns());
    let first_row = CUBE_POS_Y as usize * comptime!(plan.x_rows);
    let sums = products::<N>(x, weights, scales, norm, m, columns, first_row, first_column, lane, plan);
    // One lane adds up the partial sums of one number. Rows are one element longer than the number of lanes, so that
    // they begin in different banks.
    let count = comptime!(plan.sums());
    let stride = comptime!(LANES + 1);
    let mut shared = Shared::<[f32]>::new_slice(comptime!(GROUPS * plan.sums() * (LANES + 1)));
    #[unroll]
    for at in 0..count {
        shared[(group * count + at) * stride + lane] = sums[at];
    }
    sync_cube();
    let own = group * count;
    let x_rows = comptime!(plan.x_rows);
    let column = first_column + lane / x_rows;
    let row = first_row + lane % x_rows;
    if lane < comptime!(plan.columns() * plan.x_rows) && column < columns && row < m {
        let mut scale = 1.0f32;
        if comptime!(plan.norm) {
            let squares = lane_sum(&shared, own + comptime!(plan.w_rows * plan.x_rows) + lane % x_rows);
            let width = comptime!((plan.form.width()) as f32);
            scale = 1.0f32 / (squares / width + epsilon).sqrt();
        }
        let mut sum = lane_sum(&shared, own + lane) * scale;
        if comptime!(plan.bias) {
            sum += bias[column];
        }
        if comptime!(plan.gate.is_some()) {
            let mut up = lane_sum(&shared, own + comptime!(plan.columns() * plan.x_rows) + lane) * scale;
            if comptime!(plan.bias) {
                up += bias[columns + column];
            }
            sum = activated(sum, comptime!(plan.gate.unwrap_or(Activation::Identity))) * up;
        }
        if comptime!(plan.base) {
            sum += base[row * columns + column];
        }
        out[row * columns + column] = sum;
    }
}

/// A unit's partial sums, [`GemvPlan::sums`] of them.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a kernel's buffers and sizes are its arguments")]
fn products<N: Size>(
    x: &[Vector<f32, N>],
    weights: &[Vector<u32, N>],
    scales: &[f32],
    norm: &[Vector<f32, N>],
    m: usize,
    columns: usize,
    first_row: usize,
    first_column: usize,
    lane: usize,
    #[comptime] plan: GemvPlan,
) -> Array<f32> {
    let vectors = comptime!(plan.form.vectors);
    let parts = comptime!(plan.form.parts());
    let mut sums = Array::<f32>::new(comptime!(plan.sums()));
    #[unroll]
    for at in 0..comptime!(plan.sums()) {
        sums[at] = 0.0f32;
    }
    let mut words = Array::<Vector<u32, N>>::new(comptime!(plan.w_rows));
    let mut factors = Array::<f32>::new(comptime!(2 * plan.w_rows));
    let mut own = Array::<Vector<f32, N>>::new(parts);
    let mut at = lane;
    while at < vectors {
        #[unroll]
        for w in 0..comptime!(plan.w_rows) {
            let column = usize::min(first_column + comptime!(w % plan.columns()), columns - 1);
            // The rows of gates come first, then the rows that they gate.
            let row = column + comptime!(w / plan.columns()) * columns;
            words[w] = weights[row * vectors + at];
            if comptime!(plan.form.codes().is_some()) {
                let (factor, addend) =
                    group_factors(scales, row * vectors + at, comptime!(plan.form.codes().unwrap_or_default()));
                factors[comptime!(2 * w)] = factor;
                factors[comptime!(2 * w + 1)] = addend;
            }
        }
        #[unroll]
        for r in 0..comptime!(plan.x_rows) {
            let row = usize::min(first_row + r, m - 1);
            #[unroll]
            for part in 0..parts {
                let value = x[(row * vectors + at) * parts + part];
                if comptime!(plan.norm) {
                    let squares = comptime!(plan.w_rows * plan.x_rows + r);
                    sums[squares] += lanes_sum::<N>(value * value);
                    own[part] = value * norm[at * parts + part];
                } else {
                    own[part] = value;
                }
            }
            let own_sum = elements_sum::<N>(&own, plan.form);
            #[unroll]
            for w in 0..comptime!(plan.w_rows) {
                let sum = comptime!(w * plan.x_rows + r);
                let (factor, addend) = (factors[comptime!(2 * w)], factors[comptime!(2 * w + 1)]);
                sums[sum] += vector_dot::<N>(words[w], &own, own_sum, factor, addend, plan.form);
            }
        }
        at += comptime!(LANES);
    }
    sums
}

/// The sum of elements of `x`, which only codes need.
#[cube]
fn elements_sum<N: Size>(own: &Array<Vector<f32, N>>, #[comptime] form: Form) -> f32 {
    let mut sum = 0.0f32;
    if comptime!(form.codes().is_some()) {
        #[unroll]
        for part in 0..comptime!(form.parts()) {
            sum += lanes_sum::<N>(own[part]);
        }
    }
    sum
}

/// The dot product of a vector of weights and the elements of `x` that belong to it, whose sum is `own_sum`. `factor` and
/// `addend` are those of a group of codes.
#[cube]
fn vector_dot<N: Size>(
    words: Vector<u32, N>,
    own: &Array<Vector<f32, N>>,
    own_sum: f32,
    factor: f32,
    addend: f32,
    #[comptime] form: Form,
) -> f32 {
    let mut dot = 0.0f32;
    if comptime!(form.codes().is_some()) {
        dot += factor * codes_dot::<N>(words, own, comptime!(form.codes().unwrap_or_default().bits)) + addend * own_sum;
    } else if comptime!(form.halves().is_some()) {
        dot += halves_dot::<N>(words, own[0], own[1], comptime!(form.halves().unwrap_or_default()));
    } else {
        dot += floats_dot::<N>(words, own[0]);
    }
    dot
}

/// The `at`th sum of a group: its lanes' partial sums added up.
#[cube]
fn lane_sum(shared: &Shared<[f32]>, at: usize) -> f32 {
    let from = at * comptime!(LANES + 1);
    let mut sum = 0.0f32;
    for lane in 0..comptime!(LANES) {
        sum += shared[from + lane];
    }
    sum
}

/// The dot product of words with two weights each and the matching elements of `x`.
#[cube]
fn halves_dot<N: Size>(
    words: Vector<u32, N>,
    low: Vector<f32, N>,
    high: Vector<f32, N>,
    #[comptime] half: Half,
) -> f32 {
    let lanes = N::value();
    let mut sum = 0.0f32;
    #[unroll]
    for lane in 0..lanes {
        let word = words.extract(lane);
        let (first, second) = (lower(word, half), upper(word, half));
        if comptime!(2 * lane < lanes) {
            sum += first * low.extract(comptime!(2 * lane));
        } else {
            sum += first * high.extract(comptime!(2 * lane - lanes));
        }
        if comptime!(2 * lane + 1 < lanes) {
            sum += second * low.extract(comptime!(2 * lane + 1));
        } else {
            sum += second * high.extract(comptime!(2 * lane + 1 - lanes));
        }
    }
    sum
}

#[cube]
fn floats_dot<N: Size>(words: Vector<u32, N>, x: Vector<f32, N>) -> f32 {
    lanes_sum::<N>(Vector::<f32, N>::reinterpret(words) * x)
}

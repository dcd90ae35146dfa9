//! GEMM for many rows of `x`: a cube computes a square tile of the result, and its units share what they read of `x`
//! and of the weights.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::halves::{Half, lower, upper};
use super::{Form, Product};
use crate::kernel::gpu::{argument, lanes_sum};

/// Rows of `x` and rows of weights in a tile.
pub(super) const TILE: usize = 64;
/// Columns of a tile that are in shared memory at a time.
const DEPTH: usize = 32;
/// Units along each side of a cube.
const SIDE: usize = 16;
/// Units of a cube.
const UNITS: usize = SIDE * SIDE;
/// Rows of `x` and rows of weights that a unit computes with.
const OWN: usize = TILE / SIDE;

/// The compile-time parameters of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct GemmPlan {
    form: Form,
    bias: bool,
    base: bool,
}

pub(super) fn launch(product: &Product<'_>) {
    let matrix = product.matrix;
    let plan = GemmPlan { form: matrix.form, bias: product.bias.is_some(), base: product.base.is_some() };
    let cubes = |rows: usize| rows.div_ceil(TILE) as u32;
    let lanes = matrix.form.lanes;
    // SAFETY: rows past the last row of x or of the weights are read as the last row and not written. Vectors past the
    // end of a row are zero and not read.
    unsafe {
        gemm::launch_unchecked(
            &product.x.client,
            CubeCount::Static(cubes(matrix.rows), cubes(product.m), 1),
            CubeDim::new_2d(SIDE as u32, SIDE as u32),
            lanes,
            argument(product.x, lanes),
            argument(&matrix.words, lanes),
            product.bias(),
            product.base(),
            argument(product.out, 1),
            product.m as u32,
            matrix.rows as u32,
            plan,
        );
    }
}

/// Bytes of shared memory a cube needs.
pub(super) const SHARED_BYTES: usize = 2 * TILE * (DEPTH + 4) * size_of::<f32>();

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "a kernel's buffers and sizes are its arguments")]
fn gemm<N: Size>(
    x: &[Vector<f32, N>],
    weights: &[Vector<u32, N>],
    bias: &[f32],
    base: &[f32],
    out: &mut [f32],
    m: u32,
    rows: u32,
    #[comptime] plan: GemmPlan,
) {
    let lanes = N::value();
    let (m, rows) = (m as usize, rows as usize);
    let unit = UNIT_POS as usize;
    let first_w = CUBE_POS_X as usize * comptime!(TILE);
    let first_x = CUBE_POS_Y as usize * comptime!(TILE);
    // Vectors of elements and of words, in a row and in a row of a tile.
    let width = comptime!(plan.form.vectors * plan.form.parts());
    let depth = comptime!(DEPTH / lanes);
    let words = comptime!(DEPTH / lanes / plan.form.parts());
    // A row has one vector more than is used, so that rows begin in different banks.
    let mut x_tile = Shared::<[Vector<f32, N>]>::new_slice(comptime!(TILE * (DEPTH / lanes + 1)));
    let mut w_tile = Shared::<[Vector<f32, N>]>::new_slice(comptime!(TILE * (DEPTH / lanes + 1)));
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(OWN * OWN));
    #[unroll]
    for at in 0..comptime!(OWN * OWN) {
        sums[at] = Vector::<f32, N>::new(0.0f32);
    }
    // A unit's part of the next tiles, loaded while the current tiles are multiplied.
    let mut next_x = Array::<Vector<f32, N>>::new(comptime!(TILE * depth / UNITS));
    let mut next_w = Array::<Vector<u32, N>>::new(comptime!(TILE * words / UNITS));
    load::<f32, N>(x, &mut next_x, unit, first_x, m, 0usize, width, depth, UNITS);
    load::<u32, N>(weights, &mut next_w, unit, first_w, rows, 0usize, comptime!(plan.form.vectors), words, UNITS);
    for step in 0..comptime!(width.div_ceil(depth)) {
        store_tiles::<N>(&next_x, &next_w, &mut x_tile, &mut w_tile, plan.form);
        sync_cube();
        load::<f32, N>(x, &mut next_x, unit, first_x, m, (step + 1) * depth, width, depth, UNITS);
        let from = (step + 1) * words;
        load::<u32, N>(weights, &mut next_w, unit, first_w, rows, from, comptime!(plan.form.vectors), words, UNITS);
        multiply::<N>(&x_tile, &w_tile, &mut sums);
        sync_cube();
    }
    let (column, line) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    #[unroll]
    for r in 0..comptime!(OWN) {
        #[unroll]
        for w in 0..comptime!(OWN) {
            let row = first_x + line + comptime!(r * SIDE);
            let weight_row = first_w + column + comptime!(w * SIDE);
            if row < m && weight_row < rows {
                let mut sum = lanes_sum::<N>(sums[comptime!(r * OWN + w)]);
                if comptime!(plan.bias) {
                    sum += bias[weight_row];
                }
                if comptime!(plan.base) {
                    sum += base[row * rows + weight_row];
                }
                out[row * rows + weight_row] = sum;
            }
        }
    }
}

/// Stores the loaded parts into the tiles. Weights are widened.
#[cube]
fn store_tiles<N: Size>(
    next_x: &Array<Vector<f32, N>>,
    next_w: &Array<Vector<u32, N>>,
    x_tile: &mut Shared<[Vector<f32, N>]>,
    w_tile: &mut Shared<[Vector<f32, N>]>,
    #[comptime] form: Form,
) {
    let lanes = N::value();
    let unit = UNIT_POS as usize;
    let (depth, stride) = comptime!((DEPTH / lanes, DEPTH / lanes + 1));
    let words = comptime!(DEPTH / lanes / form.parts());
    #[unroll]
    for own in 0..comptime!(TILE * depth / UNITS) {
        let at = unit + comptime!(own * UNITS);
        x_tile[at / depth * stride + at % depth] = next_x[own];
    }
    #[unroll]
    for own in 0..comptime!(TILE * words / UNITS) {
        let at = unit + comptime!(own * UNITS);
        let to = at / words * stride + at % words * comptime!(form.parts());
        if comptime!(form.halves().is_some()) {
            let half = comptime!(form.halves().unwrap_or_default());
            w_tile[to] = widened::<N>(next_w[own], 0usize, half);
            w_tile[to + 1] = widened::<N>(next_w[own], lanes, half);
        } else {
            w_tile[to] = Vector::<f32, N>::reinterpret(next_w[own]);
        }
    }
}

/// Adds the products of the tiles to a unit's sums. Each sum is a vector whose lanes are added later.
#[cube]
fn multiply<N: Size>(
    x_tile: &Shared<[Vector<f32, N>]>,
    w_tile: &Shared<[Vector<f32, N>]>,
    sums: &mut Array<Vector<f32, N>>,
) {
    let lanes = N::value();
    let stride = comptime!(DEPTH / lanes + 1);
    let (column, line) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    for vector in 0..comptime!(DEPTH / lanes) {
        let mut of_w = Array::<Vector<f32, N>>::new(comptime!(OWN));
        #[unroll]
        for w in 0..comptime!(OWN) {
            of_w[w] = w_tile[(column + comptime!(w * SIDE)) * stride + vector];
        }
        #[unroll]
        for r in 0..comptime!(OWN) {
            let of_x = x_tile[(line + comptime!(r * SIDE)) * stride + vector];
            #[unroll]
            for w in 0..comptime!(OWN) {
                let sum = comptime!(r * OWN + w);
                sums[sum] += of_x * of_w[w];
            }
        }
    }
}

/// Loads the part of a tile of one of `units` units: `depth` vectors of each row, from vector `from` on. Past the end of a
/// row the vectors are zero.
#[cube]
#[allow(clippy::too_many_arguments, reason = "where it is and where it goes")]
pub(super) fn load<T: Numeric, N: Size>(
    source: &[Vector<T, N>],
    next: &mut Array<Vector<T, N>>,
    unit: usize,
    first: usize,
    rows: usize,
    from: usize,
    #[comptime] width: usize,
    #[comptime] depth: usize,
    #[comptime] units: usize,
) {
    #[unroll]
    for own in 0..comptime!(TILE * depth / units) {
        let at = unit + comptime!(own * units);
        let row = usize::min(first + at / depth, rows - 1);
        let vector = from + at % depth;
        let mut value = Vector::<T, N>::new(T::from_int(0));
        if vector < width {
            value = source[row * width + vector];
        }
        next[own] = value;
    }
}

/// The elements from `from` on of a vector of words with two each.
#[cube]
fn widened<N: Size>(words: Vector<u32, N>, #[comptime] from: usize, #[comptime] half: Half) -> Vector<f32, N> {
    let mut elements = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for lane in 0..N::value() {
        let at = comptime!(from + lane);
        let word = words.extract(comptime!(at / 2));
        if comptime!(at % 2 == 0) {
            elements.insert(lane, lower(word, half));
        } else {
            elements.insert(lane, upper(word, half));
        }
    }
    elements
}

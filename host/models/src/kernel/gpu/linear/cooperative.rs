//! GEMM for many rows of `x` on cooperative matrices: the units of a plane multiply small matrices of F16 together and
//! add up in F32, on hardware that is made for it (tensor cores). Weights are widened on their way into shared memory, so
//! no matrix of them is written.
//!
//! `x` becomes F16 as well. Each of its rows is scaled by a power of two first, so no value is out of the range of F16.

mod fragment;
mod probe;

use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::cmma::{Matrix, MatrixIdent, MatrixLayout};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use half::f16;

use super::codes::{code, group_factors};
use super::gemm::{TILE, load};
use super::halves::{lower, upper};
use super::{Form, Product};
use crate::kernel::gpu::argument;

pub(super) use fragment::{Fragment, fragment_of};
pub(super) use probe::is_right;

/// Columns of a tile that are in shared memory at a time.
const DEPTH: usize = 64;
/// Planes along each side of a tile.
const SIDE: usize = 2;
/// Planes of a cube.
const PLANES: usize = SIDE * SIDE;
/// Rows of `x` and rows of weights whose products a plane sums up.
const OWN: usize = TILE / SIDE;
/// Elements of `x` and words of weights that are read at once.
const LANES: usize = 4;
/// Vectors in a row of a tile in shared memory. Two more than are used, so that rows begin in different banks.
const STRIDE: usize = DEPTH / LANES + 2;
/// Units that scale a row of `x`.
const ROW_UNITS: usize = 128;

/// Elements of a small matrix of sums, at most.
const SUMS_MAX: usize = 256;

/// Bytes of shared memory a cube needs.
const SHARED_BYTES: usize = 2 * TILE * STRIDE * LANES * size_of::<f16>() + PLANES * SUMS_MAX * size_of::<f32>();

/// The compile-time parameters of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Plan {
    form: Form,
    fragment: Fragment,
    bias: bool,
    base: bool,
}

impl Plan {
    /// Vectors of words in a row of a tile.
    fn words(&self) -> usize {
        DEPTH / LANES / self.form.parts()
    }

    /// Vectors of words in a tile that a unit loads. Some units have nothing to load if it is one.
    fn own_words(&self) -> usize {
        (TILE * self.words()).div_ceil(self.fragment.units())
    }

    /// Vectors of `x` in a tile that a unit loads.
    fn own_x(&self) -> usize {
        TILE * DEPTH / LANES / self.fragment.units()
    }
}

/// Whether the kernel multiplies weights of this form. F32 weights stay F32.
pub(super) fn takes(form: Form) -> bool {
    form.element != super::Element::F32 && form.lanes == LANES
}

pub(super) fn launch(product: &Product<'_>, fragment: Fragment) {
    let matrix = product.matrix;
    let plan = Plan { form: matrix.form, fragment, bias: product.bias.is_some(), base: product.base.is_some() };
    let (halves, scales) = scaled_halves(product.x, product.m, matrix.columns);
    let cubes = |rows: usize| rows.div_ceil(TILE) as u32;
    // SAFETY: rows past the last row of x or of the weights are read as the last row and not written. Vectors past the
    // end of a row are zero and not read.
    unsafe {
        gemm::launch_unchecked(
            &product.x.client,
            CubeCount::Static(cubes(matrix.rows), cubes(product.m), 1),
            CubeDim::new_2d(fragment.plane as u32, PLANES as u32),
            LANES,
            argument(&halves, LANES),
            argument(&scales, 1),
            argument(&matrix.words, LANES),
            // Absent scales are replaced by those of `x`, which the kernel then does not read.
            argument(matrix.scales.as_ref().unwrap_or(&scales), 1),
            product.bias(),
            product.base(),
            argument(product.out, 1),
            product.m as u32,
            matrix.rows as u32,
            plan,
        );
    }
}

/// The rows of `x`, `[m, columns]`, each divided by its scale, in F16; and the scales, `[m]`, powers of two.
fn scaled_halves(x: &CubeTensor, m: usize, columns: usize) -> (CubeTensor, CubeTensor) {
    let room = |shape: Vec<usize>, dtype: DType| {
        empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape.into(), dtype)
    };
    let (halves, scales) = (room(vec![m, columns], DType::F16), room(vec![m], DType::F32));
    // SAFETY: a cube takes one of the rows, and no index passes its width, which x and the halves have.
    unsafe {
        scale_rows::launch_unchecked(
            &x.client,
            CubeCount::Static(m as u32, 1, 1),
            CubeDim::new_1d(ROW_UNITS as u32),
            LANES,
            argument(x, LANES),
            argument(&halves, LANES),
            argument(&scales, 1),
            columns / LANES,
        );
    }
    (halves, scales)
}

/// The largest value of a scaled row is at least 2^14 and less than 2^15: within F16, and small values keep their digits.
#[cube(launch_unchecked)]
fn scale_rows<N: Size>(
    x: &[Vector<f32, N>],
    halves: &mut [Vector<f16, N>],
    scales: &mut [f32],
    #[comptime] vectors: usize,
) {
    let unit = UNIT_POS as usize;
    let row = CUBE_POS_X as usize;
    let mut most = 0.0f32;
    let mut at = unit;
    while at < vectors {
        let vector = x[row * vectors + at];
        #[unroll]
        for lane in 0..N::value() {
            most = f32::max(most, f32::abs(vector.extract(lane)));
        }
        at += comptime!(ROW_UNITS);
    }
    let mut shared = Shared::<[f32]>::new_slice(comptime!(ROW_UNITS));
    shared[unit] = most;
    sync_cube();
    let mut half = comptime!(ROW_UNITS / 2).runtime();
    while half > 0 {
        if unit < half {
            shared[unit] = f32::max(shared[unit], shared[unit + half]);
        }
        sync_cube();
        half /= 2;
    }
    // The exponent fields of the power of two and of its inverse add up to 254.
    let exponent = u32::reinterpret(shared[0]) >> 23u32;
    let field = u32::min(268u32 - exponent, 253u32);
    let factor = f32::reinterpret(field << 23u32);
    if unit == 0 {
        scales[row] = f32::reinterpret((254u32 - field) << 23u32);
    }
    let mut at = unit;
    while at < vectors {
        let vector = x[row * vectors + at] * Vector::<f32, N>::new(factor);
        halves[row * vectors + at] = Vector::cast_from(vector);
        at += comptime!(ROW_UNITS);
    }
}

#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "a kernel's buffers and sizes are its arguments")]
fn gemm<N: Size>(
    x: &[Vector<f16, N>],
    x_scales: &[f32],
    weights: &[Vector<u32, N>],
    scales: &[f32],
    bias: &[f32],
    base: &[f32],
    out: &mut [f32],
    m: u32,
    rows: u32,
    #[comptime] plan: Plan,
) {
    let (m, rows) = (m as usize, rows as usize);
    let unit = UNIT_POS as usize;
    let plane = UNIT_POS_Y as usize;
    let first_w = CUBE_POS_X as usize * comptime!(TILE);
    let first_x = CUBE_POS_Y as usize * comptime!(TILE);
    let width = comptime!(plan.form.vectors * plan.form.parts());
    let (depth, words, units) = comptime!((DEPTH / LANES, plan.words(), plan.fragment.units()));
    let mut x_tile = Shared::<[Vector<f16, N>]>::new_slice(comptime!(TILE * STRIDE));
    let mut w_tile = Shared::<[Vector<f16, N>]>::new_slice(comptime!(TILE * STRIDE));
    let mut sums = Sequence::<Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(plan.fragment.sums()) {
        let (fm, fn_, fk) = comptime!((plan.fragment.m, plan.fragment.n, plan.fragment.k));
        sums.push(Matrix::<f32>::from_value(MatrixIdent::Accumulator, fm, fn_, fk, MatrixLayout::Undefined, 0.0f32));
    }
    // A unit's part of the next tiles, loaded while the current tiles are multiplied.
    let mut next_x = Array::<Vector<f16, N>>::new(comptime!(plan.own_x()));
    let mut next_w = Array::<Vector<u32, N>>::new(comptime!(plan.own_words()));
    let mut factors = Array::<f32>::new(comptime!(2 * plan.own_words()));
    load::<f16, N>(x, &mut next_x, unit, first_x, m, 0usize, width, depth, units);
    load_w::<N>(weights, scales, &mut next_w, &mut factors, unit, first_w, rows, 0usize, plan);
    for step in 0..comptime!(width.div_ceil(depth)) {
        store_x::<N>(&next_x, &mut x_tile, unit, plan);
        store_w::<N>(&next_w, &factors, &mut w_tile, unit, plan);
        sync_cube();
        load::<f16, N>(x, &mut next_x, unit, first_x, m, (step + 1) * depth, width, depth, units);
        load_w::<N>(weights, scales, &mut next_w, &mut factors, unit, first_w, rows, (step + 1) * words, plan);
        multiply::<N>(&x_tile, &w_tile, &mut sums, plane, plan.fragment);
        sync_cube();
    }
    write(&sums, x_scales, bias, base, out, first_x, first_w, m, rows, plan);
}

/// Loads a unit's part of a tile of weights, and the scales and addends of its vectors if they are codes.
#[cube]
#[allow(clippy::too_many_arguments, reason = "where it is and where it goes")]
fn load_w<N: Size>(
    weights: &[Vector<u32, N>],
    scales: &[f32],
    next: &mut Array<Vector<u32, N>>,
    factors: &mut Array<f32>,
    unit: usize,
    first: usize,
    rows: usize,
    from: usize,
    #[comptime] plan: Plan,
) {
    let (words, vectors) = comptime!((plan.words(), plan.form.vectors));
    #[unroll]
    for own in 0..comptime!(plan.own_words()) {
        let at = unit + comptime!(own * plan.fragment.units());
        let row = usize::min(first + at / words, rows - 1);
        let vector = from + at % words;
        let mut value = Vector::<u32, N>::new(0u32);
        if vector < vectors {
            value = weights[row * vectors + vector];
            if comptime!(plan.form.codes().is_some()) {
                let codes = comptime!(plan.form.codes().unwrap_or_default());
                let (factor, addend) = group_factors(scales, row * vectors + vector, codes);
                factors[comptime!(2 * own)] = factor;
                factors[comptime!(2 * own + 1)] = addend;
            }
        }
        next[own] = value;
    }
}

#[cube]
fn store_x<N: Size>(
    next: &Array<Vector<f16, N>>,
    tile: &mut Shared<[Vector<f16, N>]>,
    unit: usize,
    #[comptime] plan: Plan,
) {
    let depth = comptime!(DEPTH / LANES);
    #[unroll]
    for own in 0..comptime!(plan.own_x()) {
        let at = unit + comptime!(own * plan.fragment.units());
        tile[at / depth * comptime!(STRIDE) + at % depth] = next[own];
    }
}

/// Stores the loaded weights as F16.
#[cube]
fn store_w<N: Size>(
    next: &Array<Vector<u32, N>>,
    factors: &Array<f32>,
    tile: &mut Shared<[Vector<f16, N>]>,
    unit: usize,
    #[comptime] plan: Plan,
) {
    let (words, parts) = comptime!((plan.words(), plan.form.parts()));
    #[unroll]
    for own in 0..comptime!(plan.own_words()) {
        let at = unit + comptime!(own * plan.fragment.units());
        if at < comptime!(TILE * plan.words()) {
            let to = at / words * comptime!(STRIDE) + at % words * parts;
            let (factor, addend) = (factors[comptime!(2 * own)], factors[comptime!(2 * own + 1)]);
            #[unroll]
            for part in 0..parts {
                tile[to + part] = widened::<N>(next[own], factor, addend, part, plan.form);
            }
        }
    }
}

/// The `part`th vector of the weights in a vector of words. Weights that F16 has no room for become its largest number.
#[cube]
fn widened<N: Size>(
    words: Vector<u32, N>,
    factor: f32,
    addend: f32,
    #[comptime] part: usize,
    #[comptime] form: Form,
) -> Vector<f16, N> {
    let mut weights = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for lane in 0..comptime!(LANES) {
        let at = comptime!(part * LANES + lane);
        let mut weight = addend;
        if comptime!(form.codes().is_some()) {
            weight += factor * code::<N>(words, at, comptime!(form.codes().unwrap_or_default().bits));
        } else {
            let word = words.extract(comptime!(at / 2));
            let half = comptime!(form.halves().unwrap_or_default());
            if comptime!(at % 2 == 0) {
                weight = lower(word, half);
            } else {
                weight = upper(word, half);
            }
        }
        weight = f32::max(weight, -65504.0f32);
        weights.insert(lane, f32::min(weight, 65504.0f32));
    }
    Vector::cast_from(weights)
}

/// Adds the products of the tiles to a plane's sums.
#[cube]
fn multiply<N: Size>(
    x_tile: &Shared<[Vector<f16, N>]>,
    w_tile: &Shared<[Vector<f16, N>]>,
    sums: &mut Sequence<Matrix<f32>>,
    plane: usize,
    #[comptime] fragment: Fragment,
) {
    let (fm, fn_, fk) = comptime!((fragment.m, fragment.n, fragment.k));
    let (of_x, of_w) = comptime!((OWN / fragment.m, OWN / fragment.n));
    let first_x = plane / comptime!(SIDE) * comptime!(OWN);
    let first_w = plane % comptime!(SIDE) * comptime!(OWN);
    let (stride, end) = comptime!(((STRIDE * LANES) as u32, TILE * STRIDE));
    for k in 0..comptime!(DEPTH / fragment.k) {
        let mut right = Sequence::<Matrix<Vector<f16, N>>>::new();
        #[unroll]
        for w in 0..of_w {
            let at = (first_w + comptime!(w * fn_)) * comptime!(STRIDE) + k * comptime!(fk / LANES);
            let (ident, layout) = (MatrixIdent::B, MatrixLayout::ColMajor);
            right.push(Matrix::<Vector<f16, N>>::from_slice(ident, fm, fn_, fk, layout, &w_tile[at..end], stride));
        }
        #[unroll]
        for r in 0..of_x {
            let at = (first_x + comptime!(r * fm)) * comptime!(STRIDE) + k * comptime!(fk / LANES);
            let (ident, layout) = (MatrixIdent::A, MatrixLayout::RowMajor);
            let left = Matrix::<Vector<f16, N>>::from_slice(ident, fm, fn_, fk, layout, &x_tile[at..end], stride);
            #[unroll]
            for w in 0..of_w {
                let sum = sums.index(comptime!(r * of_w + w));
                cubecl::cmma::execute(&left, right.index(w), sum, sum);
            }
        }
    }
}

/// Writes a plane's sums, a small matrix after another through shared memory, where each unit takes its elements.
#[cube]
#[allow(clippy::too_many_arguments, reason = "a kernel's buffers and sizes are its arguments")]
fn write(
    sums: &Sequence<Matrix<f32>>,
    x_scales: &[f32],
    bias: &[f32],
    base: &[f32],
    out: &mut [f32],
    first_x: usize,
    first_w: usize,
    m: usize,
    rows: usize,
    #[comptime] plan: Plan,
) {
    let (fm, fn_) = comptime!((plan.fragment.m, plan.fragment.n));
    let of_w = comptime!(OWN / plan.fragment.n);
    let plane = UNIT_POS_Y as usize;
    let first_x = first_x + plane / comptime!(SIDE) * comptime!(OWN);
    let first_w = first_w + plane % comptime!(SIDE) * comptime!(OWN);
    let own = plane * comptime!(fm * fn_);
    let mut shared = Shared::<[f32]>::new_slice(comptime!(PLANES * fm * fn_));
    #[unroll]
    for sum in 0..comptime!(plan.fragment.sums()) {
        let end = own + comptime!(fm * fn_);
        cubecl::cmma::store(&mut shared[own..end], sums.index(sum), fn_ as u32, MatrixLayout::RowMajor);
        sync_cube();
        let mut at = UNIT_POS_X as usize;
        while at < comptime!(fm * fn_) {
            let row = first_x + comptime!(sum / of_w * fm) + at / fn_;
            let weight_row = first_w + comptime!(sum % of_w * fn_) + at % fn_;
            if row < m && weight_row < rows {
                let mut value = shared[own + at] * x_scales[row];
                if comptime!(plan.bias) {
                    value += bias[weight_row];
                }
                if comptime!(plan.base) {
                    value += base[row * rows + weight_row];
                }
                out[row * rows + weight_row] = value;
            }
            at += comptime!(plan.fragment.plane);
        }
        sync_cube();
    }
}

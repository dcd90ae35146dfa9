//! Element-wise operations between the matrix products of a decoder layer, on a GPU. Each is one launch.

use burn::tensor::Tensor as BurnTensor;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use firebox_kernels::elements::Activation;

use super::{argument, cube_sum, empty_like, lanes_of, lanes_sum, primitive, tensor};

/// Units of a cube.
const UNITS: u32 = 128;

/// Root mean square norm (Zhang and Sennrich 2019) of the rows of `x`, `[rows, width]`; `weight` is `[1, width]`.
pub(crate) fn gpu_rms_norm(x: BurnTensor<2>, weight: &BurnTensor<2>, epsilon: f32) -> BurnTensor<2> {
    let [rows, width] = x.dims();
    assert_eq!(weight.dims(), [1, width], "a norm has another width than its rows");
    let (x, weight) = (primitive(x), primitive(weight.clone()));
    let out = empty_like(&x, [rows, width]);
    let lanes = lanes_of(width);
    // SAFETY: a cube takes one of the rows and no index passes its width, which x, weight and out have.
    unsafe {
        rms_norm_rows::launch_unchecked(
            &x.client,
            CubeCount::Static(rows as u32, 1, 1),
            CubeDim::new_1d(UNITS),
            lanes,
            argument(&x, lanes),
            argument(&weight, lanes),
            argument(&out, lanes),
            epsilon,
            width / lanes,
        );
    }
    tensor(out)
}

/// The gated linear unit `activation(gate) * up` (Shazeer 2020) of `[rows, gate and up]`. The result is half as wide.
pub(crate) fn gpu_gated(activation: Activation, gate_up: BurnTensor<2>) -> BurnTensor<2> {
    let [rows, both] = gate_up.dims();
    let width = both / 2;
    let gate_up = primitive(gate_up);
    let out = empty_like(&gate_up, [rows, width]);
    let lanes = lanes_of(width);
    let vectors = width / lanes;
    // SAFETY: the grid covers the vectors of a row and units beyond them return; rows are the grid's second dimension.
    unsafe {
        gated_rows::launch_unchecked(
            &gate_up.client,
            CubeCount::Static((vectors as u32).div_ceil(UNITS), rows as u32, 1),
            CubeDim::new_1d(UNITS),
            lanes,
            argument(&gate_up, lanes),
            argument(&out, lanes),
            vectors as u32,
            activation,
        );
    }
    tensor(out)
}

#[cube(launch_unchecked)]
fn rms_norm_rows<N: Size>(
    x: &[Vector<f32, N>],
    weight: &[Vector<f32, N>],
    out: &mut [Vector<f32, N>],
    epsilon: f32,
    #[comptime] vectors: usize,
) {
    let unit = UNIT_POS as usize;
    let units = comptime!(UNITS as usize);
    let first = CUBE_POS_X as usize * vectors;
    let mut squares = Vector::<f32, N>::new(0.0f32);
    let mut at = unit;
    while at < vectors {
        let value = x[first + at];
        squares += value * value;
        at += units;
    }
    let mut shared = Shared::<[f32]>::new_slice(units);
    let sum = cube_sum(lanes_sum::<N>(squares), &mut shared, unit, units);
    let lanes = N::value();
    let width = comptime!((vectors * lanes) as f32);
    let scale = 1.0f32 / (sum / width + epsilon).sqrt();
    let mut at = unit;
    while at < vectors {
        out[first + at] = x[first + at] * Vector::<f32, N>::new(scale) * weight[at];
        at += units;
    }
}

#[cube(launch_unchecked)]
fn gated_rows<N: Size>(
    gate_up: &[Vector<f32, N>],
    out: &mut [Vector<f32, N>],
    vectors: u32,
    #[comptime] activation: Activation,
) {
    let at = ABSOLUTE_POS_X as usize;
    let vectors = vectors as usize;
    if at < vectors {
        let row = CUBE_POS_Y as usize;
        let gate = gate_up[row * 2 * vectors + at];
        let up = gate_up[row * 2 * vectors + vectors + at];
        if comptime!(activation == Activation::Silu) {
            let one = Vector::<f32, N>::new(1.0f32);
            out[row * vectors + at] = gate / (one + (-gate).exp()) * up;
        } else {
            let mut result = Vector::<f32, N>::new(0.0f32);
            #[unroll]
            for lane in 0..N::value() {
                result.insert(lane, activated(gate.extract(lane), activation) * up.extract(lane));
            }
            out[row * vectors + at] = result;
        }
    }
}

/// The activation function of one number. The kernel is compiled for the function.
#[cube]
pub(super) fn activated(x: f32, #[comptime] activation: Activation) -> f32 {
    let mut y = x;
    if comptime!(activation == Activation::Gelu) {
        y = 0.5f32 * x * (1.0f32 + error_function(x * comptime!(std::f32::consts::FRAC_1_SQRT_2)));
    }
    if comptime!(activation == Activation::GeluTanh) {
        // `x/2 (1 + tanh u)` is `x / (1 + exp(-2u))`; the constant is `2 sqrt(2 / pi)`.
        y = x / (1.0f32 + (-1.595_769f32 * (x + 0.044_715f32 * x * x * x)).exp());
    }
    if comptime!(activation == Activation::GeluSigmoid) {
        y = x / (1.0f32 + (-1.702f32 * x).exp());
    }
    if comptime!(activation == Activation::Relu) {
        y = f32::max(x, 0.0f32);
    }
    if comptime!(activation == Activation::Sigmoid) {
        y = 1.0f32 / (1.0f32 + (-x).exp());
    }
    if comptime!(activation == Activation::Silu) {
        y = x / (1.0f32 + (-x).exp());
    }
    if comptime!(activation == Activation::Tanh) {
        y = x.tanh();
    }
    y
}

/// The error function to 2e-7 (Abramowitz and Stegun 1964, 7.1.26), as on the CPU.
#[cube]
fn error_function(x: f32) -> f32 {
    let size = f32::abs(x);
    let t = 1.0f32 / (1.0f32 + 0.327_591_1f32 * size);
    let mut sum = 1.061_405_4f32 * t - 1.453_152_1f32;
    sum = sum * t + 1.421_413_8f32;
    sum = sum * t - 0.284_496_74f32;
    sum = sum * t + 0.254_829_6f32;
    let mut result = 1.0f32 - sum * t * (-(size * size)).exp();
    if x < 0.0f32 {
        result = -result;
    }
    result
}

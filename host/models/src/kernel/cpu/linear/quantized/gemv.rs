//! GEMV: a row of weights and a few rows of `x` go through the registers together. Each block is unpacked once for all
//! of them.

use super::formats::{BlockSize, Format, Sink};
use super::inputs::{QuantizedRow, STEP, StepCodes};
use super::shorts::{GROUP, Shorts};
use crate::kernel::cpu::linear::vector::Vector;

const _: () = assert!(STEP == GROUP * BlockSize::Small.weights());

/// The products of rows of weights and all rows of `x`. `out` is `[rows, m]`.
#[inline(always)]
pub(super) fn run<F: Format, S: Shorts, V: Vector>(
    weights: &[u8],
    row_bytes: usize,
    x: &[QuantizedRow],
    out: &mut [f32],
) {
    let (twos, ones) = x.as_chunks::<2>();
    for (weights, out) in weights.chunks_exact(row_bytes).zip(out.chunks_exact_mut(x.len())) {
        let (even, odd) = out.split_at_mut(2 * twos.len());
        for (x, out) in twos.iter().zip(even.as_chunks_mut::<2>().0) {
            row::<F, S, V, 2>(weights, x, out);
        }
        for (x, out) in ones.iter().zip(odd.as_chunks_mut::<1>().0) {
            row::<F, S, V, 1>(weights, std::array::from_ref(x), out);
        }
    }
}

#[inline(always)]
fn row<F: Format, S: Shorts, V: Vector, const C: usize>(weights: &[u8], x: &[QuantizedRow; C], out: &mut [f32; C]) {
    *out = match F::SIZE {
        BlockSize::Small => small::<F, S, V, C>(weights, x),
        BlockSize::Large => large::<F, S, V, C>(weights, x),
    };
}

/// One block after another is added, as GEMM does, so that both have the same result.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn small<F: Format, S: Shorts, V: Vector, const C: usize>(weights: &[u8], x: &[QuantizedRow; C]) -> [f32; C] {
    let mut out = [0.0; C];
    let steps = weights.chunks_exact(GROUP * F::BYTES);
    let rest = steps.remainder();
    let mut step = 0;
    for weights in steps {
        small_step::<F, S, V, C>(weights, GROUP, x, step, &mut out);
        step += 1;
    }
    if !rest.is_empty() {
        small_step::<F, S, V, C>(rest, rest.len() / F::BYTES, x, step, &mut out);
    }
    out
}

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn small_step<F: Format, S: Shorts, V: Vector, const C: usize>(
    weights: &[u8],
    blocks: usize,
    x: &[QuantizedRow; C],
    step: usize,
    out: &mut [f32; C],
) {
    let inputs: [_; C] = std::array::from_fn(|c| &x[c].codes[step]);
    let mut sums = [[S::none(); GROUP]; C];
    let (mut scales, mut least) = ([0.0; GROUP], [0.0; GROUP]);
    for at in 0..blocks {
        let block = &weights[at * F::BYTES..(at + 1) * F::BYTES];
        scales[at] = F::scale::<S>(block);
        least[at] = F::least::<S>(block);
        let mut products = Products { inputs, first: 2 * at, sums: [[S::none(); 1]; C] };
        F::unpack::<S>(block, &mut products);
        for c in 0..C {
            sums[c][at] = products.sums[c][0];
        }
    }
    for c in 0..C {
        let of = step * GROUP..(step + 1) * GROUP;
        let (Some(input_scales), Some(input_sums)) =
            (x[c].scales[of.clone()].first_chunk::<GROUP>(), x[c].sums[of].first_chunk::<GROUP>())
        else {
            return;
        };
        let totals = S::totals(&sums[c]);
        let parts: [f32; GROUP] = std::array::from_fn(|at| {
            let part = totals[at] as f32 * input_scales[at];
            match F::HAS_MINIMA {
                true => V::fused(scales[at], part, least[at] * input_sums[at]),
                false => part * scales[at],
            }
        });
        for part in parts {
            out[c] += part;
        }
    }
}

#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "counted loops over arrays stay in registers; iterators over them do not"
)]
fn large<F: Format, S: Shorts, V: Vector, const C: usize>(weights: &[u8], x: &[QuantizedRow; C]) -> [f32; C] {
    let mut out = [0.0; C];
    for (step, block) in weights.chunks_exact(F::BYTES).enumerate() {
        let inputs: [_; C] = std::array::from_fn(|c| &x[c].codes[step]);
        let mut products = Products { inputs, first: 0, sums: [[S::none(); 2]; C] };
        F::unpack::<S>(block, &mut products);
        let sums = products.sums;
        let (scale, least, minima) = (F::scale::<S>(block), F::least::<S>(block), F::minima(block));
        for c in 0..C {
            let input_scale = x[c].scales[step];
            let part = (S::total(sums[c][0]) + S::total(sums[c][1])) as f32 * input_scale;
            out[c] += match F::HAS_MINIMA {
                true => {
                    let total: i32 =
                        minima.iter().zip(&x[c].code_sums[step]).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
                    V::fused(scale, part, least * (total as f32 * input_scale))
                }
                false => part * scale,
            };
        }
    }
    out
}

/// Sums of the products of codes and `C` rows of inputs, in `CHAINS` parts that are added in parallel.
struct Products<'a, S: Shorts, const C: usize, const CHAINS: usize> {
    inputs: [&'a StepCodes; C],
    /// The place of the first codes in the inputs.
    first: usize,
    sums: [[S::Sums; CHAINS]; C],
}

impl<S: Shorts, const C: usize, const CHAINS: usize> Sink<S> for Products<'_, S, C, CHAINS> {
    #[inline(always)]
    fn take(&mut self, part: usize, codes: S) {
        for c in 0..C {
            let sums = &mut self.sums[c][part % CHAINS];
            *sums = codes.plus_products(&self.inputs[c][self.first + part], *sums);
        }
    }
}

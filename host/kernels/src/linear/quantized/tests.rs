//! The kernels against a plain product in f64, of the weights that `gguf::blocks` unpacks.

use half::f16;

use super::formats::BlockSize;
use super::inputs::{CODE_MAX, QuantizedRows};
use super::*;
use crate::linear::gemm::filled;
use crate::weights::blocks::{BLOCK_TYPES, BlockType};
use crate::weights::repacked::{can_repack, repack};

/// Random blocks with finite scales of both signs.
fn blocks(kind: &BlockType, count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u32
    };
    let mut bytes: Vec<u8> = (0..count * kind.bytes).map(|_| next() as u8).collect();
    for block in bytes.chunks_exact_mut(kind.bytes) {
        for at in kind.scales {
            let scale = f16::from_f32((next() % 2_001) as f32 / 50_000.0 - 0.02);
            block[*at..*at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        if kind.scales.is_empty() {
            block[0] = 118 + block[0] % 8;
        }
    }
    bytes
}

fn inputs(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * seed) % 1_009) as f32 / 300.0 - 1.7 + ((at * 31) % 7) as f32 * 0.01).collect()
}

/// `x` as it is quantized, and the largest error of a value, for each value of a row.
fn quantized(x: &[f32], size: BlockSize) -> Vec<(f64, f64)> {
    let mut values = Vec::new();
    for x in x.chunks(size.weights()) {
        let largest = x.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = largest / CODE_MAX;
        values.extend(x.iter().map(|value| {
            let code = if scale == 0.0 { 0.0 } else { (value * (CODE_MAX / largest)).round_ties_even() };
            (f64::from(scale) * f64::from(code), f64::from(scale) * 0.501)
        }));
    }
    values
}

fn product(level: IntegerLevel, kernel: &'static IntegerKernel, weights: &[u8], x: &[f32], m: usize) -> [Vec<f32>; 2] {
    let row_bytes = x.len() / m / kernel.size.weights() * kernel.bytes;
    products(level, WeightRows { kernel, bytes: weights, row_bytes, repacked: None }, x, m)
}

fn products(level: IntegerLevel, weights: WeightRows<'_>, x: &[f32], m: usize) -> [Vec<f32>; 2] {
    let (kernel, columns) = (weights.kernel, x.len() / m);
    let rows = weights.bytes.len() / weights.row_bytes;
    let inputs = QuantizedInputs::new(level, x, columns, std::iter::once(kernel));
    let mut transposed = vec![0.0; rows * m];
    inputs.gemv(level, weights, &mut transposed);
    let gemv = (0..m * rows).map(|at| transposed[at % rows * m + at / rows]).collect();
    let packed = inputs.pack(level, std::iter::once(weights));
    // SAFETY: the kernel writes the products of all rows.
    let gemm = unsafe {
        filled(m * rows, |out| {
            packed.gemm(level, weights, columns, &OutputColumns::new(out, rows), 0);
        })
    };
    [gemv, gemm]
}

#[test]
fn every_type_has_a_kernel_of_its_size() {
    for kind in BLOCK_TYPES {
        let kernel = IntegerKernel::find(kind.number).expect("a kernel");
        assert_eq!((kernel.bytes, kernel.size.weights()), (kind.bytes, kind.weights), "{}", kind.name);
        assert_eq!(kernel.has_minima, kind.scales.len() == 2, "{}", kind.name);
    }
}

#[test]
fn products_are_those_of_the_quantized_inputs_for_every_type_level_and_shape() {
    for kind in BLOCK_TYPES {
        let kernel = IntegerKernel::find(kind.number).expect("a kernel");
        for (rows, columns) in [(1, kind.weights), (7, 3 * kind.weights), (13, 9 * kind.weights), (50, 1_280)] {
            let weights = blocks(kind, rows * columns / kind.weights, (rows * columns) as u64);
            let mut plain = vec![0.0; rows * columns];
            (kind.unpack)(&weights, &mut plain);
            for m in [1, 2, 3, 5, 8, 9, 17, 35] {
                let x = inputs(m * columns, 37);
                let known: Vec<Vec<(f64, f64)>> = x.chunks(columns).map(|x| quantized(x, kernel.size)).collect();
                for level in IntegerLevel::all() {
                    for (name, got) in ["gemv", "gemm"].into_iter().zip(product(level, kernel, &weights, &x, m)) {
                        let what = format!("{name} {} {level:?} {rows}x{columns} m={m}", kind.name);
                        check(&what, &got, &plain, &x, &known);
                    }
                }
            }
        }
    }
}

/// Against the product of the quantized inputs, within the rounding of f32; and against that of the inputs themselves,
/// within what their quantization can change.
fn check(what: &str, got: &[f32], weights: &[f32], x: &[f32], known: &[Vec<(f64, f64)>]) {
    let columns = known[0].len();
    let rows = weights.len() / columns;
    assert_eq!(got.len(), rows * known.len(), "{what}");
    for (at, got) in got.iter().enumerate() {
        let weights = &weights[at % rows * columns..(at % rows + 1) * columns];
        let (x, known) = (&x[at / rows * columns..(at / rows + 1) * columns], &known[at / rows]);
        let (mut exact, mut size, mut own, mut room) = (0.0, 0.0, 0.0, 0.0);
        for ((weight, x), (value, error)) in weights.iter().zip(x).zip(known) {
            let weight = f64::from(*weight);
            exact += weight * value;
            size += (weight * value).abs();
            own += weight * f64::from(*x);
            room += weight.abs() * error;
        }
        // K types subtract a minimum from codes that are all positive, so the parts of a sum are larger than the sum.
        let rounding = 4e-6 * size + 1e-6;
        let error = (f64::from(*got) - exact).abs();
        assert!(error <= rounding, "{what} at {at}: {got} and not {exact}, {error} > {rounding}");
        let error = (f64::from(*got) - own).abs();
        assert!(error <= rounding + room, "{what} at {at}: {got} and not {own} of the inputs as they are");
    }
}

#[test]
fn a_row_has_the_same_result_in_every_batch_and_kernel() {
    for kind in BLOCK_TYPES {
        let kernel = IntegerKernel::find(kind.number).expect("a kernel");
        let (rows, columns, many) = (19, 768, 41);
        let weights = blocks(kind, rows * columns / kind.weights, 5);
        let x = inputs(many * columns, 41);
        for level in IntegerLevel::all() {
            let [gemv, gemm] = product(level, kernel, &weights, &x, many);
            assert!(gemv == gemm, "{} {level:?}", kind.name);
            for m in [1, 2, 3, 4, 7, 16, 23] {
                let some = product(level, kernel, &weights, &x[..m * columns], m);
                assert!(some.iter().all(|some| *some == gemm[..m * rows]), "{} {level:?} m={m}", kind.name);
            }
        }
    }
}

#[test]
fn repacked_weights_have_the_same_products() {
    for kind in BLOCK_TYPES.iter().filter(|kind| can_repack(kind, 8)) {
        let kernel = IntegerKernel::find(kind.number).expect("a kernel");
        for (rows, columns) in [(8, kind.weights), (24, 3 * kind.weights), (56, 9 * kind.weights)] {
            let row_bytes = columns / kind.weights * kind.bytes;
            let plain = blocks(kind, rows * columns / kind.weights, 3);
            let filled = |fill: u8| {
                let mut extreme = vec![fill; plain.len()];
                for (extreme, block) in extreme.chunks_exact_mut(kind.bytes).zip(plain.chunks_exact(kind.bytes)) {
                    kind.scales.iter().for_each(|at| extreme[*at..*at + 2].copy_from_slice(&block[*at..*at + 2]));
                }
                extreme
            };
            for weights in [plain.clone(), filled(0xFF), filled(0x80), filled(0x7F)] {
                let repacked = repack(kind, &weights, row_bytes);
                for m in [1, 2, 3, 4, 7, 8, 16, 19] {
                    let x: Vec<f32> = match weights == plain {
                        true => inputs(m * columns, 37),
                        false => (0..m * columns).map(|at| if at / columns % 2 == 0 { 1.0 } else { -1.0 }).collect(),
                    };
                    for level in IntegerLevel::all() {
                        let expected = product(level, kernel, &weights, &x, m);
                        let own = WeightRows { kernel, bytes: &repacked, row_bytes, repacked: Some(kind) };
                        let got = products(level, own, &x, m);
                        assert!(got == expected, "{} {level:?} {rows}x{columns} m={m}", kind.name);
                    }
                }
            }
        }
    }
}

#[test]
fn the_largest_sums_fit_into_32_bits() {
    // Scales of one, the largest codes everywhere, and inputs that are all of the largest code: the sums must neither
    // wrap nor saturate.
    for kind in BLOCK_TYPES {
        let kernel = IntegerKernel::find(kind.number).expect("a kernel");
        for fill in [0x00, 0x80, 0x7F, 0xFF] {
            let mut weights = vec![fill; 8 * kind.bytes];
            for block in weights.chunks_exact_mut(kind.bytes) {
                for at in kind.scales {
                    block[*at..*at + 2].copy_from_slice(&f16::ONE.to_le_bytes());
                }
                if kind.scales.is_empty() {
                    block[0] = 127;
                }
            }
            let columns = 8 * kind.weights;
            let mut plain = vec![0.0; columns];
            (kind.unpack)(&weights, &mut plain);
            for sign in [1.0, -1.0] {
                let x = vec![sign; 5 * columns];
                let known: Vec<_> = x.chunks(columns).map(|x| quantized(x, kernel.size)).collect();
                for level in IntegerLevel::all() {
                    for got in product(level, kernel, &weights, &x, 5) {
                        check(&format!("{} of {fill:#x} {level:?}", kind.name), &got, &plain, &x, &known);
                    }
                }
            }
        }
    }
}

#[test]
fn rows_of_zeros_and_rows_that_are_no_numbers_keep_to_themselves() {
    for kind in BLOCK_TYPES {
        let kernel = IntegerKernel::find(kind.number).expect("a kernel");
        let (rows, columns) = (9, 512);
        let weights = blocks(kind, rows * columns / kind.weights, 11);
        let mut x = inputs(6 * columns, 43);
        x[..columns].fill(0.0);
        x[columns..2 * columns].fill(1e-38);
        x[2 * columns + 300] = f32::NAN;
        x[3 * columns + 7] = f32::NEG_INFINITY;
        for level in IntegerLevel::all() {
            let alone = product(level, kernel, &weights, &x[4 * columns..], 2);
            for (got, alone) in product(level, kernel, &weights, &x, 6).iter().zip(alone) {
                assert!(got[..2 * rows].iter().all(|value| *value == 0.0), "{} {level:?}", kind.name);
                assert!(got[2 * rows..4 * rows].iter().all(|value| value.is_nan()), "{} {level:?}", kind.name);
                assert!(got[4 * rows..] == alone, "{} {level:?}", kind.name);
            }
        }
    }
}

#[test]
fn codes_are_the_nearest() {
    let mut seen = 0;
    let sizes = [BlockSize::Small, BlockSize::Large];
    let levels = IntegerLevel::all();
    for (size, level) in sizes.into_iter().flat_map(|size| levels.iter().map(move |level| (size, *level))) {
        let x = inputs(2 * STEP, 53);
        let rows = QuantizedRows::new(level, &x, 2 * STEP, size);
        for (step, x) in rows.rows[0].iter().zip(x.chunks(STEP)) {
            let known = quantized(x, size);
            for (at, code) in step.codes.as_flattened().iter().enumerate() {
                let value = f64::from(step.scales[at / size.weights()]) * f64::from(*code);
                assert!((value - known[at].0).abs() < 1e-9, "{size:?} {at}: {value} and not {}", known[at].0);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 4 * STEP * levels.len());
}

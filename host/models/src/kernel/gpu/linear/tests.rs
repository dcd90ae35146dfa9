use std::time::Instant;

use burn::tensor::{DType, Tensor, TensorData};
use firebox_kernels::elements::Activation;
use firebox_kernels::test_cases::{dot, in_f64, stored, values};
use firebox_kernels::weights::StoredType;
use firebox_kernels::weights::blocks::{BLOCK_TYPES, BlockType};

use super::*;
use crate::kernel::gpu::tests::test_gpu;

fn upload(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F32))
}

fn download(tensor: Tensor<2>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().expect("the device answers")
}

/// A matrix of two parts of different height.
fn matrix(weights: &[f32], dtype: StoredType, columns: usize, device: &Device) -> DeviceMatrix {
    let (upper, lower) = weights.split_at(weights.len() / columns / 3 * columns);
    let parts = [upper, lower].map(|part| stored(part, dtype, [part.len() / columns, columns]));
    DeviceMatrix::new(&parts, device)
}

/// A product as it is defined, in f64.
struct Case {
    rows: usize,
    columns: usize,
    weights: Vec<f32>,
    x: Vec<f32>,
    bias: Vec<f32>,
    base: Vec<f32>,
    norm: Vec<f32>,
}

const EPSILON: f32 = 1e-3;

impl Case {
    fn new(rows: usize, columns: usize, m: usize) -> Self {
        let norm = values(columns, 23).iter().map(|value| value + 1.5).collect();
        let [weights, x, bias] =
            [(rows * columns, 17), (m * columns, 29), (rows, 13)].map(|(count, step)| values(count, step));
        Self { rows, columns, weights, x, bias, base: values(m * rows, 7), norm }
    }

    fn sums(&self, x: &[f32]) -> Vec<f64> {
        let row = |x: &[f32]| self.weights.chunks_exact(self.columns).map(|w| dot(x, w)).collect::<Vec<_>>();
        x.chunks_exact(self.columns).flat_map(row).collect()
    }

    fn normed(&self) -> Vec<f32> {
        let row = |x: &[f32]| {
            let scale = (x.iter().map(|x| x * x).sum::<f32>() / self.columns as f32 + EPSILON).sqrt().recip();
            x.iter().zip(&self.norm).map(|(x, weight)| x * scale * weight).collect::<Vec<_>>()
        };
        self.x.chunks_exact(self.columns).flat_map(row).collect()
    }

    fn biased(&self, sums: Vec<f64>) -> Vec<f64> {
        sums.iter().enumerate().map(|(at, sum)| sum + f64::from(self.bias[at % self.rows])).collect()
    }

    fn gated(&self, activation: Activation, sums: &[f64]) -> Vec<f64> {
        let row = |sums: &[f64]| {
            let (gates, values) = sums.split_at(self.rows / 2);
            gates.iter().zip(values).map(|(gate, up)| in_f64(activation, *gate) * up).collect::<Vec<_>>()
        };
        sums.chunks_exact(self.rows).flat_map(row).collect()
    }
}

/// Cooperative matrices round both factors to F16, which shows where large products cancel each other.
fn assert_close(got: &[f32], expected: &[f64], matrix: &DeviceMatrix, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let allowed = match matrix.fragment {
            Some(_) => 1e-3 * largest,
            None => 3e-4 * expected.abs().max(1.0),
        };
        assert!((f64::from(*got) - expected).abs() <= allowed, "{what} at {at}: {got} for {expected}");
    }
}

/// Products of a matrix of this shape and type with `m` rows: plain, with bias and base, and normed and gated.
fn check_products(device: &Device, [rows, columns]: [usize; 2], dtype: StoredType, m: usize, activation: Activation) {
    let case = Case::new(rows, columns, m);
    let matrix = matrix(&case.weights, dtype, columns, device);
    let x = || upload(&case.x, [m, columns], device);
    let (bias, norm) = (upload(&case.bias, [1, rows], device), upload(&case.norm, [1, columns], device));
    let what = format!("{dtype:?} {rows}x{columns} m={m}");
    let plain = matrix.product(x(), Epilogue::default());
    assert_close(&download(plain), &case.sums(&case.x), &matrix, &what);
    let base = Some(upload(&case.base, [m, rows], device));
    let onto = matrix.product(x(), Epilogue { bias: Some(&bias), base, ..Epilogue::default() });
    let sums = case.biased(case.sums(&case.x));
    let sums: Vec<f64> = sums.iter().zip(&case.base).map(|(sum, base)| sum + f64::from(*base)).collect();
    assert_close(&download(onto), &sums, &matrix, &format!("{what}, onto"));
    let norm = Some((&norm, EPSILON));
    let half = &case.base[..m * rows / 2];
    let base = Some(upload(half, [m, rows / 2], device));
    let gated = matrix.product(x(), Epilogue { norm, bias: Some(&bias), gate: Some(activation), base });
    let sums = case.gated(activation, &case.biased(case.sums(&case.normed())));
    let sums: Vec<f64> = sums.iter().zip(half).map(|(sum, base)| sum + f64::from(*base)).collect();
    assert_close(&download(gated), &sums, &matrix, &format!("{what}, normed, gated by {activation:?}"));
}

/// Odd widths, which are read one word at a time, rows that fill no cube, and `m` on both sides of every threshold.
#[test]
fn products_are_right_at_every_type_and_size() {
    let device = test_gpu();
    for shape in [[6, 33], [70, 30], [66, 64], [130, 200]] {
        for dtype in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
            for m in [1, 2, 4, 7, 16, 21, 32, 33, 70] {
                check_products(&device, shape, dtype, m, Activation::Silu);
            }
        }
    }
}

/// In the kernel for few rows, and after the kernel for many.
#[test]
fn products_are_gated_by_every_activation_function() {
    let device = test_gpu();
    for activation in Activation::ALL {
        for m in [3, 33] {
            check_products(&device, [66, 64], StoredType::F32, m, activation);
        }
    }
}

#[test]
fn halves_take_two_bytes_on_the_device_and_others_four() {
    let device = test_gpu();
    let bytes = |dtype, columns| matrix(&values(12 * columns, 17), dtype, columns, &device).bytes();
    assert_eq!([StoredType::Bf16, StoredType::F16, StoredType::F32].map(|dtype| bytes(dtype, 20)), [480, 480, 960]);
    assert_eq!(bytes(StoredType::Bf16, 21), 1_008, "rows of odd width are widened");
}

/// The smallest F16 numbers have no leading one, which some devices take as zero in F32.
#[test]
fn every_finite_f16_is_widened_without_loss() {
    let device = test_gpu();
    let (rows, columns) = (992, 64);
    let numbers: Vec<half::f16> =
        (0..=u16::MAX).map(half::f16::from_bits).filter(|number| number.is_finite()).collect();
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let matrix = DeviceMatrix::new(&[StoredTensor::owned(bytes, StoredType::F16, vec![rows, columns])], &device);
    let identity: Vec<f32> =
        (0..columns * columns).map(|at| if at / columns == at % columns { 1.0 } else { 0.0 }).collect();
    // Up to 32 rows have one kernel, and more have another.
    for own in [&identity[..columns * 32], &identity[columns * 32..], &identity] {
        let m = own.len() / columns;
        let first = own.iter().position(|one| *one == 1.0).expect("a row of the identity");
        let got = download(matrix.product(upload(own, [m, columns], &device), Epilogue::default()));
        for (at, got) in got.iter().enumerate() {
            let expected = numbers[at % rows * columns + first + at / rows].to_f32();
            assert!(*got == expected, "{got:e} for {expected:e}");
        }
    }
}

/// Every form that the kernel widens, tiles that end within a cube, and what is added to a product.
#[test]
#[ignore = "needs a driver with cooperative matrices; `tests/run` has a step that runs it"]
fn products_on_cooperative_matrices_are_right() {
    let device = test_gpu();
    let has = matrix(&values(6 * 136, 17), StoredType::Bf16, 136, &device).fragment;
    assert!(has.is_some(), "this driver has no cooperative matrices of F16, or computes wrongly with them");
    check_products(&device, [70, 136], StoredType::Bf16, 66, Activation::Silu);
    check_codes(&device, &[stored(&values(70 * 64, 17), StoredType::F16, [70, 64])], 64, 66);
    for name in ["Q4_0", "Q4_K", "Q8_0"] {
        let kind = BLOCK_TYPES.iter().find(|kind| kind.name == name).expect("a type");
        check_codes(&device, &[blocks(kind, 70, 256)], 256, 66);
    }
}

/// A row of large values and one of small ones, which F16 has no room for. The kernel scales each row.
#[test]
#[ignore = "needs a driver with cooperative matrices; `tests/run` has a step that runs it"]
fn products_on_cooperative_matrices_keep_the_range_of_f32() {
    let device = test_gpu();
    let (m, rows, columns) = (66, 70, 136);
    let mut case = Case::new(rows, columns, m);
    for (row, x) in case.x.chunks_exact_mut(columns).enumerate() {
        let scale = [1e30, 1e-30, 1.0][row % 3];
        x.iter_mut().for_each(|x| *x *= scale);
    }
    case.x[2 * columns..3 * columns].fill(0.0);
    let matrix = matrix(&case.weights, StoredType::Bf16, columns, &device);
    let got = download(matrix.product(upload(&case.x, [m, columns], &device), Epilogue::default()));
    let expected = case.sums(&case.x);
    for (got, expected) in got.chunks_exact(rows).zip(expected.chunks_exact(rows)) {
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() <= 1e-3 * largest, "{got:e} for {expected:e}");
        }
    }
}

/// Not a test: prints the time of products of the shapes of Qwen3-0.6B. `cargo test --workspace --lib -- --ignored
/// --nocapture rates`
#[test]
#[ignore = "prints figures"]
fn rates() {
    let device = test_gpu();
    for (rows, columns) in [(4_096, 1_024), (1_024, 2_048), (6_144, 1_024), (1_024, 3_072), (151_936, 1_024)] {
        let matrix = matrix(&values(rows * columns, 17), StoredType::Bf16, columns, &device);
        let mut line = format!("{rows:>6} x {columns}:");
        for m in [1, 2, 4, 8, 16, 32, 64, 128, 512] {
            let x = upload(&values(m * columns, 29), [m, columns], &device);
            let run = |count: usize| {
                let started = Instant::now();
                for _ in 1..count {
                    drop(matrix.product(x.clone(), Epilogue::default()));
                }
                download(matrix.product(x.clone(), Epilogue::default()).slice([0..1, 0..1]));
                started.elapsed().as_secs_f64()
            };
            run(2);
            let (few, many) = (run(4), run(104));
            line += &format!(" {m}:{:.1}", (many - few) / 100.0 * 1e6);
        }
        println!("{line} us");
    }
}

/// `rows` rows of random blocks of this type.
fn blocks(kind: &'static BlockType, rows: usize, columns: usize) -> StoredTensor {
    let mut state = u64::from(kind.number) + 1;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let count = rows * columns / kind.weights;
    let mut bytes: Vec<u8> = (0..count * kind.bytes).map(|_| random() as u8).collect();
    for block in bytes.chunks_exact_mut(kind.bytes) {
        for at in kind.scales {
            let scale = half::f16::from_f32((random() % 1_000) as f32 * 1e-6 - 2e-4);
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        if kind.scales.is_empty() {
            // A power of two.
            block[0] = 118 + random() as u8 % 4;
        }
    }
    StoredTensor::owned(bytes, StoredType::Blocks(kind), vec![rows, columns])
}

/// The product of `parts` with `m` rows, compared with the sums of the unpacked weights in f64.
fn check_codes(device: &Device, parts: &[StoredTensor], columns: usize, m: usize) {
    let matrix = DeviceMatrix::new(parts, device);
    let mut weights = Vec::new();
    parts.iter().for_each(|part| part.append_to(&mut weights));
    let x = values(m * columns, 29);
    let row = |x: &[f32]| weights.chunks_exact(columns).map(|w| dot(x, w)).collect::<Vec<_>>();
    let expected: Vec<f64> = x.chunks_exact(columns).flat_map(row).collect();
    let kinds: Vec<_> = parts.iter().map(|part| part.dtype.name()).collect();
    let product = matrix.product(upload(&x, [m, columns], device), Epilogue::default());
    assert_close(&download(product), &expected, &matrix, &format!("{kinds:?} m={m}"));
}

#[test]
fn products_of_every_block_type_are_those_of_its_weights() {
    let device = test_gpu();
    for kind in BLOCK_TYPES {
        let columns = 2 * kind.weights.max(64);
        for m in [1, 3, 33] {
            check_codes(&device, &[blocks(kind, 37, columns)], columns, m);
        }
    }
}

/// A checkpoint of mixed types has them in the query, key and value weights of one layer.
#[test]
fn block_types_can_be_stacked() {
    let device = test_gpu();
    let parts = ["Q4_K", "Q6_K", "Q8_0"].map(|name| {
        let kind = BLOCK_TYPES.iter().find(|kind| kind.name == name).expect("a type");
        blocks(kind, 11, 512)
    });
    for m in [2, 40] {
        check_codes(&device, &parts, 512, m);
    }
}

#[test]
fn quantized_weights_stay_small_on_the_device() {
    let device = test_gpu();
    let bits = |name: &str| {
        let kind = BLOCK_TYPES.iter().find(|kind| kind.name == name).expect("a type");
        DeviceMatrix::new(&[blocks(kind, 8, 512)], &device).bytes() * 8 / (8 * 512)
    };
    assert_eq!(["Q4_0", "Q4_1", "Q4_K", "Q8_0", "Q6_K", "Q5_K"].map(bits), [5, 6, 6, 9, 10, 10]);
}

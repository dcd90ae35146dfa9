use super::*;
use crate::test_cases::{dot, stored, values};

/// No bias and no function.
const PLAIN: (&[f32], Activation) = (&[], Activation::Identity);

/// A matrix of two parts of different height, or of one part if it has too few rows.
fn matrix(weights: &[f32], dtype: StoredType, columns: usize) -> StoredMatrix {
    let split = weights.len() / columns / 3 * columns;
    let parts = [&weights[..split], &weights[split..]];
    let parts = parts.iter().filter(|part| !part.is_empty());
    StoredMatrix::new(parts.map(|part| stored(part, dtype, [part.len() / columns, columns])).collect())
}

#[test]
fn products_are_right_at_every_level_type_and_size() {
    // The last shape takes its columns in several passes if there are many rows of x.
    for (rows, columns) in [(1, 1), (3, 16), (7, 33), (64, 160), (307, 48), (65, 1_030), (13, 3_001)] {
        let weights = values(rows * columns, 17);
        for dtype in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
            let matrix = matrix(&weights, dtype, columns);
            for m in [1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 70] {
                let x = values(m * columns, 29);
                let expected: Vec<f64> = x
                    .chunks_exact(columns)
                    .flat_map(|x| weights.chunks_exact(columns).map(|w| dot(x, w)).collect::<Vec<_>>())
                    .collect();
                for level in levels() {
                    for (kernel, got) in
                        [("gemv", matrix.gemv(level, &x, m)), ("gemm", matrix.gemm(level, &x, m, PLAIN))]
                    {
                        assert_eq!(got.len(), expected.len());
                        for (got, expected) in got.iter().zip(&expected) {
                            let error = (f64::from(*got) - expected).abs();
                            let what = format!("{kernel} {level:?} {dtype:?} {rows}x{columns} m={m}");
                            assert!(error <= 2e-4, "{what}: {got} for {expected}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_other_rows() {
    // Values whose sums are rounded, and more rows than are packed at a time or take their columns in one pass.
    let (rows, columns, many) = (52, 1_003, PACKED_ROWS + 37);
    let weights: Vec<f32> = values(rows * columns, 17).iter().map(|value| value * 0.3).collect();
    let x: Vec<f32> = values(many * columns, 29).iter().map(|value| value * 0.7).collect();
    for dtype in [StoredType::F32, StoredType::F16, StoredType::Bf16] {
        let matrix = matrix(&weights, dtype, columns);
        let wide: Vec<f32> = weights.iter().map(|weight| narrowed(*weight, dtype)).collect();
        for level in levels() {
            let all = matrix.gemm(level, &x, many, PLAIN);
            for m in [4, 8, 13, 64, 200] {
                let some = matrix.gemm(level, &x[columns..(m + 1) * columns], m, PLAIN);
                assert!(some == all[rows..(m + 1) * rows], "{level:?} {dtype:?} m={m}");
            }
            // One product after another, each rounded once with its sum.
            if level != Level::Plain {
                let last = x.chunks_exact(columns).next_back().unwrap_or_default();
                let sum = |row: &[f32]| row.iter().zip(last).fold(0.0_f32, |sum, (w, x)| w.mul_add(*x, sum));
                let expected: Vec<f32> = wide.chunks_exact(columns).map(sum).collect();
                assert!(all.ends_with(&expected), "{level:?} {dtype:?}");
            }
        }
    }
}

/// A value rounded to a type.
fn narrowed(value: f32, dtype: StoredType) -> f32 {
    match dtype {
        StoredType::F16 => half::f16::from_f32(value).to_f32(),
        StoredType::Bf16 => half::bf16::from_f32(value).to_f32(),
        StoredType::F32 | StoredType::Blocks(_) | StoredType::Repacked(_) => value,
    }
}

#[test]
fn an_empty_product_is_empty() {
    let empty = StoredMatrix::new(Vec::new());
    assert!(empty.product(&[], 0).is_empty());
    let matrix = matrix(&values(12, 5), StoredType::F32, 4);
    assert_eq!(matrix.rows(), 3);
    assert!(matrix.gemm(level(), &[], 0, PLAIN).is_empty() && matrix.gemv(level(), &[], 0).is_empty());
}

#[test]
fn a_bias_and_a_function_are_those_of_a_pass_after_the_product() {
    let (rows, columns) = (131, 64);
    let matrix = matrix(&values(rows * columns, 17), StoredType::F32, columns);
    let bias: Vec<f32> = values(rows, 7);
    for m in [1, 2, 3, 9, PACKED_ROWS + 5] {
        let x = values(m * columns, 29);
        for (bias, activation) in
            [(&bias[..], Activation::Gelu), (&[], Activation::Silu), (&bias, Activation::Identity)]
        {
            let mut expected = matrix.product(&x, m);
            finish_rows(&mut expected, rows, bias, activation);
            assert!(matrix.finished_product(&x, m, bias, activation) == expected, "{activation:?} m={m}");
        }
    }
}

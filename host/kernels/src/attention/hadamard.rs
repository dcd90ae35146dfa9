//! The Hadamard transform of heads, before keys and values become codes of 8 bits. It spreads a large element over many, so
//! that the scale of a block fits all of its elements (QuaRot, Ashkboos et al. 2024). The transform is a rotation and its
//! own inverse: products of transformed queries and keys are those of queries and keys, and transformed sums of values are
//! transformed back.

/// Transforms each part of a head, in place: parts as long as the largest power of two that divides the width of the head.
#[inline(always)]
pub(super) fn transform(head: &mut [f32]) {
    let part = 1 << head.len().trailing_zeros().min(usize::BITS - 1);
    let scale = 1.0 / (part as f32).sqrt();
    for part in head.chunks_exact_mut(part) {
        let mut half = part.len() / 2;
        while half > 0 {
            match half {
                1 => sums_and_differences::<1>(part),
                2 => sums_and_differences::<2>(part),
                4 => sums_and_differences::<4>(part),
                _ => {
                    for pair in part.chunks_exact_mut(2 * half) {
                        let (low, high) = pair.split_at_mut(half);
                        for (low, high) in low.iter_mut().zip(high) {
                            (*low, *high) = (*low + *high, *low - *high);
                        }
                    }
                }
            }
            half /= 2;
        }
        part.iter_mut().for_each(|element| *element *= scale);
    }
}

/// One step of the transform for halves whose size the compiler knows.
#[inline(always)]
fn sums_and_differences<const HALF: usize>(part: &mut [f32]) {
    for pair in part.chunks_exact_mut(2 * HALF) {
        for at in 0..HALF {
            (pair[at], pair[at + HALF]) = (pair[at] + pair[at + HALF], pair[at] - pair[at + HALF]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|at| (at * 613 % 1_009) as f32 / 504.0 - 1.0).collect()
    }

    /// The element in row `i` and column `j` of the matrix is -1 to the number of common bits of `i` and `j`.
    #[test]
    fn it_multiplies_each_part_with_a_hadamard_matrix() {
        for (width, part) in [(1, 1), (2, 2), (18, 2), (80, 16), (64, 64), (128, 128)] {
            let (before, mut after) = (values(width), values(width));
            transform(&mut after);
            for (at, after) in after.iter().enumerate() {
                let from = at / part * part;
                let sum: f64 = (0..part)
                    .map(|column| {
                        let sign = if ((at - from) & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                        sign * f64::from(before[from + column])
                    })
                    .sum();
                let expected = sum / (part as f64).sqrt();
                assert!((f64::from(*after) - expected).abs() < 1e-5, "{at} of {width}: {after} for {expected}");
            }
        }
    }

    #[test]
    fn twice_is_the_head_itself() {
        for width in [1, 6, 64, 96, 256] {
            let mut head = values(width);
            transform(&mut head);
            transform(&mut head);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
            assert!(head.iter().zip(&values(width)).all(close), "{width}");
        }
    }

    #[test]
    fn nothing_is_left_of_an_empty_head() {
        transform(&mut []);
    }
}

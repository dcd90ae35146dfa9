//! Blocks of codes of 8 bits, each with an IEEE half as its scale: the type `q8_0` of llama.cpp, for keys and values.

use super::super::linear::vector::{PanelValue, widen_half};

/// Elements of a block. The last block of a head may be shorter.
pub(super) const BLOCK: usize = 32;

/// The scale of at most `BLOCK` values, as the bits of a half, and their codes. An element is its code times the scale.
/// The largest half stands for larger scales. If a value is no number, the scale is none.
#[inline(always)]
pub(super) fn quantize(values: &[f32]) -> (u16, [i8; BLOCK]) {
    // As integers, sizes are in the same order, and what is no number is the largest.
    let largest = values.iter().map(|value| value.to_bits() & 0x7FFF_FFFF).fold(0, u32::max);
    let scale = u16::nearest(f32::from_bits(largest) / 127.0);
    // Codes are those of the scale as it is stored.
    let stored = widen_half(&scale.to_le_bytes());
    let inverse = if stored > 0.0 { 1.0 / stored } else { 0.0 };
    let mut codes = [0; BLOCK];
    codes.iter_mut().zip(values).for_each(|(code, value)| *code = i8::nearest(value * inverse));
    (scale, codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(scale: u16, code: i8) -> f32 {
        half::f16::from_bits(scale).to_f32() * f32::from(code)
    }

    #[test]
    fn an_element_differs_by_half_a_step_at_most() {
        for (count, size) in [(32, 1.0), (18, 700.0), (1, 3e-3), (32, 6e4), (32, 1e-5), (32, 0.0)] {
            let values: Vec<f32> = (0..count).map(|at| size * ((at * 613 % 1_009) as f32 / 504.0 - 1.0)).collect();
            let (scale, codes) = quantize(&values);
            let largest = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            // The scale is rounded to 11 bits, or to a multiple of 2^-24, which may shorten the largest elements.
            let most = largest / 254.0 + 127.0 * (largest / 127.0 * 2.0_f32.powi(-11)).max(2.0_f32.powi(-25));
            for (value, code) in values.iter().zip(codes) {
                let error = (value - element(scale, code)).abs();
                assert!(error <= most, "{value:e} of {size:e}: {error:e}");
            }
            assert!(codes[count..].iter().all(|code| *code == 0));
        }
    }

    #[test]
    fn what_is_no_number_is_not_hidden() {
        let (scale, codes) = quantize(&[1.0, f32::NAN, 2.0]);
        assert!(element(scale, codes[0]).is_nan());
        let (scale, codes) = quantize(&[1.0, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!([element(scale, codes[1]), element(scale, codes[2])], [65_504.0 * 127.0, -65_504.0 * 127.0]);
    }
}

//! Blocks of five bits a weight: four as in the blocks of four, and the fifth of weight `i` in bit `i` of 32.

use super::{SMALL, each, half_at};

/// Writes `value` of each five-bit code to its place. `codes` are 16 bytes.
fn weights(fifth: &[u8], codes: &[u8], out: &mut [f32; SMALL], value: impl Fn(u8) -> f32) {
    let fifth = u32::from_le_bytes([fifth[0], fifth[1], fifth[2], fifth[3]]);
    for (index, code) in codes.iter().enumerate() {
        let bit = |index: usize| (fifth >> index & 1) as u8 * 16;
        out[index] = value(code & 15 | bit(index));
        out[index + SMALL / 2] = value(code >> 4 | bit(index + SMALL / 2));
    }
}

/// Scale; the codes are shifted by 16.
pub(super) fn q5_0(bytes: &[u8], out: &mut [f32]) {
    each::<22, SMALL>(bytes, out, |block, out| {
        let scale = half_at(block, 0);
        weights(&block[2..6], &block[6..], out, |code| scale * (f32::from(code) - 16.0));
    });
}

/// Scale and minimum.
pub(super) fn q5_1(bytes: &[u8], out: &mut [f32]) {
    each::<24, SMALL>(bytes, out, |block, out| {
        let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
        weights(&block[4..8], &block[8..], out, |code| scale * f32::from(code) + minimum);
    });
}

//! Blocks of four bits a weight. In 16 bytes the low halves are weights 0 to 15, the high halves 16 to 31.

use super::{LARGE, Line, SMALL, each, half_at};

/// What the codes of the IQ4 types stand for.
const IQ4_VALUES: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];
/// Twice what the codes of FP4 (E2M1) stand for; the scale is halved instead.
const FP4_VALUES: [f32; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// Writes `value` of each code to its place.
fn halves(codes: &[u8], out: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(codes.len());
    for ((code, low), high) in codes.iter().zip(low).zip(high) {
        *low = value(code & 15);
        *high = value(code >> 4);
    }
}

/// Scale; the codes are shifted by 8.
pub(super) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    each::<18, SMALL>(bytes, out, |block, out| {
        let scale = half_at(block, 0);
        halves(&block[2..], out, |code| scale * (f32::from(code) - 8.0));
    });
}

/// Scale and minimum.
pub(super) fn q4_1(bytes: &[u8], out: &mut [f32]) {
    each::<20, SMALL>(bytes, out, |block, out| {
        let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
        halves(&block[4..], out, |code| scale * f32::from(code) + minimum);
    });
}

/// Scale; the codes are places in a table.
pub(super) fn iq4_nl(bytes: &[u8], out: &mut [f32]) {
    each::<18, SMALL>(bytes, out, |block, out| {
        let scale = half_at(block, 0);
        halves(&block[2..], out, |code| scale * IQ4_VALUES[usize::from(code)]);
    });
}

/// Eight groups of 32 as IQ4_NL, whose scales are six bits times the block's.
pub(super) fn iq4_xs(bytes: &[u8], out: &mut [f32]) {
    each::<136, LARGE>(bytes, out, |block, out| {
        for (group, out) in out.chunks_exact_mut(SMALL).enumerate() {
            let scale = iq4_xs_scale(block, group);
            let codes = &block[8 + 16 * group..24 + 16 * group];
            halves(codes, out, |code| scale * IQ4_VALUES[usize::from(code)]);
        }
    });
}

/// The scale of a group of [`iq4_xs`].
fn iq4_xs_scale(block: &[u8], group: usize) -> f32 {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let low = block[4 + group / 2] >> (4 * (group % 2)) & 15;
    let bits = u16::from(low) | (high >> (2 * group) & 3) << 4;
    half_at(block, 0) * (f32::from(bits) - 32.0)
}

pub(super) fn iq4_xs_lines(block: &[u8], lines: &mut [Line]) {
    for (group, line) in lines.iter_mut().enumerate() {
        *line = Line { scale: iq4_xs_scale(block, group), minimum: 0.0 };
    }
}

/// A power of two, and FP4 codes (OCP Microscaling Formats 1.0).
pub(super) fn mxfp4(bytes: &[u8], out: &mut [f32]) {
    each::<17, SMALL>(bytes, out, |block, out| {
        let scale = half_power(block[0]);
        halves(&block[1..], out, |code| scale * FP4_VALUES[usize::from(code)]);
    });
}

pub(super) fn mxfp4_line(block: &[u8], lines: &mut [Line]) {
    lines.fill(Line { scale: half_power(block[0]), minimum: 0.0 });
}

/// `2^(exponent - 127) / 2`.
fn half_power(exponent: u8) -> f32 {
    let exponent = u32::from(exponent);
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 })
}

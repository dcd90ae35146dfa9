//! The K types: blocks of 256 weights in groups of 16 or 32, whose scales are small numbers times the block's.

use super::{LARGE, Line, SMALL, each, half_at};

/// Two bits a weight, in 16 groups of 16 with a scale and a minimum of four bits each.
pub(super) fn q2_k(bytes: &[u8], out: &mut [f32]) {
    each::<84, LARGE>(bytes, out, |block, out| {
        for (group, out) in out.chunks_exact_mut(16).enumerate() {
            let Line { scale, minimum } = q2_k_line(block, group);
            let (start, shift) = two_bits(group);
            let codes = &block[16 + start..32 + start];
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(code >> shift & 3) + minimum;
            }
        }
    });
}

fn q2_k_line(block: &[u8], group: usize) -> Line {
    let bits = block[group];
    let (scale, minimum) = (half_at(block, 80), half_at(block, 82));
    Line { scale: scale * f32::from(bits & 15), minimum: -(minimum * f32::from(bits >> 4)) }
}

pub(super) fn q2_k_lines(block: &[u8], lines: &mut [Line]) {
    lines.iter_mut().enumerate().for_each(|(group, line)| *line = q2_k_line(block, group));
}

/// Where the two-bit codes of a group of 16 are: from which of 64 bytes on, and how far up. Two groups share a run of 32
/// bytes, and four runs lie in the same bytes.
fn two_bits(group: usize) -> (usize, usize) {
    let (half, inside) = (group / 8, group % 8);
    (32 * half + 16 * (inside % 2), 2 * (inside / 2))
}

/// Three bits a weight, in 16 groups of 16 with a scale of six bits.
pub(super) fn q3_k(bytes: &[u8], out: &mut [f32]) {
    each::<110, LARGE>(bytes, out, |block, out| {
        let (mask, codes) = (&block[..32], &block[32..96]);
        for (group, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = q3_k_scale(block, group);
            let (start, shift) = two_bits(group);
            let column = 16 * (group % 2);
            for (index, out) in out.iter_mut().enumerate() {
                // The third bit is clear where 4 is subtracted.
                let third = mask[column + index] >> (group / 2) & 1;
                let code = codes[start + index] >> shift & 3;
                *out = scale * (f32::from(code) - 4.0 * f32::from(1 - third));
            }
        }
    });
}

fn q3_k_scale(block: &[u8], group: usize) -> f32 {
    let packed = &block[96..108];
    let low = packed[group % 8] >> (4 * (group / 8)) & 15;
    let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
    half_at(block, 108) * (f32::from(low | high << 4) - 32.0)
}

pub(super) fn q3_k_lines(block: &[u8], lines: &mut [Line]) {
    for (group, line) in lines.iter_mut().enumerate() {
        *line = Line { scale: q3_k_scale(block, group), minimum: 0.0 };
    }
}

/// Scale and minimum, six bits each, of group `group` of eight, from 12 bytes.
fn six_bits(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let (both, scale, minimum) = (packed[group + 4], packed[group - 4], packed[group]);
        (both & 15 | scale >> 6 << 4, both >> 4 | minimum >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

/// Four bits a weight, in eight groups of 32 with scale and minimum. Two groups share their bytes.
pub(super) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    each::<144, LARGE>(bytes, out, |block, out| {
        for (group, out) in out.chunks_exact_mut(SMALL).enumerate() {
            let Line { scale, minimum } = q4_k_line(block, group);
            let start = 16 + SMALL * (group / 2);
            let shift = 4 * (group % 2);
            for (out, code) in out.iter_mut().zip(&block[start..start + SMALL]) {
                *out = scale * f32::from(code >> shift & 15) + minimum;
            }
        }
    });
}

/// Of a group of [`q4_k`] and [`q5_k`].
fn q4_k_line(block: &[u8], group: usize) -> Line {
    let (scale, minimum) = six_bits(&block[4..16], group);
    Line { scale: half_at(block, 0) * scale, minimum: -(half_at(block, 2) * minimum) }
}

pub(super) fn q4_k_lines(block: &[u8], lines: &mut [Line]) {
    lines.iter_mut().enumerate().for_each(|(group, line)| *line = q4_k_line(block, group));
}

/// As [`q4_k`], with a fifth bit of group `g` in bit `g` of 32 bytes.
pub(super) fn q5_k(bytes: &[u8], out: &mut [f32]) {
    each::<176, LARGE>(bytes, out, |block, out| {
        let fifth = &block[16..48];
        for (group, out) in out.chunks_exact_mut(SMALL).enumerate() {
            let Line { scale, minimum } = q4_k_line(block, group);
            let start = 48 + SMALL * (group / 2);
            let shift = 4 * (group % 2);
            for ((out, code), fifth) in out.iter_mut().zip(&block[start..start + SMALL]).zip(fifth) {
                let code = code >> shift & 15 | (fifth >> group & 1) << 4;
                *out = scale * f32::from(code) + minimum;
            }
        }
    });
}

/// Six bits a weight, in 16 groups of 16 with a signed scale of eight bits; the codes are shifted by 32.
pub(super) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    each::<210, LARGE>(bytes, out, |block, out| {
        for (half, out) in out.chunks_exact_mut(LARGE / 2).enumerate() {
            let low = &block[64 * half..64 * half + 64];
            let high = &block[128 + 32 * half..160 + 32 * half];
            for (index, out) in out.iter_mut().enumerate() {
                let (run, column) = (index / 32, index % 32);
                let four = low[column + 32 * (run % 2)] >> (4 * (run / 2)) & 15;
                let two = high[column] >> (2 * run) & 3;
                let scale = q6_k_scale(block, 8 * half + index / 16);
                *out = scale * (f32::from(four | two << 4) - 32.0);
            }
        }
    });
}

fn q6_k_scale(block: &[u8], group: usize) -> f32 {
    half_at(block, 208) * f32::from(block[192 + group].cast_signed())
}

pub(super) fn q6_k_lines(block: &[u8], lines: &mut [Line]) {
    for (group, line) in lines.iter_mut().enumerate() {
        *line = Line { scale: q6_k_scale(block, group), minimum: 0.0 };
    }
}

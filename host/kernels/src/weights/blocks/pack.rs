//! Weights to blocks: the opposite of unpacking.
//!
//! The types of 32 weights take the largest weight, or the largest and the smallest, as their range, as the package `gguf`
//! does, bit for bit. The K types are fitted: see [`k_quants`].

mod fit;
mod k_quants;
#[cfg(test)]
mod tests;

use half::f16;

use super::{Pack, SMALL};

/// Every type that can be written: its number, and how weights become its blocks.
pub(super) const PACKERS: &[(u32, Pack)] = &[
    (2, q4_0),
    (3, q4_1),
    (6, q5_0),
    (7, q5_1),
    (8, q8_0),
    (12, k_quants::q4_k),
    (13, k_quants::q5_k),
    (14, k_quants::q6_k),
];

/// Calls `pack` for each block of `W` weights and its `N` bytes.
fn each<const N: usize, const W: usize>(weights: &[f32], out: &mut [u8], pack: impl Fn(&[f32; W], &mut [u8; N])) {
    let (weights, _) = weights.as_chunks::<W>();
    let (blocks, _) = out.as_chunks_mut::<N>();
    for (weights, block) in weights.iter().zip(blocks) {
        pack(weights, block);
    }
}

fn put_half(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// What weights are multiplied with to become codes. Without a range all codes are 0.
fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The first weight of the greatest magnitude.
fn peak(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |peak: f32, weight| if weight.abs() > peak.abs() { *weight } else { peak })
}

/// The smallest and the largest weight.
fn range(weights: &[f32]) -> (f32, f32) {
    let first = weights.first().copied().unwrap_or(0.0);
    weights.iter().fold((first, first), |(low, high), weight| (low.min(*weight), high.max(*weight)))
}

/// Writes codes of four bits, the first half of them into the low bits.
fn put_fours(codes: &[u8; SMALL], out: &mut [u8]) {
    let (low, high) = codes.split_at(SMALL / 2);
    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
        *out = low & 15 | high << 4;
    }
}

/// The fifth bits of all codes.
fn fifth_bits(codes: &[u8; SMALL]) -> [u8; 4] {
    let bits = codes.iter().enumerate().fold(0, |bits, (index, code)| bits | u32::from(code >> 4) << index);
    bits.to_le_bytes()
}

/// Codes with the largest weight at `-middle`, shifted by `middle`, and their scale.
fn centred(weights: &[f32; SMALL], middle: u8) -> (f32, [u8; SMALL]) {
    let middle = f32::from(middle);
    let scale = peak(weights) / -middle;
    let inverse = inverse(scale);
    // The conversion cuts off the fraction, so that half of the distance rounds.
    let code = |weight: f32| ((weight * inverse + (middle + 0.5)) as u8).min(middle as u8 * 2 - 1);
    (scale, weights.map(code))
}

/// Codes from the smallest weight to the largest one, which is `top`; with their scale and minimum.
fn ranged(weights: &[f32; SMALL], top: u8) -> (f32, f32, [u8; SMALL]) {
    let (low, high) = range(weights);
    let scale = (high - low) / f32::from(top);
    let inverse = inverse(scale);
    (scale, low, weights.map(|weight| (((weight - low) * inverse + 0.5) as u8).min(top)))
}

fn q8_0(weights: &[f32], out: &mut [u8]) {
    each::<34, SMALL>(weights, out, |weights, block| {
        let scale = peak(weights).abs() / 127.0;
        let inverse = inverse(scale);
        put_half(block, 0, scale);
        for (out, weight) in block[2..].iter_mut().zip(weights) {
            *out = ((weight * inverse).round() as i8).cast_unsigned();
        }
    });
}

fn q4_0(weights: &[f32], out: &mut [u8]) {
    each::<18, SMALL>(weights, out, |weights, block| {
        let (scale, codes) = centred(weights, 8);
        put_half(block, 0, scale);
        put_fours(&codes, &mut block[2..]);
    });
}

fn q4_1(weights: &[f32], out: &mut [u8]) {
    each::<20, SMALL>(weights, out, |weights, block| {
        let (scale, minimum, codes) = ranged(weights, 15);
        put_half(block, 0, scale);
        put_half(block, 2, minimum);
        put_fours(&codes, &mut block[4..]);
    });
}

fn q5_0(weights: &[f32], out: &mut [u8]) {
    each::<22, SMALL>(weights, out, |weights, block| {
        let (scale, codes) = centred(weights, 16);
        put_half(block, 0, scale);
        block[2..6].copy_from_slice(&fifth_bits(&codes));
        put_fours(&codes, &mut block[6..]);
    });
}

fn q5_1(weights: &[f32], out: &mut [u8]) {
    each::<24, SMALL>(weights, out, |weights, block| {
        let (scale, minimum, codes) = ranged(weights, 31);
        put_half(block, 0, scale);
        put_half(block, 2, minimum);
        block[4..8].copy_from_slice(&fifth_bits(&codes));
        put_fours(&codes, &mut block[8..]);
    });
}

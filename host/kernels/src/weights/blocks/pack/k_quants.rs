//! The K types, fitted in two stages: each group by itself, then the block's numbers to the whole numbers of its groups.

use half::f16;

use super::fit::{self, FittedLine, Sums};
use super::{each, inverse, put_half};
use crate::weights::blocks::{LARGE, SMALL};

/// A block of eight groups with scale and minimum.
struct Lines {
    scale: f32,
    minimum: f32,
    /// Whole numbers of six bits.
    scales: [f32; 8],
    minima: [f32; 8],
    codes: [[f32; SMALL]; 8],
}

/// The largest whole number of six bits.
const SIX_BITS: f32 = 63.0;

fn rounded(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// The number whose multiples of 0 to 63 come nearest to all of `values`.
fn unit(values: &[f32; 8]) -> f32 {
    rounded(values.iter().fold(0.0, |most: f32, value| most.max(*value)) / SIX_BITS)
}

impl Lines {
    fn of(weights: &[[f32; SMALL]; 8], top: f32, spread: f32) -> Self {
        let lines = std::array::from_fn::<FittedLine, 8, _>(|group| fit::line(&weights[group], top, spread));
        let (scale, minimum) = (unit(&lines.map(|line| line.scale)), unit(&lines.map(|line| line.minimum)));
        let six = |value: f32, unit: f32| fit::whole((value * inverse(unit)).clamp(0.0, SIX_BITS));
        let mut block = Self {
            scale,
            minimum,
            scales: lines.map(|line| six(line.scale, scale)),
            minima: lines.map(|line| six(line.minimum, minimum)),
            codes: [[0.0; SMALL]; 8],
        };
        for (group, weights) in weights.iter().enumerate() {
            block.settle(group, weights, top);
        }
        block.refit(weights, top);
        block
    }

    fn line(&self, group: usize) -> FittedLine {
        FittedLine { scale: self.scale * self.scales[group], minimum: self.minimum * self.minima[group] }
    }

    /// Chooses the group's whole numbers anew, each up to one away, by what the codes leave as error.
    fn settle(&mut self, group: usize, weights: &[f32; SMALL], top: f32) {
        let (scale, minimum) = (self.scales[group], self.minima[group]);
        let mut best = f32::INFINITY;
        for (more_scale, more_minimum) in NEAR {
            let near = |value: f32, more: f32| (value + more).clamp(0.0, SIX_BITS);
            let (scales, minima) = (near(scale, *more_scale), near(minimum, *more_minimum));
            let line = FittedLine { scale: self.scale * scales, minimum: self.minimum * minima };
            let codes = fit::codes(weights, line, top);
            let error = fit::error(weights, &codes, line);
            if error < best {
                best = error;
                (self.scales[group], self.minima[group], self.codes[group]) = (scales, minima, codes);
            }
        }
    }

    /// Fits the two numbers of the block to its codes, and the codes to them, if that leaves a smaller error.
    fn refit(&mut self, weights: &[[f32; SMALL]; 8], top: f32) {
        let (mut aa, mut ab, mut bb, mut ay, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (group, weights) in weights.iter().enumerate() {
            let Sums { codes, squares, products } = fit::sums(weights, &self.codes[group]);
            let (scale, minimum) = (self.scales[group], self.minima[group]);
            aa += scale * scale * squares;
            ab += scale * minimum * codes;
            bb += minimum * minimum * SMALL as f32;
            ay += scale * products;
            by += minimum * weights.iter().sum::<f32>();
        }
        let determinant = aa * bb - ab * ab;
        let (scale, minimum) = if determinant > 1e-6 * aa * bb {
            ((ay * bb - ab * by) / determinant, (ab * ay - aa * by) / determinant)
        } else if aa > 0.0 {
            (ay / aa, 0.0)
        } else {
            return;
        };
        if !(scale >= 0.0 && minimum >= 0.0) {
            return;
        }
        let before = self.error(weights);
        let other = Self { scale: rounded(scale), minimum: rounded(minimum), ..*self };
        let codes = std::array::from_fn(|group| fit::codes(&weights[group], other.line(group), top));
        let other = Self { codes, ..other };
        if other.error(weights) < before {
            *self = other;
        }
    }

    fn error(&self, weights: &[[f32; SMALL]; 8]) -> f32 {
        (0..8).map(|group| fit::error(&weights[group], &self.codes[group], self.line(group))).sum()
    }

    /// Scales and minima of six bits in 12 bytes: the low six bits of the first eight bytes are those of groups 0 to 3, and
    /// the other groups have their low four bits in the last four bytes and their high two bits above those of the first.
    fn packed(&self) -> [u8; 12] {
        let mut out = [0; 12];
        for group in 0..4 {
            let six = |values: &[f32; 8]| (values[group] as u8, values[group + 4] as u8);
            let ((scale, high_scale), (minimum, high_minimum)) = (six(&self.scales), six(&self.minima));
            out[group] = scale | high_scale >> 4 << 6;
            out[group + 4] = minimum | high_minimum >> 4 << 6;
            out[group + 8] = high_scale & 15 | high_minimum << 4;
        }
        out
    }
}

/// Steps to the neighbours of a pair of whole numbers, and none first.
const NEAR: &[(f32, f32)] = &[(0.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (1.0, 1.0), (-1.0, 0.0), (-1.0, -1.0)];

fn groups<const N: usize, const W: usize>(weights: &[f32; LARGE]) -> [[f32; W]; N] {
    std::array::from_fn(|group| std::array::from_fn(|index| weights[group * W + index]))
}

/// Writes the numbers of a block, and the low four bits of its codes to `at` and after.
fn put_lines(block: &mut [u8], lines: &Lines, at: usize) {
    put_half(block, 0, lines.scale);
    put_half(block, 2, lines.minimum);
    block[4..16].copy_from_slice(&lines.packed());
    for (pair, out) in block[at..].chunks_exact_mut(SMALL).enumerate() {
        let (low, high) = (&lines.codes[2 * pair], &lines.codes[2 * pair + 1]);
        for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
            *out = *low as u8 & 15 | (*high as u8) << 4;
        }
    }
}

pub(super) fn q4_k(weights: &[f32], out: &mut [u8]) {
    each::<144, LARGE>(weights, out, |weights, block| {
        put_lines(block, &Lines::of(&groups(weights), 15.0, 1.0), 16);
    });
}

pub(super) fn q5_k(weights: &[f32], out: &mut [u8]) {
    each::<176, LARGE>(weights, out, |weights, block| {
        let lines = Lines::of(&groups(weights), 31.0, 1.0);
        put_lines(block, &lines, 48);
        for (index, out) in block[16..48].iter_mut().enumerate() {
            let bit = |group: usize| (lines.codes[group][index] as u8 >> 4) << group;
            *out = (0..8).map(bit).fold(0, |bits, bit| bits | bit);
        }
    });
}

/// A block of 16 groups with a scale each.
struct Scales {
    scale: f32,
    /// Whole numbers of eight bits.
    scales: [f32; 16],
    codes: [[f32; 16]; 16],
}

impl Scales {
    fn of(weights: &[[f32; 16]; 16]) -> Self {
        let scales: [f32; 16] = std::array::from_fn(|group| fit::scale(&weights[group]));
        let scale = rounded(super::peak(&scales) / -128.0);
        let inverse = inverse(scale);
        let eight = |value: f32| fit::whole((value * inverse).clamp(-128.0, 127.0));
        let mut block = Self { scale, scales: scales.map(eight), codes: [[0.0; 16]; 16] };
        for (group, weights) in weights.iter().enumerate() {
            block.settle(group, weights);
        }
        block.refit(weights);
        block
    }

    fn line(&self, group: usize) -> FittedLine {
        FittedLine { scale: self.scale * self.scales[group], minimum: 0.0 }
    }

    fn settle(&mut self, group: usize, weights: &[f32; 16]) {
        let (scale, mut best) = (self.scales[group], f32::INFINITY);
        for more in [0.0, 1.0, -1.0] {
            let scales = (scale + more).clamp(-128.0, 127.0);
            let line = FittedLine { scale: self.scale * scales, minimum: 0.0 };
            let codes = fit::signed_codes(weights, line.scale);
            let error = fit::error(weights, &codes, line);
            if error < best {
                best = error;
                (self.scales[group], self.codes[group]) = (scales, codes);
            }
        }
    }

    fn refit(&mut self, weights: &[[f32; 16]; 16]) {
        let (mut products, mut squares) = (0.0, 0.0);
        for (group, weights) in weights.iter().enumerate() {
            let sums = fit::sums(weights, &self.codes[group]);
            products += self.scales[group] * sums.products;
            squares += self.scales[group] * self.scales[group] * sums.squares;
        }
        if squares == 0.0 {
            return;
        }
        let other = Self { scale: rounded(products / squares), ..*self };
        let codes = std::array::from_fn(|group| fit::signed_codes(&weights[group], other.line(group).scale));
        let other = Self { codes, ..other };
        if other.error(weights) < self.error(weights) {
            *self = other;
        }
    }

    fn error(&self, weights: &[[f32; 16]; 16]) -> f32 {
        (0..16).map(|group| fit::error(&weights[group], &self.codes[group], self.line(group))).sum()
    }
}

pub(super) fn q6_k(weights: &[f32], out: &mut [u8]) {
    each::<210, LARGE>(weights, out, |weights, block| {
        let fitted = Scales::of(&groups(weights));
        let code = |index: usize| (fitted.codes[index / 16][index % 16] + 32.0) as u8;
        for half in 0..2 {
            for index in 0..SMALL {
                let at = |run: usize| code(128 * half + SMALL * run + index);
                block[64 * half + index] = at(0) & 15 | at(2) << 4;
                block[64 * half + SMALL + index] = at(1) & 15 | at(3) << 4;
                block[128 + 32 * half + index] = at(0) >> 4 | at(1) >> 4 << 2 | at(2) >> 4 << 4 | at(3) >> 4 << 6;
            }
        }
        for (out, scale) in block[192..208].iter_mut().zip(fitted.scales) {
            *out = (scale as i8).cast_unsigned();
        }
        put_half(block, 208, fitted.scale);
    });
}

//! The K types: blocks of 256 weights in groups of 16 or 32, whose scales are small numbers times the block's.

use super::super::bytes::{CodeBytes, FACTORS};
use super::{BlockSize, CodeFormat, RepackedFormat, Sink, half_at, word_at};

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn bytes(low: u32, high: u32) -> [i8; 8] {
    let mut bytes = [0; 8];
    for (out, byte) in bytes.iter_mut().zip((u64::from(low) | u64::from(high) << 32).to_le_bytes()) {
        *out = byte.cast_signed();
    }
    bytes
}

/// The upper two bits of each byte, as bits 4 and 5.
#[inline(always)]
fn top(word: u32) -> u32 {
    (word & 0xC0C0_C0C0) >> 2
}

/// The bits of `mask`, after bit `from` of each byte has moved to bit `to`.
#[inline(always)]
fn moved<B: CodeBytes>(bytes: B, (from, to): (usize, usize), mask: u8) -> B {
    if from > to { bytes.shr(from - to, mask) } else { bytes.shl(to - from, mask) }
}

/// The scales of eight groups, six bits each, from 12 bytes.
#[inline(always)]
fn six_bit_scales(packed: &[u8]) -> [i8; 8] {
    bytes(word(packed, 0) & 0x3F3F_3F3F, word(packed, 8) & 0x0F0F_0F0F | top(word(packed, 0)))
}

/// The minima of eight groups, six bits each, from the same bytes.
#[inline(always)]
fn six_bit_minima(packed: &[u8]) -> [i8; 8] {
    bytes(word(packed, 4) & 0x3F3F_3F3F, word(packed, 8) >> 4 & 0x0F0F_0F0F | top(word(packed, 4)))
}

pub(in super::super) struct Q4K;

impl CodeFormat for Q4K {
    const NUMBER: u32 = 12;
    const SIZE: BlockSize = BlockSize::Large;
    const BYTES: usize = 144;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn least<B: CodeBytes>(block: &[u8]) -> f32 {
        -half_at::<B>(block, 2)
    }

    #[inline(always)]
    fn minima<B: CodeBytes>(block: &[u8]) -> B::Factors {
        B::double_factors(six_bit_minima(&block[4..16]))
    }

    #[inline(always)]
    fn factors<B: CodeBytes>(block: &[u8]) -> B::Factors {
        B::double_factors(six_bit_scales(&block[4..16]))
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        for pair in 0..4 {
            let bytes = B::load(&block[16 + 32 * pair..]);
            sink.take(2 * pair, bytes.and(15));
            sink.take(2 * pair + 1, bytes.shr(4, 15));
        }
    }
}

/// The scales of eight groups of each row, six bits each, from three words that start at byte `from`.
#[inline(always)]
fn six_bit_factors<B: CodeBytes>(block: &[u8], from: usize) -> [B; 2] {
    let [low, high] = [word_at::<B>(block, from, 0), word_at(block, from, 2)];
    let last = high.and(15).or(low.and(0xC0).shr(2, 0x30));
    [low.and(0x3F), last]
}

/// The minima of eight groups, from the same words.
#[inline(always)]
fn six_bit_least<B: CodeBytes>(block: &[u8], from: usize) -> [B; 2] {
    let [low, high] = [word_at::<B>(block, from, 1), word_at(block, from, 2)];
    let last = high.shr(4, 15).or(low.and(0xC0).shr(2, 0x30));
    [low.and(0x3F), last]
}

impl RepackedFormat for Q4K {
    /// As for the small blocks of four bits.
    const WORDS_IN_16_BITS: usize = 8;

    #[inline(always)]
    fn word<B: CodeBytes>(block: &[u8], first: usize, own: usize, word: usize) -> B {
        let both: B = word_at(block, 128, 4 * first + word);
        if own == 0 { both.and(15) } else { both.shr(4, 15) }
    }

    #[inline(always)]
    fn factor_words<B: CodeBytes>(block: &[u8]) -> [B; 4] {
        let [low, high] = six_bit_factors(block, 32);
        [low, high, low, high]
    }

    #[inline(always)]
    fn minimum_words<B: CodeBytes>(block: &[u8]) -> [B; 2] {
        six_bit_least(block, 32)
    }
}

impl RepackedFormat for Q5K {
    /// The sums of four products of pairs are at most 4 * 2 * 31 * 127.
    const WORDS_IN_16_BITS: usize = 4;
    const PERIOD: usize = 8;

    #[inline(always)]
    fn word<B: CodeBytes>(block: &[u8], first: usize, own: usize, word: usize) -> B {
        let both: B = word_at(block, 384, 4 * first + 8 * (own / 2) + word);
        let four = if own.is_multiple_of(2) { both.and(15) } else { both.shr(4, 15) };
        four.or(moved(word_at(block, 128, word), (own, 4), 16))
    }

    #[inline(always)]
    fn factor_words<B: CodeBytes>(block: &[u8]) -> [B; 4] {
        let [low, high] = six_bit_factors(block, 32);
        [low, high, low, high]
    }

    #[inline(always)]
    fn minimum_words<B: CodeBytes>(block: &[u8]) -> [B; 2] {
        six_bit_least(block, 32)
    }
}

pub(in super::super) struct Q5K;

impl CodeFormat for Q5K {
    const NUMBER: u32 = 13;
    const SIZE: BlockSize = BlockSize::Large;
    const BYTES: usize = 176;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn least<B: CodeBytes>(block: &[u8]) -> f32 {
        -half_at::<B>(block, 2)
    }

    #[inline(always)]
    fn minima<B: CodeBytes>(block: &[u8]) -> B::Factors {
        B::double_factors(six_bit_minima(&block[4..16]))
    }

    #[inline(always)]
    fn factors<B: CodeBytes>(block: &[u8]) -> B::Factors {
        B::double_factors(six_bit_scales(&block[4..16]))
    }

    /// The fifth bit of group `g` is bit `g` of 32 bytes.
    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        let fifths = B::load(&block[16..]);
        for pair in 0..4 {
            let bytes = B::load(&block[48 + 32 * pair..]);
            sink.take(2 * pair, bytes.and(15).or(moved(fifths, (2 * pair, 4), 16)));
            sink.take(2 * pair + 1, bytes.shr(4, 15).or(moved(fifths, (2 * pair + 1, 4), 16)));
        }
    }
}

pub(in super::super) struct Q6K;

impl CodeFormat for Q6K {
    const NUMBER: u32 = 14;
    const SIZE: BlockSize = BlockSize::Large;
    const BYTES: usize = 210;
    const HAS_MINIMA: bool = false;
    const OFFSET: i32 = 32;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 208)
    }

    #[inline(always)]
    fn factors<B: CodeBytes>(block: &[u8]) -> B::Factors {
        let mut factors = [0; FACTORS];
        for (factor, byte) in factors.iter_mut().zip(&block[192..208]) {
            *factor = byte.cast_signed();
        }
        B::factors(factors)
    }

    /// In each half of 128, runs 0 and 1 are the low halves of 64 bytes, runs 2 and 3 the high ones.
    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        for half in 0..2 {
            let upper = B::load(&block[128 + 32 * half..]);
            for run in 0..4 {
                let bytes = B::load(&block[64 * half + 32 * (run % 2)..]);
                let lower = if run < 2 { bytes.and(15) } else { bytes.shr(4, 15) };
                sink.take(4 * half + run, lower.or(moved(upper, (2 * run, 4), 48)));
            }
        }
    }
}

impl RepackedFormat for Q6K {
    /// The sums of two products of pairs are at most 2 * 2 * 63 * 127.
    const WORDS_IN_16_BITS: usize = 2;
    const PERIOD: usize = 8;
    const HAS_FINE_FACTORS: bool = true;

    #[inline(always)]
    fn word<B: CodeBytes>(block: &[u8], _first: usize, own: usize, word: usize) -> B {
        let (half, run) = (own / 4, own % 4);
        let both: B = word_at(block, 16, 16 * half + 8 * (run % 2) + word);
        let four = if run < 2 { both.and(15) } else { both.shr(4, 15) };
        four.or(moved(word_at(block, 1_040, 8 * half + word), (2 * run, 4), 48))
    }

    #[inline(always)]
    fn factor_words<B: CodeBytes>(block: &[u8]) -> [B; 4] {
        [word_at(block, 1_552, 0), word_at(block, 1_552, 1), word_at(block, 1_552, 2), word_at(block, 1_552, 3)]
    }
}

pub(in super::super) struct Q2K;

impl CodeFormat for Q2K {
    const NUMBER: u32 = 10;
    const SIZE: BlockSize = BlockSize::Large;
    const BYTES: usize = 84;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 80)
    }

    #[inline(always)]
    fn least<B: CodeBytes>(block: &[u8]) -> f32 {
        -half_at::<B>(block, 82)
    }

    #[inline(always)]
    fn minima<B: CodeBytes>(block: &[u8]) -> B::Factors {
        let mut minima = [0; FACTORS];
        for (minimum, byte) in minima.iter_mut().zip(block) {
            *minimum = (byte >> 4).cast_signed();
        }
        B::factors(minima)
    }

    #[inline(always)]
    fn factors<B: CodeBytes>(block: &[u8]) -> B::Factors {
        let mut factors = [0; FACTORS];
        for (factor, byte) in factors.iter_mut().zip(block) {
            *factor = (byte & 15).cast_signed();
        }
        B::factors(factors)
    }

    /// In each half of 128, four runs of 32 lie in the same 32 bytes.
    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        for half in 0..2 {
            let bytes = B::load(&block[16 + 32 * half..]);
            for run in 0..4 {
                sink.take(4 * half + run, bytes.shr(2 * run, 3));
            }
        }
    }
}

/// The scales of 16 groups, six bits each, less 32: four low bits in 8 bytes, and two high ones in 4 bytes.
#[inline(always)]
fn q3_k_scales(packed: &[u8]) -> [i8; 16] {
    let (a, b, high) = (word(packed, 0), word(packed, 4), word(packed, 8));
    let mut scales = [0; FACTORS];
    let (first, last) = scales.split_at_mut(FACTORS / 2);
    first.copy_from_slice(&bytes(less_32(a, high), less_32(b, high >> 2)));
    last.copy_from_slice(&bytes(less_32(a >> 4, high >> 4), less_32(b >> 4, high >> 6)));
    scales
}

/// Six bits of each byte, four from `low` and two from `high`, less 32.
#[inline(always)]
fn less_32(low: u32, high: u32) -> u32 {
    let six = low & 0x0F0F_0F0F | (high & 0x0303_0303) << 4;
    // In each byte by itself: the highest bit is lent, so that none is borrowed from the next byte.
    ((six | 0x8080_8080) - 0x2020_2020) ^ 0x8080_8080
}

pub(in super::super) struct Q3K;

impl CodeFormat for Q3K {
    const NUMBER: u32 = 11;
    const SIZE: BlockSize = BlockSize::Large;
    const BYTES: usize = 110;
    const HAS_MINIMA: bool = false;
    const OFFSET: i32 = 4;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 108)
    }

    #[inline(always)]
    fn factors<B: CodeBytes>(block: &[u8]) -> B::Factors {
        B::factors(q3_k_scales(&block[96..108]))
    }

    /// As [`Q2K`]. The third bit of run `r` is bit `r` of 32 bytes, and clear where 4 is subtracted.
    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        let thirds = B::load(block);
        for half in 0..2 {
            let bytes = B::load(&block[32 + 32 * half..]);
            for run in 0..4 {
                let group = 4 * half + run;
                sink.take(group, bytes.shr(2 * run, 3).or(moved(thirds, (group, 2), 4)));
            }
        }
    }
}

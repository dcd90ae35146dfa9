//! How each block type becomes codes of 8 bits. To add one: a type in a file below, and a row in `super::level`.
//!
//! A weight is `scale * factor * (code - OFFSET) + least * minimum`. In a small block, 32 weights, factor and minimum
//! are 1. In a large one, 256 weights, each group of 16 has its own.

mod fives;
mod fours;
mod k_quants;

use super::bytes::{CODES, CodeBytes, FACTORS};

pub(super) use fives::{Q5_0, Q5_1};
pub(super) use fours::{Iq4Nl, Iq4Xs, Mxfp4, Q4_0, Q4_1};
pub(super) use k_quants::{Q2K, Q3K, Q4K, Q5K, Q6K};

/// The sizes of blocks, which are also those in which inputs are quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockSize {
    /// 32.
    Small,
    /// 256.
    Large,
}

impl BlockSize {
    pub(super) const fn weights(self) -> usize {
        match self {
            Self::Small => 32,
            Self::Large => 256,
        }
    }
}

/// A type of block.
pub(super) trait CodeFormat {
    /// Its number in files.
    const NUMBER: u32;
    const SIZE: BlockSize;
    /// Bytes of a block.
    const BYTES: usize;
    const HAS_MINIMA: bool;
    /// Whether codes are signed bytes. Others are below 64.
    const IS_SIGNED: bool = false;
    /// What is taken from each code. GEMV takes it from the sums instead.
    const OFFSET: i32 = 0;

    /// `scale` of a block.
    fn scale<B: CodeBytes>(block: &[u8]) -> f32;

    /// `least` of a block.
    #[inline(always)]
    fn least<B: CodeBytes>(_block: &[u8]) -> f32 {
        0.0
    }

    /// The factors of a large block.
    #[inline(always)]
    fn factors<B: CodeBytes>(_block: &[u8]) -> B::Factors {
        B::factors([1; FACTORS])
    }

    /// The minima of a large block.
    #[inline(always)]
    fn minima<B: CodeBytes>(_block: &[u8]) -> B::Factors {
        B::factors([0; FACTORS])
    }

    /// Gives the codes of each 32 weights of a block to `sink`, before `OFFSET` is taken.
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>);
}

/// A type whose repacked blocks have a kernel. Blocks are those of eight rows.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only AVX2 has a kernel"))]
pub(super) trait RepackedFormat: CodeFormat {
    /// Every so many words, sums of products are scaled, since 16 bits hold no more of them.
    const WORDS_IN_16_BITS: usize;
    /// Groups of a large block after which the codes lie in the same way again: 2 or 8.
    const PERIOD: usize = 2;

    /// The codes of columns `4 * word..` of group `first + own` of 32, for each row, before `OFFSET` is taken. `first` is a
    /// multiple of `PERIOD`, and `own` is below it.
    fn word<B: CodeBytes>(block: &[u8], first: usize, own: usize, word: usize) -> B;

    /// Whether each 16 columns of a large block have a factor of their own, and not each 32.
    const HAS_FINE_FACTORS: bool = false;

    /// The factors of a large block, four of each row in each of these. There are two for factors that are not fine.
    #[inline(always)]
    fn factor_words<B: CodeBytes>(block: &[u8]) -> [B; 4] {
        [B::load(block); 4]
    }

    /// Its minima in the same form, of types whose factors are not fine.
    #[inline(always)]
    fn minimum_words<B: CodeBytes>(block: &[u8]) -> [B; 2] {
        [B::load(block); 2]
    }
}

/// What is done with codes. It is not a closure, since only a function can be inlined for certain: the instructions of
/// `B` exist only in the function that enables them.
pub(super) trait Sink<B> {
    /// The codes of group `group` of a block.
    fn take(&mut self, group: usize, codes: B);
}

/// The IEEE half at byte `at`.
#[inline(always)]
fn half_at<B: CodeBytes>(block: &[u8], at: usize) -> f32 {
    B::half(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Word `number` of the four-byte units that start at byte `from`, for each row.
#[inline(always)]
fn word_at<B: CodeBytes>(block: &[u8], from: usize, number: usize) -> B {
    B::load(&block[from + CODES * number..])
}

pub(super) struct Q8_0;

impl CodeFormat for Q8_0 {
    const NUMBER: u32 = 8;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 34;
    const HAS_MINIMA: bool = false;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        sink.take(0, B::load(&block[2..]));
    }
}

impl RepackedFormat for Q8_0 {
    const WORDS_IN_16_BITS: usize = 1;

    #[inline(always)]
    fn word<B: CodeBytes>(block: &[u8], _first: usize, _own: usize, word: usize) -> B {
        word_at(block, 16, word)
    }
}

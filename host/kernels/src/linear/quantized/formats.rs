//! How each block type becomes codes of 8 bits. To add one: a type in a file below, and a row in `super::level`.
//!
//! A weight is `scale * factor * (code - OFFSET) + least * minimum`. In a small block, 32 weights, factor and minimum
//! are 1. In a large one, 256 weights, each group of 16 has its own.

mod fives;
mod fours;
mod k_quants;

use super::bytes::{CodeBytes, FACTORS};

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

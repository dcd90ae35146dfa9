//! How each block type becomes 16-bit integers. To add one: a type in a file below, and a row in `super::level`.
//!
//! A weight is `scale * code + least * minimum`. In a small block, 32 weights, the minimum is 1. In a large one, 256
//! weights, each group has a minimum, and each code is the file's code times the small scale of its group, which fits
//! into 16 bits for every type.

mod fives;
mod fours;
mod k_quants;

use super::shorts::Shorts;

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

/// Minima of a large block: one for each 16 weights.
pub(super) const MINIMA: usize = 16;

/// A type of block.
pub(super) trait CodeFormat {
    /// Its number in files.
    const NUMBER: u32;
    const SIZE: BlockSize;
    /// Bytes of a block.
    const BYTES: usize;
    const HAS_MINIMA: bool;
    /// What is taken from each code of a small block. GEMV takes it from the sum instead.
    const OFFSET: i32 = 0;

    /// `scale` of a block.
    fn scale<S: Shorts>(block: &[u8]) -> f32;

    /// `least` of a block.
    #[inline(always)]
    fn least<S: Shorts>(_block: &[u8]) -> f32 {
        0.0
    }

    /// The minima of a large block, in the order of [`Shorts::factors`].
    #[inline(always)]
    fn minima<S: Shorts>(_block: &[u8]) -> S {
        S::factors([0; 16])
    }

    /// Gives all codes of a block to `sink`, before `OFFSET` is taken: of each 32 weights the 16 at even places, then the
    /// 16 at odd ones.
    fn unpack<S: Shorts>(block: &[u8], sink: &mut impl Sink<S>);
}

/// What is done with codes. It is not a closure, since only a function can be inlined for certain: the instructions of
/// `S` exist only in the function that enables them.
pub(super) trait Sink<S> {
    fn take(&mut self, part: usize, codes: S);
}

/// Gives the codes of group `group`, 32 weights.
#[inline(always)]
fn take_two<S>(sink: &mut impl Sink<S>, group: usize, [even, odd]: [S; 2]) {
    sink.take(2 * group, even);
    sink.take(2 * group + 1, odd);
}

/// The IEEE half at byte `at`.
#[inline(always)]
fn half_at<S: Shorts>(block: &[u8], at: usize) -> f32 {
    S::half(u16::from_le_bytes([block[at], block[at + 1]]))
}

pub(super) struct Q8_0;

impl CodeFormat for Q8_0 {
    const NUMBER: u32 = 8;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 34;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn scale<S: Shorts>(block: &[u8]) -> f32 {
        half_at::<S>(block, 0)
    }

    #[inline(always)]
    fn unpack<S: Shorts>(block: &[u8], sink: &mut impl Sink<S>) {
        take_two(sink, 0, S::signed_bytes(&block[2..]));
    }
}

//! Five bits a weight: four as in the blocks of four, and the fifth of weight `i` in bit `i` of 32.

use super::super::bytes::CodeBytes;
use super::{BlockSize, CodeFormat, Sink, half_at};

/// The codes of a block. `bits` are 4 bytes, `bytes` 16.
#[inline(always)]
fn codes<B: CodeBytes>(bits: &[u8], bytes: &[u8]) -> B {
    B::halves(bytes).or(B::spread(u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]), 16))
}

pub(in super::super) struct Q5_0;

impl CodeFormat for Q5_0 {
    const NUMBER: u32 = 6;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 22;
    const HAS_MINIMA: bool = false;
    const OFFSET: i32 = 16;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        sink.take(0, codes::<B>(&block[2..6], &block[6..]));
    }
}

pub(in super::super) struct Q5_1;

impl CodeFormat for Q5_1 {
    const NUMBER: u32 = 7;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 24;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn least<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 2)
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        sink.take(0, codes::<B>(&block[4..8], &block[8..]));
    }
}

//! Five bits a weight: four as in the blocks of four, and the fifth of weight `i` in bit `i` of 32.

use super::super::shorts::Shorts;
use super::{BlockSize, CodeFormat, Sink, half_at, take_two};

/// The codes of a block. `bits` are 4 bytes, `bytes` 16.
#[inline(always)]
fn codes<S: Shorts>(bits: &[u8], bytes: &[u8]) -> [S; 2] {
    S::fives(bytes, u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]))
}

pub(in super::super) struct Q5_0;

impl CodeFormat for Q5_0 {
    const NUMBER: u32 = 6;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 22;
    const HAS_MINIMA: bool = false;
    const OFFSET: i32 = 16;

    #[inline(always)]
    fn scale<S: Shorts>(block: &[u8]) -> f32 {
        half_at::<S>(block, 0)
    }

    #[inline(always)]
    fn unpack<S: Shorts>(block: &[u8], sink: &mut impl Sink<S>) {
        take_two(sink, 0, codes::<S>(&block[2..6], &block[6..]));
    }
}

pub(in super::super) struct Q5_1;

impl CodeFormat for Q5_1 {
    const NUMBER: u32 = 7;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 24;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn scale<S: Shorts>(block: &[u8]) -> f32 {
        half_at::<S>(block, 0)
    }

    #[inline(always)]
    fn least<S: Shorts>(block: &[u8]) -> f32 {
        half_at::<S>(block, 2)
    }

    #[inline(always)]
    fn unpack<S: Shorts>(block: &[u8], sink: &mut impl Sink<S>) {
        take_two(sink, 0, codes::<S>(&block[4..8], &block[8..]));
    }
}

//! Four bits a weight. In 16 bytes the low halves are weights 0 to 15, the high halves 16 to 31.

use super::super::bytes::CodeBytes;
use super::{BlockSize, CodeFormat, RepackedFormat, Sink, half_at, word_at};

/// What the codes of the IQ4 types stand for.
const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice what the codes of FP4 (E2M1) stand for; the scale is halved instead.
const FP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(in super::super) struct Q4_0;

impl CodeFormat for Q4_0 {
    const NUMBER: u32 = 2;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 18;
    const HAS_MINIMA: bool = false;
    const OFFSET: i32 = 8;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        sink.take(0, B::halves(&block[2..]));
    }
}

pub(in super::super) struct Q4_1;

impl CodeFormat for Q4_1 {
    const NUMBER: u32 = 3;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 20;
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
        sink.take(0, B::halves(&block[4..]));
    }
}

/// Low halves of the words from byte `from`, then their high halves. The sums of eight products of pairs are at most
/// 8 * 2 * 15 * 127, which 16 bits hold.
#[inline(always)]
fn half_word<B: CodeBytes>(block: &[u8], from: usize, word: usize) -> B {
    let both: B = word_at(block, from, word % 4);
    if word < 4 { both.and(15) } else { both.shr(4, 15) }
}

impl RepackedFormat for Q4_0 {
    const WORDS_IN_16_BITS: usize = 8;

    #[inline(always)]
    fn word<B: CodeBytes>(block: &[u8], _first: usize, _own: usize, word: usize) -> B {
        half_word(block, 16, word)
    }
}

impl RepackedFormat for Q4_1 {
    const WORDS_IN_16_BITS: usize = 8;

    #[inline(always)]
    fn word<B: CodeBytes>(block: &[u8], _first: usize, _own: usize, word: usize) -> B {
        half_word(block, 32, word)
    }
}

pub(in super::super) struct Iq4Nl;

impl CodeFormat for Iq4Nl {
    const NUMBER: u32 = 20;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 18;
    const HAS_MINIMA: bool = false;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        sink.take(0, B::halves(&block[2..]).look_up(&IQ4_VALUES));
    }
}

pub(in super::super) struct Mxfp4;

impl CodeFormat for Mxfp4 {
    const NUMBER: u32 = 39;
    const SIZE: BlockSize = BlockSize::Small;
    const BYTES: usize = 17;
    const HAS_MINIMA: bool = false;
    const IS_SIGNED: bool = true;

    /// `2^(exponent - 127) / 2`.
    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        let exponent = u32::from(block[0]);
        f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 })
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        sink.take(0, B::halves(&block[1..]).look_up(&FP4_VALUES));
    }
}

pub(in super::super) struct Iq4Xs;

impl CodeFormat for Iq4Xs {
    const NUMBER: u32 = 23;
    const SIZE: BlockSize = BlockSize::Large;
    const BYTES: usize = 136;
    const HAS_MINIMA: bool = false;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn scale<B: CodeBytes>(block: &[u8]) -> f32 {
        half_at::<B>(block, 0)
    }

    #[inline(always)]
    fn factors<B: CodeBytes>(block: &[u8]) -> B::Factors {
        let upper = u16::from_le_bytes([block[2], block[3]]);
        let mut factors = [0; 8];
        for (group, factor) in factors.iter_mut().enumerate() {
            let lower = block[4 + group / 2] >> (4 * (group % 2)) & 15;
            *factor = (lower | ((upper >> (2 * group) & 3) << 4) as u8).cast_signed() - 32;
        }
        B::double_factors(factors)
    }

    #[inline(always)]
    fn unpack<B: CodeBytes>(block: &[u8], sink: &mut impl Sink<B>) {
        for group in 0..8 {
            sink.take(group, B::halves(&block[8 + 16 * group..]).look_up(&IQ4_VALUES));
        }
    }
}

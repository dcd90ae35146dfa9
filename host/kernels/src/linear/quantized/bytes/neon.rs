//! Codes in two registers of NEON, and with `DOT` the products of the dot product extension.

use std::arch::aarch64 as arm;
use std::arch::asm;

use super::{CODES, CodeBytes, FACTORS, GROUP, doubled_factors, factors_in_turns};

#[derive(Clone, Copy)]
pub(in super::super) struct NeonBytes<const DOT: bool>([arm::uint8x16_t; 2]);

impl<const DOT: bool> NeonBytes<DOT> {
    #[inline(always)]
    fn each(self, of: impl Fn(arm::uint8x16_t) -> arm::uint8x16_t) -> Self {
        Self(self.0.map(of))
    }

    /// Sums of the products of each half of the codes. Unsigned codes are below 64, so that they are signed ones, too.
    #[inline(always)]
    fn half_products(self, inputs: &[i8; CODES]) -> [arm::int32x4_t; 2] {
        // SAFETY: every AArch64 processor has NEON; `inputs` has the 32 bytes that are read.
        unsafe {
            let inputs = [arm::vld1q_s8(inputs.as_ptr()), arm::vld1q_s8(inputs.as_ptr().add(16))];
            let codes = self.0.map(|codes| arm::vreinterpretq_s8_u8(codes));
            [dots::<DOT>(codes[0], inputs[0]), dots::<DOT>(codes[1], inputs[1])]
        }
    }
}

/// Partial sums of 16 products.
#[inline(always)]
fn dots<const DOT: bool>(a: arm::int8x16_t, b: arm::int8x16_t) -> arm::int32x4_t {
    // SAFETY: every AArch64 processor has NEON; the caller enabled the dot product extension for `DOT`, whose instruction
    // has no other effect. (Its intrinsic is not stable.)
    unsafe {
        if DOT {
            let mut sums = arm::vdupq_n_s32(0);
            asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sums, in(vreg) a, in(vreg) b,
                options(pure, nomem, nostack));
            return sums;
        }
        // Two products are at most 2 * 128 * 127, which 16 bits hold.
        let low = arm::vmull_s8(arm::vget_low_s8(a), arm::vget_low_s8(b));
        let pairs = arm::vmlal_high_s8(low, a, b);
        arm::vpaddlq_s16(pairs)
    }
}

impl<const DOT: bool> CodeBytes for NeonBytes<DOT> {
    type Sums = arm::int32x4_t;
    type Factors = [i16; FACTORS];

    #[inline(always)]
    fn half(bits: u16) -> f32 {
        // SAFETY: every AArch64 processor has NEON; the conversion has no other effect. (Its intrinsic is not stable.)
        unsafe {
            let value: f32;
            asm!("fcvt {0:s}, {1:h}", out(vreg) value, in(vreg) bits.cast_signed(), options(pure, nomem, nostack));
            value
        }
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the slice has the 32 bytes that are read.
        unsafe {
            let bytes = &bytes[..CODES];
            Self([arm::vld1q_u8(bytes.as_ptr()), arm::vld1q_u8(bytes.as_ptr().add(16))])
        }
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the slice has the 16 bytes that are read.
        unsafe {
            let bytes = &bytes[..16];
            let both = arm::vld1q_u8(bytes.as_ptr());
            Self([arm::vandq_u8(both, arm::vdupq_n_u8(15)), arm::vshrq_n_u8::<4>(both)])
        }
    }

    #[inline(always)]
    fn spread(bits: u32, value: u8) -> Self {
        // SAFETY: every AArch64 processor has NEON; `places` has the 16 bytes that are read.
        unsafe {
            const PLACES: [[u8; 16]; 2] =
                [[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]];
            let bytes = arm::vreinterpretq_u8_u32(arm::vdupq_n_u32(bits));
            let masks = arm::vreinterpretq_u8_u64(arm::vdupq_n_u64(0x8040_2010_0804_0201));
            Self(PLACES.map(|places| {
                let places = arm::vld1q_u8(places.as_ptr());
                // A byte for each code, with the byte of its bit.
                let set = arm::vtstq_u8(arm::vqtbl1q_u8(bytes, places), masks);
                arm::vandq_u8(set, arm::vdupq_n_u8(value))
            }))
        }
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the table has the 16 bytes that are read.
        unsafe {
            let table = arm::vreinterpretq_u8_s8(arm::vld1q_s8(table.as_ptr()));
            self.each(|places| arm::vqtbl1q_u8(table, places))
        }
    }

    #[inline(always)]
    fn and(self, mask: u8) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { self.each(|bytes| arm::vandq_u8(bytes, arm::vdupq_n_u8(mask))) }
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { Self([arm::vorrq_u8(self.0[0], other.0[0]), arm::vorrq_u8(self.0[1], other.0[1])]) }
    }

    #[inline(always)]
    fn shr(self, bits: usize, mask: u8) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe {
            // Fewer than 8 bits. A shift to the right is one to the left by a negative number.
            self.each(|bytes| arm::vshlq_u8(bytes, arm::vdupq_n_s8(-(bits as i8)))).and(mask)
        }
    }

    #[inline(always)]
    fn shl(self, bits: usize, mask: u8) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { self.each(|bytes| arm::vshlq_u8(bytes, arm::vdupq_n_s8(bits as i8))).and(mask) }
    }

    #[inline(always)]
    fn put(self) -> [u8; CODES] {
        // SAFETY: every AArch64 processor has NEON; `out` has room for the 32 bytes that are written.
        unsafe {
            let mut out = [0; CODES];
            arm::vst1q_u8(out.as_mut_ptr(), self.0[0]);
            arm::vst1q_u8(out.as_mut_ptr().add(16), self.0[1]);
            out
        }
    }

    #[inline(always)]
    fn factors(factors: [i8; FACTORS]) -> [i16; FACTORS] {
        factors_in_turns(factors)
    }

    #[inline(always)]
    fn double_factors(factors: [i8; FACTORS / 2]) -> [i16; FACTORS] {
        doubled_factors(factors)
    }

    #[inline(always)]
    fn put_factors(factors: [i16; FACTORS]) -> [i16; FACTORS] {
        factors
    }

    #[inline(always)]
    fn none() -> arm::int32x4_t {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { arm::vdupq_n_s32(0) }
    }

    #[inline(always)]
    fn products(self, _is_signed: bool, inputs: &[i8; CODES]) -> arm::int32x4_t {
        // SAFETY: every AArch64 processor has NEON.
        unsafe {
            let [first, second] = self.half_products(inputs);
            arm::vaddq_s32(first, second)
        }
    }

    #[inline(always)]
    fn plus_scaled(
        self,
        _is_signed: bool,
        inputs: &[i8; CODES],
        factors: [i16; FACTORS],
        group: usize,
        sums: arm::int32x4_t,
    ) -> arm::int32x4_t {
        // SAFETY: every AArch64 processor has NEON.
        unsafe {
            let [first, second] = self.half_products(inputs);
            let [even, odd] = [group, group + FACTORS / 2].map(|at| i32::from(factors[at]));
            arm::vmlaq_n_s32(arm::vmlaq_n_s32(sums, first, even), second, odd)
        }
    }

    #[inline(always)]
    fn factor_products(factors: [i16; FACTORS], numbers: &[i16; FACTORS]) -> arm::int32x4_t {
        // SAFETY: every AArch64 processor has NEON; both arrays have the 16 numbers that are read.
        unsafe {
            let [a, b, x, y] = {
                [
                    arm::vld1q_s16(factors.as_ptr()),
                    arm::vld1q_s16(factors.as_ptr().add(8)),
                    arm::vld1q_s16(numbers.as_ptr()),
                    arm::vld1q_s16(numbers.as_ptr().add(8)),
                ]
            };
            let sums = arm::vmull_s16(arm::vget_low_s16(a), arm::vget_low_s16(x));
            let sums = arm::vmlal_high_s16(sums, a, x);
            let sums = arm::vmlal_s16(sums, arm::vget_low_s16(b), arm::vget_low_s16(y));
            arm::vmlal_high_s16(sums, b, y)
        }
    }

    #[inline(always)]
    fn joined(a: arm::int32x4_t, b: arm::int32x4_t) -> arm::int32x4_t {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { arm::vaddq_s32(a, b) }
    }

    #[inline(always)]
    fn totals(sums: &[arm::int32x4_t; GROUP]) -> [i32; GROUP] {
        // SAFETY: every AArch64 processor has NEON; `out` has room for the 8 numbers that are written.
        unsafe {
            let pairs = [0, 2, 4, 6].map(|at| arm::vpaddq_s32(sums[at], sums[at + 1]));
            let mut out = [0; GROUP];
            arm::vst1q_s32(out.as_mut_ptr(), arm::vpaddq_s32(pairs[0], pairs[1]));
            arm::vst1q_s32(out.as_mut_ptr().add(4), arm::vpaddq_s32(pairs[2], pairs[3]));
            out
        }
    }
}

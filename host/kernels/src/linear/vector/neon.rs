//! A vector of two registers of NEON, which every AArch64 processor has.

use std::arch::aarch64 as arm;
use std::arch::asm;

use super::{Vector, widen};

#[derive(Clone, Copy)]
pub(crate) struct Neon(pub(in crate::linear) [arm::float32x4_t; 2]);

impl Neon {
    #[inline(always)]
    fn zip(self, other: Self, of: impl Fn(arm::float32x4_t, arm::float32x4_t) -> arm::float32x4_t) -> Self {
        Self([of(self.0[0], other.0[0]), of(self.0[1], other.0[1])])
    }
}

impl Vector for Neon {
    const LANES: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { Self([arm::vdupq_n_f32(value); 2]) }
    }

    #[inline(always)]
    fn pair<const PAIR: usize>(bytes: &[u8; PAIR]) -> [Self; 2] {
        let (one, two) = bytes.split_at(PAIR / 2);
        match PAIR {
            4 => [Self::splat(widen::<2>(one)), Self::splat(widen::<2>(two))],
            _ => [Self::splat(widen::<4>(one)), Self::splat(widen::<4>(two))],
        }
    }

    #[inline(always)]
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the slice has the 32 or 16 bytes that are read, at any alignment.
        unsafe {
            let bytes = &bytes[..8 * SIZE];
            if SIZE == 4 {
                return Self([load_floats(bytes.as_ptr()), load_floats(bytes.as_ptr().add(16))]);
            }
            let narrow = arm::vreinterpretq_u16_u8(arm::vld1q_u8(bytes.as_ptr()));
            // BF16 has the upper half of the bits.
            let (low, high) = (arm::vshll_n_u16::<16>(arm::vget_low_u16(narrow)), arm::vshll_high_n_u16::<16>(narrow));
            Self([arm::vreinterpretq_f32_u32(low), arm::vreinterpretq_f32_u32(high)])
        }
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the slice has the 16 bytes that are read, at any alignment; the
        // conversions have no other effect. (The intrinsics for them are not stable.)
        unsafe {
            let bytes = &bytes[..16];
            let (low, high): (arm::float32x4_t, arm::float32x4_t);
            let narrow = arm::vld1q_u8(bytes.as_ptr());
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) low, in(vreg) narrow, options(pure, nomem, nostack));
            asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) high, in(vreg) narrow, options(pure, nomem, nostack));
            Self([low, high])
        }
    }

    #[inline(always)]
    fn bytes(bytes: &[i8]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the slice has the 8 bytes that are read.
        unsafe {
            let bytes = &bytes[..8];
            let wide = arm::vmovl_s8(arm::vld1_s8(bytes.as_ptr()));
            let (low, high) = (arm::vmovl_s16(arm::vget_low_s16(wide)), arm::vmovl_high_s16(wide));
            Self([arm::vcvtq_f32_s32(low), arm::vcvtq_f32_s32(high)])
        }
    }

    #[inline(always)]
    fn inputs(values: &[f32]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the slice has the 8 values that are read.
        unsafe {
            let values = &values[..8];
            Self([arm::vld1q_f32(values.as_ptr()), arm::vld1q_f32(values.as_ptr().add(4))])
        }
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { Self([arm::vfmaq_f32(self.0[0], a.0[0], b.0[0]), arm::vfmaq_f32(self.0[1], a.0[1], b.0[1])]) }
    }

    #[inline(always)]
    fn times(self, a: Self) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { self.zip(a, |x, y| arm::vmulq_f32(x, y)) }
    }

    #[inline(always)]
    fn plus(self, a: Self) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { self.zip(a, |x, y| arm::vaddq_f32(x, y)) }
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn put(self, out: &mut [f32]) {
        // SAFETY: every AArch64 processor has NEON; the slice has room for the 8 values that are written.
        unsafe {
            let out = &mut out[..8];
            arm::vst1q_f32(out.as_mut_ptr(), self.0[0]);
            arm::vst1q_f32(out.as_mut_ptr().add(4), self.0[1]);
        }
    }

    #[inline(always)]
    fn put_stored(self, out: &mut [u8]) {
        // SAFETY: every AArch64 processor has NEON; the slice has room for the 32 bytes that are written, at any alignment.
        unsafe {
            let out = &mut out[..32];
            arm::vst1q_u8(out.as_mut_ptr(), arm::vreinterpretq_u8_f32(self.0[0]));
            arm::vst1q_u8(out.as_mut_ptr().add(16), arm::vreinterpretq_u8_f32(self.0[1]));
        }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0_f32; 8];
        self.put(&mut lanes);
        lanes.iter().sum()
    }
}

/// # Safety
/// There are 16 bytes, at any alignment.
#[inline(always)]
// SAFETY: the caller's promise is the only requirement.
unsafe fn load_floats(bytes: *const u8) -> arm::float32x4_t {
    // SAFETY: every AArch64 processor has NEON; the caller's promise.
    unsafe { arm::vreinterpretq_f32_u8(arm::vld1q_u8(bytes)) }
}

//! A vector register of 32-bit integers: one type for each instruction set.
//!
//! All products here are of 16-bit integers, of two pairs at a time: x86 has one instruction that multiplies them and
//! adds each pair in 32 bits, without saturation.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64 as arm;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;

#[cfg(target_arch = "aarch64")]
use super::super::vector::Neon;
#[cfg(target_arch = "x86_64")]
use super::super::vector::{Avx2, Avx512};
use super::super::vector::{Plain, Vector};

/// A register of 32-bit integers. It is used only in functions that enable its instructions (`super::level`).
pub(super) trait Integers: Copy {
    /// The register of as many f32.
    type Floats: Vector;
    fn zero() -> Self;
    /// The same pair in every lane.
    fn splat(pair: [i16; 2]) -> Self;
    /// A pair for each lane from the start of `pairs`, which has at least as many.
    fn load(pairs: &[[i16; 2]]) -> Self;
    /// Adds to each lane the products of the two numbers of the pair in it.
    fn plus_pairs(self, a: Self, b: Self) -> Self;
    fn floats(self) -> Self::Floats;
}

/// Portable code, which the compiler vectorises as it can.
#[derive(Clone, Copy)]
pub(super) struct PlainIntegers([i32; 8]);

impl Integers for PlainIntegers {
    type Floats = Plain;

    #[inline(always)]
    fn zero() -> Self {
        Self([0; 8])
    }

    #[inline(always)]
    fn splat([low, high]: [i16; 2]) -> Self {
        Self([i32::from(low.cast_unsigned()) | i32::from(high) << 16; 8])
    }

    #[inline(always)]
    fn load(pairs: &[[i16; 2]]) -> Self {
        Self(std::array::from_fn(|lane| i32::from(pairs[lane][0].cast_unsigned()) | i32::from(pairs[lane][1]) << 16))
    }

    #[inline(always)]
    fn plus_pairs(self, a: Self, b: Self) -> Self {
        let low = |pair: i32| pair << 16 >> 16;
        Self(std::array::from_fn(|lane| {
            self.0[lane] + low(a.0[lane]) * low(b.0[lane]) + (a.0[lane] >> 16) * (b.0[lane] >> 16)
        }))
    }

    #[inline(always)]
    fn floats(self) -> Plain {
        Plain::inputs(&self.0.map(|sum| sum as f32))
    }
}

/// AVX2, and with `VNNI` also AVX-VNNI.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Integers256<const VNNI: bool>(x86::__m256i);

#[cfg(target_arch = "x86_64")]
impl<const VNNI: bool> Integers256<VNNI> {
    #[inline(always)]
    fn pairs_of(numbers: &[i16]) -> Self {
        let numbers = &numbers[..16];
        // SAFETY: the caller enabled AVX2; the slice above has the 32 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm256_loadu_si256(numbers.as_ptr().cast()) })
    }
}

#[cfg(target_arch = "x86_64")]
impl<const VNNI: bool> Integers for Integers256<VNNI> {
    type Floats = Avx2;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_setzero_si256() })
    }

    #[inline(always)]
    fn splat([low, high]: [i16; 2]) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_set1_epi32(i32::from(low.cast_unsigned()) | i32::from(high) << 16) })
    }

    #[inline(always)]
    fn load(pairs: &[[i16; 2]]) -> Self {
        Self::pairs_of(pairs[..8].as_flattened())
    }

    #[inline(always)]
    fn plus_pairs(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller enabled AVX2, and AVX-VNNI for `VNNI`.
        Self(unsafe {
            match VNNI {
                true => x86::_mm256_dpwssd_avx_epi32(self.0, a.0, b.0),
                false => x86::_mm256_add_epi32(self.0, x86::_mm256_madd_epi16(a.0, b.0)),
            }
        })
    }

    #[inline(always)]
    fn floats(self) -> Avx2 {
        // SAFETY: the caller enabled AVX2.
        Avx2(unsafe { x86::_mm256_cvtepi32_ps(self.0) })
    }
}

/// AVX-512 with VNNI.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Integers512(x86::__m512i);

#[cfg(target_arch = "x86_64")]
impl Integers512 {
    #[inline(always)]
    fn pairs_of(numbers: &[i16]) -> Self {
        let numbers = &numbers[..32];
        // SAFETY: the caller enabled AVX-512F; the slice above has the 64 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm512_loadu_si512(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    pub(super) fn of(numbers: &[i32; 16]) -> Self {
        // SAFETY: the caller enabled AVX-512F; the array has the 64 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm512_loadu_si512(numbers.as_ptr().cast()) })
    }

    #[inline(always)]
    pub(super) fn plus(self, other: Self) -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_add_epi32(self.0, other.0) })
    }

    /// `self + 256 * high`.
    #[inline(always)]
    pub(super) fn plus_high(self, high: Self) -> Self {
        // SAFETY: the caller enabled AVX-512F.
        self.plus(Self(unsafe { x86::_mm512_slli_epi32::<8>(high.0) }))
    }
}

#[cfg(target_arch = "x86_64")]
impl Integers for Integers512 {
    type Floats = Avx512;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_setzero_si512() })
    }

    #[inline(always)]
    fn splat([low, high]: [i16; 2]) -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_set1_epi32(i32::from(low.cast_unsigned()) | i32::from(high) << 16) })
    }

    #[inline(always)]
    fn load(pairs: &[[i16; 2]]) -> Self {
        Self::pairs_of(pairs[..16].as_flattened())
    }

    #[inline(always)]
    fn plus_pairs(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller enabled AVX512-VNNI.
        Self(unsafe { x86::_mm512_dpwssd_epi32(self.0, a.0, b.0) })
    }

    #[inline(always)]
    fn floats(self) -> Avx512 {
        // SAFETY: the caller enabled AVX-512F.
        Avx512(unsafe { x86::_mm512_cvtepi32_ps(self.0) })
    }
}

/// Two registers of NEON.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub(super) struct NeonIntegers([arm::int32x4_t; 2]);

#[cfg(target_arch = "aarch64")]
impl Integers for NeonIntegers {
    type Floats = Neon;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { Self([arm::vdupq_n_s32(0); 2]) }
    }

    #[inline(always)]
    fn splat([low, high]: [i16; 2]) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { Self([arm::vdupq_n_s32(i32::from(low.cast_unsigned()) | i32::from(high) << 16); 2]) }
    }

    #[inline(always)]
    fn load(pairs: &[[i16; 2]]) -> Self {
        // SAFETY: every AArch64 processor has NEON; the slice above has the 16 numbers that are read.
        unsafe {
            let numbers = &pairs.as_flattened()[..16];
            let pairs = [arm::vld1q_s16(numbers.as_ptr()), arm::vld1q_s16(numbers.as_ptr().add(8))];
            Self(pairs.map(|pairs| arm::vreinterpretq_s32_s16(pairs)))
        }
    }

    #[inline(always)]
    fn plus_pairs(self, a: Self, b: Self) -> Self {
        // SAFETY: every AArch64 processor has NEON.
        unsafe {
            Self(std::array::from_fn(|at| {
                let [a, b] = [a.0[at], b.0[at]].map(|pairs| arm::vreinterpretq_s16_s32(pairs));
                let low = arm::vmull_s16(arm::vget_low_s16(a), arm::vget_low_s16(b));
                arm::vaddq_s32(self.0[at], arm::vpaddq_s32(low, arm::vmull_high_s16(a, b)))
            }))
        }
    }

    #[inline(always)]
    fn floats(self) -> Neon {
        // SAFETY: every AArch64 processor has NEON.
        unsafe { Neon(self.0.map(|sums| arm::vcvtq_f32_s32(sums))) }
    }
}

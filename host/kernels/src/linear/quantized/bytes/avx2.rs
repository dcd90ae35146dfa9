//! Codes in a register of AVX2. With `VNNI` the processor also has AVX512-VNNI and AVX-512VL.

use std::arch::x86_64 as x86;

use super::{CODES, CodeBytes, FACTORS, GROUP};

#[derive(Clone, Copy)]
pub(in super::super) struct Avx2Bytes<const VNNI: bool>(pub(super) x86::__m256i);

impl<const VNNI: bool> Avx2Bytes<VNNI> {
    #[inline(always)]
    fn of(inputs: &[i8; CODES]) -> Self {
        // SAFETY: the caller enabled AVX2; `inputs` has the 32 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm256_loadu_si256(inputs.as_ptr().cast()) })
    }

    /// Sums of the products of neighbours, of 16 bits: at most 2 * 128 * 127, so they do not saturate.
    #[inline(always)]
    pub(super) fn pair_products(self, is_signed: bool, inputs: Self) -> x86::__m256i {
        let inputs = inputs.0;
        // SAFETY: the caller enabled AVX2.
        unsafe {
            match is_signed {
                // The instruction takes one unsigned factor: the sign of a code goes to its input.
                true => x86::_mm256_maddubs_epi16(x86::_mm256_abs_epi8(self.0), x86::_mm256_sign_epi8(inputs, self.0)),
                false => x86::_mm256_maddubs_epi16(self.0, inputs),
            }
        }
    }
}

impl<const VNNI: bool> CodeBytes for Avx2Bytes<VNNI> {
    const WIDE: bool = VNNI;
    type Sums = x86::__m256i;
    type Factors = x86::__m256i;

    #[inline(always)]
    fn half(bits: u16) -> f32 {
        // SAFETY: the caller enabled F16C.
        unsafe { x86::_mm_cvtss_f32(x86::_mm_cvtph_ps(x86::_mm_cvtsi32_si128(i32::from(bits)))) }
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Self {
        let bytes = &bytes[..CODES];
        // SAFETY: the caller enabled AVX2; the slice above has the 32 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm256_loadu_si256(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> Self {
        let bytes = &bytes[..16];
        // SAFETY: the caller enabled AVX2; the slice above has the 16 bytes that are read, at any alignment.
        let both = unsafe {
            let both = x86::_mm256_broadcastsi128_si256(x86::_mm_loadu_si128(bytes.as_ptr().cast()));
            // High halves move to the low ones in the upper part of the register.
            x86::_mm256_srlv_epi32(both, x86::_mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4))
        };
        Self(both).and(15)
    }

    #[inline(always)]
    fn spread(bits: u32, value: u8) -> Self {
        // SAFETY: the caller enabled AVX2.
        let set = unsafe {
            // A byte for each code, with the byte of its bit.
            let places =
                x86::_mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
            let spread = x86::_mm256_shuffle_epi8(x86::_mm256_set1_epi32(bits.cast_signed()), places);
            let masks = x86::_mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
            x86::_mm256_cmpeq_epi8(x86::_mm256_and_si256(spread, masks), masks)
        };
        Self(set).and(value)
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16]) -> Self {
        // SAFETY: the caller enabled AVX2; the table has the 16 bytes that are read, at any alignment.
        unsafe {
            let table = x86::_mm256_broadcastsi128_si256(x86::_mm_loadu_si128(table.as_ptr().cast()));
            Self(x86::_mm256_shuffle_epi8(table, self.0))
        }
    }

    #[inline(always)]
    fn and(self, mask: u8) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_and_si256(self.0, x86::_mm256_set1_epi8(mask.cast_signed())) })
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_or_si256(self.0, other.0) })
    }

    /// Bits of a neighbour that are shifted in are not in `mask`.
    #[inline(always)]
    fn shr(self, bits: usize, mask: u8) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_srl_epi16(self.0, x86::_mm_cvtsi32_si128(bits as i32)) }).and(mask)
    }

    #[inline(always)]
    fn shl(self, bits: usize, mask: u8) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_sll_epi16(self.0, x86::_mm_cvtsi32_si128(bits as i32)) }).and(mask)
    }

    #[inline(always)]
    fn put(self) -> [u8; CODES] {
        let mut out = [0; CODES];
        // SAFETY: the caller enabled AVX2; `out` has the 32 bytes that are written, at any alignment.
        unsafe { x86::_mm256_storeu_si256(out.as_mut_ptr().cast(), self.0) };
        out
    }

    #[inline(always)]
    fn factors(factors: [i8; FACTORS]) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2; the array has the 16 bytes that are read, at any alignment.
        unsafe {
            let factors = x86::_mm_loadu_si128(factors.as_ptr().cast());
            let even = x86::_mm_srai_epi16::<8>(x86::_mm_slli_epi16::<8>(factors));
            x86::_mm256_setr_m128i(even, x86::_mm_srai_epi16::<8>(factors))
        }
    }

    #[inline(always)]
    fn double_factors(factors: [i8; FACTORS / 2]) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2; the array has the 8 bytes that are read, at any alignment.
        unsafe {
            let factors = x86::_mm_cvtepi8_epi16(x86::_mm_loadl_epi64(factors.as_ptr().cast()));
            x86::_mm256_broadcastsi128_si256(factors)
        }
    }

    #[inline(always)]
    fn put_factors(factors: x86::__m256i) -> [i16; FACTORS] {
        let mut out = [0; FACTORS];
        // SAFETY: the caller enabled AVX2; `out` has the 32 bytes that are written, at any alignment.
        unsafe { x86::_mm256_storeu_si256(out.as_mut_ptr().cast(), factors) };
        out
    }

    #[inline(always)]
    fn none() -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe { x86::_mm256_setzero_si256() }
    }

    #[inline(always)]
    fn products(self, is_signed: bool, inputs: &[i8; CODES]) -> x86::__m256i {
        let inputs = Self::of(inputs);
        // SAFETY: the caller enabled AVX2, and AVX512-VNNI for `VNNI`.
        unsafe {
            match (VNNI, is_signed) {
                (false, _) => x86::_mm256_madd_epi16(self.pair_products(is_signed, inputs), x86::_mm256_set1_epi16(1)),
                (true, false) => x86::_mm256_dpbusd_epi32(Self::none(), self.0, inputs.0),
                (true, true) => {
                    let inputs = x86::_mm256_sign_epi8(inputs.0, self.0);
                    x86::_mm256_dpbusd_epi32(Self::none(), x86::_mm256_abs_epi8(self.0), inputs)
                }
            }
        }
    }

    #[inline(always)]
    fn plus_scaled(
        self,
        is_signed: bool,
        inputs: &[i8; CODES],
        factors: x86::__m256i,
        group: usize,
        sums: x86::__m256i,
    ) -> x86::__m256i {
        let place = 2 * (group as i16 & 7);
        // SAFETY: the caller enabled AVX2, and AVX512-VNNI for `VNNI`.
        unsafe {
            // The factor at this place of each half of the register goes to all of that half.
            let places = x86::_mm256_set1_epi16(place | (place + 1) << 8);
            let factors = x86::_mm256_shuffle_epi8(factors, places);
            plus_pairs::<VNNI>(sums, self.pair_products(is_signed, Self::of(inputs)), factors)
        }
    }

    #[inline(always)]
    fn factor_products(factors: x86::__m256i, numbers: &[i16; FACTORS]) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2; `numbers` has the 32 bytes that are read, at any alignment.
        unsafe { x86::_mm256_madd_epi16(factors, x86::_mm256_loadu_si256(numbers.as_ptr().cast())) }
    }

    #[inline(always)]
    fn joined(a: x86::__m256i, b: x86::__m256i) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe { x86::_mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn totals(sums: &[x86::__m256i; GROUP]) -> [i32; GROUP] {
        let mut out = [0; GROUP];
        // SAFETY: the caller enabled AVX2; `out` has the 32 bytes that are written, at any alignment.
        unsafe {
            let first = added_64(added_32(sums[0], sums[1]), added_32(sums[2], sums[3]));
            let last = added_64(added_32(sums[4], sums[5]), added_32(sums[6], sums[7]));
            // Each half of these has a part of the sums of four blocks.
            let low = x86::_mm256_permute2x128_si256::<0x20>(first, last);
            let high = x86::_mm256_permute2x128_si256::<0x31>(first, last);
            x86::_mm256_storeu_si256(out.as_mut_ptr().cast(), x86::_mm256_add_epi32(low, high));
        }
        out
    }
}

/// Adds the products of both numbers of 16 bits in each lane.
///
/// # Safety
/// The processor has AVX2, and AVX512-VNNI with AVX-512VL for `VNNI`.
#[inline(always)]
// SAFETY: the caller's promise is the only requirement.
pub(super) unsafe fn plus_pairs<const VNNI: bool>(
    sums: x86::__m256i,
    a: x86::__m256i,
    b: x86::__m256i,
) -> x86::__m256i {
    // SAFETY: the caller enabled what the instruction needs.
    unsafe {
        match VNNI {
            true => x86::_mm256_dpwssd_epi32(sums, a, b),
            false => x86::_mm256_add_epi32(sums, x86::_mm256_madd_epi16(a, b)),
        }
    }
}

/// Sums of two neighbours of `a` and of `b`, in turns.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
// SAFETY: the caller's promise is the only requirement.
unsafe fn added_32(a: x86::__m256i, b: x86::__m256i) -> x86::__m256i {
    // SAFETY: the caller enabled AVX2.
    unsafe { x86::_mm256_add_epi32(x86::_mm256_unpacklo_epi32(a, b), x86::_mm256_unpackhi_epi32(a, b)) }
}

/// As [`added_32`], for pairs of sums.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
// SAFETY: the caller's promise is the only requirement.
unsafe fn added_64(a: x86::__m256i, b: x86::__m256i) -> x86::__m256i {
    // SAFETY: the caller enabled AVX2.
    unsafe { x86::_mm256_add_epi32(x86::_mm256_unpacklo_epi64(a, b), x86::_mm256_unpackhi_epi64(a, b)) }
}

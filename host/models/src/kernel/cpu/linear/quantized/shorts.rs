//! Sixteen 16-bit integers: one type for each instruction set. Block types are unpacked to them.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;

/// Numbers in a register.
pub(super) const SHORTS: usize = 16;
/// Blocks of 32 whose sums are made together.
pub(super) const GROUP: usize = 8;

/// Sixteen 16-bit integers. It is used only in functions that enable its instructions (`super::level`).
pub(super) trait Shorts: Copy {
    /// Partial sums of products, of 32 bits.
    type Sums: Copy;
    /// An IEEE half with these bits.
    fn half(bits: u16) -> f32;
    /// The first 32 bytes as 16 pairs, of which the first byte is the lower one.
    fn pairs(bytes: &[u8]) -> Self;
    /// The first 16 bytes, of which each half of a byte is a number: the low halves are numbers 0 to 15 and the high
    /// ones 16 to 31. Returns the numbers at even places and those at odd ones.
    fn halves(bytes: &[u8]) -> [Self; 2];
    /// The first 32 bytes, which are signed: those at even places and those at odd ones.
    fn signed_bytes(bytes: &[u8]) -> [Self; 2];
    /// As [`Shorts::halves`], and 16 more where the bit of a number is set.
    fn fives(bytes: &[u8], bits: u32) -> [Self; 2];
    /// As [`Shorts::halves`], of the numbers at these places of `table`.
    fn looked_up(bytes: &[u8], table: &[i8; 16]) -> [Self; 2];
    fn and(self, mask: i16) -> Self;
    fn or(self, other: Self) -> Self;
    /// Shifts to the right, with zeros.
    fn shr(self, bits: usize) -> Self;
    fn shl(self, bits: usize) -> Self;
    fn minus(self, number: i16) -> Self;
    /// Factors for the 16 groups of 16 of a block: those of even groups, then those of odd ones.
    fn factors(factors: [i8; 16]) -> Self;
    /// Factors for the 8 groups of 32 of a block.
    fn double_factors(factors: [i8; 8]) -> Self;
    /// The first eight numbers times the factor of group `2 * pair`, the others times that of the next group.
    fn times(self, factors: Self, pair: usize) -> Self;
    fn put(self, out: &mut [i16; SHORTS]);
    /// No products.
    fn none() -> Self::Sums;
    /// `sums` and the products with `inputs`.
    fn plus_products(self, inputs: &[i16; SHORTS], sums: Self::Sums) -> Self::Sums;
    fn joined(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    fn total(sums: Self::Sums) -> i32;
    fn totals(sums: &[Self::Sums; GROUP]) -> [i32; GROUP];
}

/// Portable code, which the compiler vectorises as it can.
#[derive(Clone, Copy)]
pub(super) struct PlainShorts([i16; SHORTS]);

impl Shorts for PlainShorts {
    type Sums = [i32; 4];

    #[inline(always)]
    fn half(bits: u16) -> f32 {
        half::f16::from_bits(bits).to_f32_const()
    }

    #[inline(always)]
    fn pairs(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|at| i16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]])))
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> [Self; 2] {
        let number = |at: usize| i16::from(if at < 16 { bytes[at] & 15 } else { bytes[at - 16] >> 4 });
        [0, 1].map(|odd| Self(std::array::from_fn(|at| number(2 * at + odd))))
    }

    #[inline(always)]
    fn signed_bytes(bytes: &[u8]) -> [Self; 2] {
        [0, 1].map(|odd| Self(std::array::from_fn(|at| i16::from(bytes[2 * at + odd].cast_signed()))))
    }

    #[inline(always)]
    fn fives(bytes: &[u8], bits: u32) -> [Self; 2] {
        let [even, odd] = Self::halves(bytes);
        let fifths = |odd: usize| Self(std::array::from_fn(|at| ((bits >> (2 * at + odd) & 1) << 4) as i16));
        [even.or(fifths(0)), odd.or(fifths(1))]
    }

    #[inline(always)]
    fn looked_up(bytes: &[u8], table: &[i8; 16]) -> [Self; 2] {
        Self::halves(bytes).map(|places| Self(places.0.map(|place| i16::from(table[(place & 15) as usize]))))
    }

    #[inline(always)]
    fn and(self, mask: i16) -> Self {
        Self(self.0.map(|number| number & mask))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    #[inline(always)]
    fn shr(self, bits: usize) -> Self {
        Self(self.0.map(|number| (number.cast_unsigned() >> bits).cast_signed()))
    }

    #[inline(always)]
    fn shl(self, bits: usize) -> Self {
        Self(self.0.map(|number| number << bits))
    }

    #[inline(always)]
    fn minus(self, number: i16) -> Self {
        Self(self.0.map(|own| own.wrapping_sub(number)))
    }

    #[inline(always)]
    fn factors(factors: [i8; 16]) -> Self {
        Self(std::array::from_fn(|at| i16::from(factors[2 * (at % 8) + at / 8])))
    }

    #[inline(always)]
    fn double_factors(factors: [i8; 8]) -> Self {
        Self(std::array::from_fn(|at| i16::from(factors[at % 8])))
    }

    #[inline(always)]
    fn times(self, factors: Self, pair: usize) -> Self {
        Self(std::array::from_fn(|at| self.0[at].wrapping_mul(factors.0[pair + at / 8 * 8])))
    }

    #[inline(always)]
    fn put(self, out: &mut [i16; SHORTS]) {
        *out = self.0;
    }

    #[inline(always)]
    fn none() -> [i32; 4] {
        [0; 4]
    }

    #[inline(always)]
    fn plus_products(self, inputs: &[i16; SHORTS], sums: [i32; 4]) -> [i32; 4] {
        std::array::from_fn(|lane| {
            let product = |at: usize| i32::from(self.0[at]) * i32::from(inputs[at]);
            sums[lane] + product(2 * lane) + product(2 * lane + 1) + product(2 * lane + 8) + product(2 * lane + 9)
        })
    }

    #[inline(always)]
    fn joined(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn total(sums: [i32; 4]) -> i32 {
        sums.iter().sum()
    }

    #[inline(always)]
    fn totals(sums: &[[i32; 4]; GROUP]) -> [i32; GROUP] {
        sums.map(Self::total)
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx2Shorts(x86::__m256i);

#[cfg(target_arch = "x86_64")]
impl Avx2Shorts {
    /// The signed bytes at even places, and those at odd ones.
    #[inline(always)]
    fn even_and_odd(bytes: x86::__m256i) -> [Self; 2] {
        // SAFETY: the caller enabled AVX2.
        unsafe {
            let even = x86::_mm256_srai_epi16::<8>(x86::_mm256_slli_epi16::<8>(bytes));
            [Self(even), Self(x86::_mm256_srai_epi16::<8>(bytes))]
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Shorts for Avx2Shorts {
    type Sums = x86::__m256i;

    #[inline(always)]
    fn half(bits: u16) -> f32 {
        // SAFETY: the caller enabled F16C.
        unsafe { x86::_mm_cvtss_f32(x86::_mm_cvtph_ps(x86::_mm_cvtsi32_si128(i32::from(bits)))) }
    }

    #[inline(always)]
    fn pairs(bytes: &[u8]) -> Self {
        let bytes = &bytes[..32];
        // SAFETY: the caller enabled AVX2; the slice above has the 32 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm256_loadu_si256(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> [Self; 2] {
        // SAFETY: the caller enabled AVX2.
        let codes = Self(unsafe { half_bytes(bytes) });
        [codes.and(255), codes.shr(8)]
    }

    #[inline(always)]
    fn signed_bytes(bytes: &[u8]) -> [Self; 2] {
        Self::even_and_odd(Self::pairs(bytes).0)
    }

    #[inline(always)]
    fn fives(bytes: &[u8], bits: u32) -> [Self; 2] {
        // SAFETY: the caller enabled AVX2.
        unsafe {
            // A byte for each number, with the byte of its bit.
            let places =
                x86::_mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
            let spread = x86::_mm256_shuffle_epi8(x86::_mm256_set1_epi32(bits.cast_signed()), places);
            let masks = x86::_mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
            let set = x86::_mm256_cmpeq_epi8(x86::_mm256_and_si256(spread, masks), masks);
            let fifths = x86::_mm256_and_si256(set, x86::_mm256_set1_epi8(16));
            let codes = Self(x86::_mm256_or_si256(half_bytes(bytes), fifths));
            [codes.and(255), codes.shr(8)]
        }
    }

    #[inline(always)]
    fn looked_up(bytes: &[u8], table: &[i8; 16]) -> [Self; 2] {
        // SAFETY: the caller enabled AVX2; the table has the 16 bytes that are read, at any alignment.
        unsafe {
            let table = x86::_mm256_broadcastsi128_si256(x86::_mm_loadu_si128(table.as_ptr().cast()));
            Self::even_and_odd(x86::_mm256_shuffle_epi8(table, half_bytes(bytes)))
        }
    }

    #[inline(always)]
    fn and(self, mask: i16) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_and_si256(self.0, x86::_mm256_set1_epi16(mask)) })
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_or_si256(self.0, other.0) })
    }

    #[inline(always)]
    fn shr(self, bits: usize) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_srl_epi16(self.0, x86::_mm_cvtsi32_si128(bits as i32)) })
    }

    #[inline(always)]
    fn shl(self, bits: usize) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_sll_epi16(self.0, x86::_mm_cvtsi32_si128(bits as i32)) })
    }

    #[inline(always)]
    fn minus(self, number: i16) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_sub_epi16(self.0, x86::_mm256_set1_epi16(number)) })
    }

    #[inline(always)]
    fn factors(factors: [i8; 16]) -> Self {
        // SAFETY: the caller enabled AVX2; the array has the 16 bytes that are read, at any alignment.
        unsafe {
            let factors = x86::_mm_loadu_si128(factors.as_ptr().cast());
            let even = x86::_mm_srai_epi16::<8>(x86::_mm_slli_epi16::<8>(factors));
            Self(x86::_mm256_setr_m128i(even, x86::_mm_srai_epi16::<8>(factors)))
        }
    }

    #[inline(always)]
    fn double_factors(factors: [i8; 8]) -> Self {
        // SAFETY: the caller enabled AVX2; the array has the 8 bytes that are read, at any alignment.
        unsafe {
            let factors = x86::_mm_cvtepi8_epi16(x86::_mm_loadl_epi64(factors.as_ptr().cast()));
            Self(x86::_mm256_broadcastsi128_si256(factors))
        }
    }

    #[inline(always)]
    fn times(self, factors: Self, pair: usize) -> Self {
        let place = 2 * (pair as i16 & 7);
        // SAFETY: the caller enabled AVX2.
        unsafe {
            let places = x86::_mm256_set1_epi16(place | (place + 1) << 8);
            Self(x86::_mm256_mullo_epi16(self.0, x86::_mm256_shuffle_epi8(factors.0, places)))
        }
    }

    #[inline(always)]
    fn put(self, out: &mut [i16; SHORTS]) {
        // SAFETY: the caller enabled AVX2; `out` has the 32 bytes that are written, at any alignment.
        unsafe { x86::_mm256_storeu_si256(out.as_mut_ptr().cast(), self.0) };
    }

    #[inline(always)]
    fn none() -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe { x86::_mm256_setzero_si256() }
    }

    #[inline(always)]
    fn plus_products(self, inputs: &[i16; SHORTS], sums: x86::__m256i) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2; `inputs` has the 32 bytes that are read, at any alignment.
        unsafe {
            let inputs = x86::_mm256_loadu_si256(inputs.as_ptr().cast());
            x86::_mm256_add_epi32(sums, x86::_mm256_madd_epi16(self.0, inputs))
        }
    }

    #[inline(always)]
    fn joined(a: x86::__m256i, b: x86::__m256i) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe { x86::_mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn total(sums: x86::__m256i) -> i32 {
        // SAFETY: the caller enabled AVX2.
        unsafe {
            let half = x86::_mm_add_epi32(x86::_mm256_castsi256_si128(sums), x86::_mm256_extracti128_si256::<1>(sums));
            let half = x86::_mm_add_epi32(half, x86::_mm_shuffle_epi32::<0b01_00_11_10>(half));
            let half = x86::_mm_add_epi32(half, x86::_mm_shuffle_epi32::<0b10_11_00_01>(half));
            x86::_mm_cvtsi128_si32(half)
        }
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

/// The halves of the first 16 bytes, as bytes: the low ones, then the high ones.
///
/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
// SAFETY: the caller's promise is the only requirement.
unsafe fn half_bytes(bytes: &[u8]) -> x86::__m256i {
    let bytes = &bytes[..16];
    // SAFETY: the caller enabled AVX2; the slice above has the 16 bytes that are read, at any alignment.
    unsafe {
        let both = x86::_mm256_broadcastsi128_si256(x86::_mm_loadu_si128(bytes.as_ptr().cast()));
        // High halves move to the low ones in the upper part of the register.
        let both = x86::_mm256_srlv_epi32(both, x86::_mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
        x86::_mm256_and_si256(both, x86::_mm256_set1_epi8(15))
    }
}

/// Sums of two neighbours of `a` and of `b`, in turns.
///
/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
#[inline(always)]
// SAFETY: the caller's promise is the only requirement.
unsafe fn added_64(a: x86::__m256i, b: x86::__m256i) -> x86::__m256i {
    // SAFETY: the caller enabled AVX2.
    unsafe { x86::_mm256_add_epi32(x86::_mm256_unpacklo_epi64(a, b), x86::_mm256_unpackhi_epi64(a, b)) }
}

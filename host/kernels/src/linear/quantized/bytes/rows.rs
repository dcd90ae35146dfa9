//! Registers whose lanes are rows of repacked weights.

use std::arch::x86_64 as x86;

use super::Avx2Bytes;
use super::CodeBytes;
use super::avx2::plus_pairs;
use crate::linear::vector::Avx2;
use crate::linear::vector::Vector;

/// Four codes of each of eight rows. It is used only in functions that enable its instructions
/// (`super::super::level`).
pub(in super::super) trait RowRegister: CodeBytes {
    /// What is taken from signed codes, which become unsigned ones, so that sums are too large by as many times the inputs.
    const SIGNED_OFFSET: i32;
    /// Sums of products: two of 16 bits for each row, or one of 32 bits (`WIDE`).
    type Pairs: Copy;
    /// A number for each of them, of as many bits.
    type RowFactors: Copy;
    /// A number of 16 bits for each half of a row.
    type PairFactors: Copy;
    /// Sums of 32 bits, one for each row.
    type RowTotals: Copy;
    type Floats: Vector;
    fn no_pairs() -> Self::Pairs;
    fn no_totals() -> Self::RowTotals;
    /// The signed byte `at` of each row's four.
    fn factor(self, at: usize) -> Self::RowFactors;
    /// The two signed bytes from `2 * pair` of each row's four.
    fn factor_pair(self, pair: usize) -> Self::PairFactors;
    /// Adds the products with four inputs from -127 to 127. Codes are signed bytes, or unsigned ones below 64.
    fn plus_products(self, is_signed: bool, inputs: [i8; 4], pairs: Self::Pairs) -> Self::Pairs;
    /// Adds all sums of each row.
    fn plus_unscaled(totals: Self::RowTotals, pairs: Self::Pairs) -> Self::RowTotals;
    /// Adds all sums of each row, times its factors.
    fn plus_scaled_pairs(totals: Self::RowTotals, pairs: Self::Pairs, factors: Self::RowFactors) -> Self::RowTotals;
    /// Adds the products of both factors of each row and two numbers.
    fn plus_pair_products(totals: Self::RowTotals, factors: Self::PairFactors, numbers: [i16; 2]) -> Self::RowTotals;
    fn minus(totals: Self::RowTotals, number: i32) -> Self::RowTotals;
    /// `totals - number * others`.
    fn minus_product(totals: Self::RowTotals, others: Self::RowTotals, number: i32) -> Self::RowTotals;
    fn floats(totals: Self::RowTotals) -> Self::Floats;
}

impl<const VNNI: bool> RowRegister for Avx2Bytes<VNNI> {
    const SIGNED_OFFSET: i32 = if VNNI { 128 } else { 0 };
    type Pairs = x86::__m256i;
    type RowFactors = x86::__m256i;
    type PairFactors = x86::__m256i;
    type RowTotals = x86::__m256i;
    type Floats = Avx2;

    #[inline(always)]
    fn no_pairs() -> x86::__m256i {
        Self::none()
    }

    #[inline(always)]
    fn no_totals() -> x86::__m256i {
        Self::none()
    }

    #[inline(always)]
    fn factor(self, at: usize) -> x86::__m256i {
        match VNNI {
            true => self.spread_byte(at),
            false => self.spread_bytes([at, at]),
        }
    }

    #[inline(always)]
    fn factor_pair(self, pair: usize) -> x86::__m256i {
        self.spread_bytes([2 * pair, 2 * pair + 1])
    }

    #[inline(always)]
    fn plus_products(self, is_signed: bool, inputs: [i8; 4], pairs: x86::__m256i) -> x86::__m256i {
        let [a, b, c, d] = [
            inputs[0].cast_unsigned(),
            inputs[1].cast_unsigned(),
            inputs[2].cast_unsigned(),
            inputs[3].cast_unsigned(),
        ];
        // SAFETY: the caller enabled AVX2, and AVX512-VNNI for `VNNI`.
        unsafe {
            let inputs = x86::_mm256_set1_epi32(i32::from_le_bytes([a, b, c, d]));
            match (VNNI, is_signed) {
                (false, _) => x86::_mm256_add_epi16(pairs, self.pair_products(is_signed, Self(inputs))),
                (true, false) => x86::_mm256_dpbusd_epi32(pairs, self.0, inputs),
                (true, true) => {
                    let codes = x86::_mm256_xor_si256(self.0, x86::_mm256_set1_epi8(-128));
                    x86::_mm256_dpbusd_epi32(pairs, codes, inputs)
                }
            }
        }
    }

    #[inline(always)]
    fn plus_unscaled(totals: x86::__m256i, pairs: x86::__m256i) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe {
            match VNNI {
                true => x86::_mm256_add_epi32(totals, pairs),
                false => plus_pairs::<false>(totals, pairs, x86::_mm256_set1_epi16(1)),
            }
        }
    }

    #[inline(always)]
    fn plus_scaled_pairs(totals: x86::__m256i, pairs: x86::__m256i, factors: x86::__m256i) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe {
            match VNNI {
                true => x86::_mm256_add_epi32(totals, x86::_mm256_mullo_epi32(pairs, factors)),
                false => plus_pairs::<false>(totals, pairs, factors),
            }
        }
    }

    #[inline(always)]
    fn plus_pair_products(totals: x86::__m256i, factors: x86::__m256i, [low, high]: [i16; 2]) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2, and AVX512-VNNI for `VNNI`.
        unsafe {
            let numbers = x86::_mm256_set1_epi32(i32::from(low.cast_unsigned()) | i32::from(high) << 16);
            plus_pairs::<VNNI>(totals, factors, numbers)
        }
    }

    #[inline(always)]
    fn minus(totals: x86::__m256i, number: i32) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe { x86::_mm256_sub_epi32(totals, x86::_mm256_set1_epi32(number)) }
    }

    #[inline(always)]
    fn minus_product(totals: x86::__m256i, others: x86::__m256i, number: i32) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe { x86::_mm256_sub_epi32(totals, x86::_mm256_mullo_epi32(others, x86::_mm256_set1_epi32(number))) }
    }

    #[inline(always)]
    fn floats(totals: x86::__m256i) -> Avx2 {
        // SAFETY: the caller enabled AVX2.
        Avx2(unsafe { x86::_mm256_cvtepi32_ps(totals) })
    }
}

impl<const VNNI: bool> Avx2Bytes<VNNI> {
    /// A signed byte of each four, as 32 bits.
    #[inline(always)]
    fn spread_byte(self, at: usize) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe {
            x86::_mm256_srai_epi32::<24>(x86::_mm256_sll_epi32(self.0, x86::_mm_cvtsi32_si128(24 - 8 * at as i32)))
        }
    }

    /// Two signed bytes of each four, as 16 bits.
    #[inline(always)]
    fn spread_bytes(self, [low, high]: [usize; 2]) -> x86::__m256i {
        // SAFETY: the caller enabled AVX2.
        unsafe {
            // Each byte goes to the upper half of its 16 bits, and the shift extends its sign.
            let first = (0x0080_0080 | low << 8 | high << 24) as i32;
            let rows = x86::_mm256_setr_epi32(
                0,
                0x0400_0400,
                0x0800_0800,
                0x0C00_0C00,
                0,
                0x0400_0400,
                0x0800_0800,
                0x0C00_0C00,
            );
            let places = x86::_mm256_add_epi32(rows, x86::_mm256_set1_epi32(first));
            x86::_mm256_srai_epi16::<8>(x86::_mm256_shuffle_epi8(self.0, places))
        }
    }
}

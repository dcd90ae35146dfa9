//! Thirty-two codes of 8 bits: one type for each instruction set. Block types are unpacked to them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod rows;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2Bytes;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::NeonBytes;
#[cfg(target_arch = "x86_64")]
pub(super) use rows::RowRegister;

/// Codes in a register: those of a small block, or of an eighth of a large one.
pub(super) const CODES: usize = 32;
/// Registers of one step, and sums that are made together.
pub(super) const GROUP: usize = 8;
/// Factors of a large block: one for each 16 codes.
pub(super) const FACTORS: usize = 16;

/// Thirty-two codes. It is used only in functions that enable its instructions (`super::level`).
pub(super) trait CodeBytes: Copy {
    /// Whether four products are added in 32 bits at once, and twice as many registers hold sums.
    const WIDE: bool = false;
    /// Partial sums of products, of 32 bits.
    type Sums: Copy;
    /// The factors of a large block, of 16 bits.
    type Factors: Copy;
    /// An IEEE half with these bits.
    fn half(bits: u16) -> f32;
    /// The first 32 bytes.
    fn load(bytes: &[u8]) -> Self;
    /// The low halves of the first 16 bytes, then their high halves.
    fn halves(bytes: &[u8]) -> Self;
    /// `value` where the bit of a code is set, and zero elsewhere.
    fn spread(bits: u32, value: u8) -> Self;
    /// The bytes at these places of `table`. Places are below 16.
    fn look_up(self, table: &[i8; 16]) -> Self;
    fn and(self, mask: u8) -> Self;
    fn or(self, other: Self) -> Self;
    /// Each byte shifted to the right. `mask` has no bits above those that a shifted byte can have.
    fn shr(self, bits: usize, mask: u8) -> Self;
    /// Each byte shifted to the left. `mask` has no bits below those that a shifted byte can have.
    fn shl(self, bits: usize, mask: u8) -> Self;
    fn put(self) -> [u8; CODES];
    /// Factors in the order of [`in_turns`].
    fn factors(factors: [i8; FACTORS]) -> Self::Factors;
    /// Factors of which each stands for two neighbours.
    fn double_factors(factors: [i8; FACTORS / 2]) -> Self::Factors;
    fn put_factors(factors: Self::Factors) -> [i16; FACTORS];
    /// No products.
    fn none() -> Self::Sums;
    /// The products with inputs from -127 to 127. Codes are signed bytes, or unsigned ones below 64.
    fn products(self, is_signed: bool, inputs: &[i8; CODES]) -> Self::Sums;
    /// `sums` and the products with inputs, times the factors of group `group` of eight.
    fn plus_scaled(
        self,
        is_signed: bool,
        inputs: &[i8; CODES],
        factors: Self::Factors,
        group: usize,
        sums: Self::Sums,
    ) -> Self::Sums;
    /// The products of factors and of numbers in the order of [`in_turns`].
    fn factor_products(factors: Self::Factors, numbers: &[i16; FACTORS]) -> Self::Sums;
    fn joined(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    fn totals(sums: &[Self::Sums; GROUP]) -> [i32; GROUP];
}

/// The place of number `at` of 16 in a register of factors: those of even numbers come first.
pub(super) const fn in_turns(at: usize) -> usize {
    at / 2 + at % 2 * (FACTORS / 2)
}

/// Factors in the order of [`in_turns`], for types that keep them as numbers.
#[inline(always)]
fn factors_in_turns(factors: [i8; FACTORS]) -> [i16; FACTORS] {
    let mut out = [0; FACTORS];
    for (at, factor) in factors.into_iter().enumerate() {
        out[in_turns(at)] = i16::from(factor);
    }
    out
}

/// The same of factors that each stand for two neighbours.
#[inline(always)]
fn doubled_factors(factors: [i8; FACTORS / 2]) -> [i16; FACTORS] {
    std::array::from_fn(|at| i16::from(factors[at % (FACTORS / 2)]))
}

/// Portable code, which the compiler vectorises as it can.
#[derive(Clone, Copy)]
pub(super) struct PlainBytes([u8; CODES]);

impl PlainBytes {
    #[inline(always)]
    fn code(self, is_signed: bool, at: usize) -> i32 {
        if is_signed { i32::from(self.0[at].cast_signed()) } else { i32::from(self.0[at]) }
    }
}

impl CodeBytes for PlainBytes {
    type Sums = [i32; 4];
    type Factors = [i16; FACTORS];

    #[inline(always)]
    fn half(bits: u16) -> f32 {
        half::f16::from_bits(bits).to_f32_const()
    }

    #[inline(always)]
    fn load(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|at| bytes[at]))
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|at| if at < 16 { bytes[at] & 15 } else { bytes[at - 16] >> 4 }))
    }

    #[inline(always)]
    fn spread(bits: u32, value: u8) -> Self {
        Self(std::array::from_fn(|at| if bits >> at & 1 == 1 { value } else { 0 }))
    }

    #[inline(always)]
    fn look_up(self, table: &[i8; 16]) -> Self {
        Self(self.0.map(|place| table[usize::from(place & 15)].cast_unsigned()))
    }

    #[inline(always)]
    fn and(self, mask: u8) -> Self {
        Self(self.0.map(|byte| byte & mask))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    #[inline(always)]
    fn shr(self, bits: usize, mask: u8) -> Self {
        Self(self.0.map(|byte| byte >> bits & mask))
    }

    #[inline(always)]
    fn shl(self, bits: usize, mask: u8) -> Self {
        Self(self.0.map(|byte| byte << bits & mask))
    }

    #[inline(always)]
    fn put(self) -> [u8; CODES] {
        self.0
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
    fn none() -> [i32; 4] {
        [0; 4]
    }

    #[inline(always)]
    fn products(self, is_signed: bool, inputs: &[i8; CODES]) -> [i32; 4] {
        std::array::from_fn(|lane| {
            (0..CODES / 4).map(|at| self.code(is_signed, 4 * at + lane) * i32::from(inputs[4 * at + lane])).sum()
        })
    }

    #[inline(always)]
    fn plus_scaled(
        self,
        is_signed: bool,
        inputs: &[i8; CODES],
        factors: [i16; FACTORS],
        group: usize,
        sums: [i32; 4],
    ) -> [i32; 4] {
        std::array::from_fn(|lane| {
            let product = |at: usize| self.code(is_signed, 4 * at + lane) * i32::from(inputs[4 * at + lane]);
            let half = |from: usize| (from..from + CODES / 8).map(product).sum::<i32>();
            let [even, odd] = [group, group + FACTORS / 2].map(|at| i32::from(factors[at]));
            sums[lane] + even * half(0) + odd * half(CODES / 8)
        })
    }

    #[inline(always)]
    fn factor_products(factors: [i16; FACTORS], numbers: &[i16; FACTORS]) -> [i32; 4] {
        std::array::from_fn(|lane| {
            (0..FACTORS / 4).map(|at| i32::from(factors[4 * at + lane]) * i32::from(numbers[4 * at + lane])).sum()
        })
    }

    #[inline(always)]
    fn joined(a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn totals(sums: &[[i32; 4]; GROUP]) -> [i32; GROUP] {
        sums.map(|sums| sums.iter().sum())
    }
}

//! A vector register of f32: one type for each instruction set.

#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

/// A vector register of f32. It is used only in functions that enable its instructions (`super::level`).
pub(crate) trait Vector: Copy {
    const LANES: usize;
    fn zero() -> Self;
    /// The same value in every lane.
    fn splat(value: f32) -> Self;
    /// Two weights of the same row, each in every lane: two of F32 (`PAIR` is 8) or of BF16 (`PAIR` is 4).
    fn pair<const PAIR: usize>(bytes: &[u8; PAIR]) -> [Self; 2];
    /// `LANES` values of `SIZE` bytes each (4: F32, 2: BF16) from the start of `bytes`, which has at least as many.
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self;
    /// `LANES` IEEE halves from the start of `bytes`, which has at least as many.
    fn halves(bytes: &[u8]) -> Self;
    /// `LANES` signed bytes from the start of `bytes`, which has at least as many.
    fn bytes(bytes: &[i8]) -> Self;
    /// `LANES` values from the start of `values`, which has at least as many.
    fn inputs(values: &[f32]) -> Self;
    /// `a * b + self`.
    fn plus_product(self, a: Self, b: Self) -> Self;
    /// `self * a`.
    fn times(self, a: Self) -> Self;
    /// `self + a`.
    fn plus(self, a: Self) -> Self;
    /// `a * b + c` of single numbers, rounded as [`Vector::plus_product`] rounds them.
    fn fused(a: f32, b: f32, c: f32) -> f32;
    /// Writes the lanes to the start of `out`, which has room for them.
    fn put(self, out: &mut [f32]);
    /// Writes the lanes as stored F32 to the start of `out`, which has at least `4 * LANES` bytes.
    fn put_stored(self, out: &mut [u8]);
    /// The sum of the lanes.
    fn sum(self) -> f32;
}

/// One stored value of `SIZE` bytes (4: F32, 2: BF16) from the start of `bytes`.
pub(super) fn widen<const SIZE: usize>(bytes: &[u8]) -> f32 {
    match (SIZE, bytes) {
        (2, [a, b, ..]) => f32::from_bits(u32::from(u16::from_le_bytes([*a, *b])) << 16),
        (4, [a, b, c, d, ..]) => f32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0.0,
    }
}

/// The IEEE half at the start of `bytes`.
pub(crate) fn widen_half(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32_const()
}

/// A value of a panel: f32, the bits of an IEEE half, or a code of 8 bits.
pub(crate) trait PanelValue: Copy {
    /// Values that take the place of one f32 in memory.
    const PER_FLOAT: usize;
    /// The values in the memory of numbers.
    fn of(memory: &[f32]) -> &[Self];
    fn of_mut(memory: &mut [f32]) -> &mut [Self];
    /// The nearest value. Larger ones than the largest become the largest.
    fn nearest(value: f32) -> Self;
    /// `LANES` values from the start of `values`, which has at least as many.
    fn lanes<V: Vector>(values: &[Self]) -> V;
}

impl PanelValue for f32 {
    const PER_FLOAT: usize = 1;

    #[inline(always)]
    fn of(memory: &[f32]) -> &[Self] {
        memory
    }

    #[inline(always)]
    fn of_mut(memory: &mut [f32]) -> &mut [Self] {
        memory
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn lanes<V: Vector>(values: &[Self]) -> V {
        V::inputs(values)
    }
}

impl PanelValue for u16 {
    const PER_FLOAT: usize = 2;

    #[inline(always)]
    fn of(memory: &[f32]) -> &[Self] {
        bytemuck::cast_slice(memory)
    }

    #[inline(always)]
    fn of_mut(memory: &mut [f32]) -> &mut [Self] {
        bytemuck::cast_slice_mut(memory)
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        half_bits(value)
    }

    #[inline(always)]
    fn lanes<V: Vector>(values: &[Self]) -> V {
        V::halves(bytemuck::cast_slice(&values[..V::LANES]))
    }
}

impl PanelValue for i8 {
    const PER_FLOAT: usize = 4;

    #[inline(always)]
    fn of(memory: &[f32]) -> &[Self] {
        bytemuck::cast_slice(memory)
    }

    #[inline(always)]
    fn of_mut(memory: &mut [f32]) -> &mut [Self] {
        bytemuck::cast_slice_mut(memory)
    }

    /// From -127 to 127, without branches. What is no number becomes 0.
    #[inline(always)]
    fn nearest(value: f32) -> Self {
        /// Added to a number below 2^22, it leaves the nearest integer in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        let value = if value > 127.0 { 127.0 } else { value };
        let value = if value < -127.0 { -127.0 } else { value };
        ((value + ROUND).to_bits() as u8).cast_signed()
    }

    #[inline(always)]
    fn lanes<V: Vector>(values: &[Self]) -> V {
        V::bytes(values)
    }
}

/// The bits of the nearest IEEE half, without branches, so that the compiler turns a loop into vector instructions. The
/// largest half stands for larger values. (The addition of a number whose last bit is the half's last bit rounds, as in
/// FP16 by Dukhan 2017.)
#[inline(always)]
fn half_bits(value: f32) -> u16 {
    const LARGEST: f32 = 65_504.0;
    let size = value.abs();
    // A comparison, not `min`, so that what is no number stays so.
    let size = if size > LARGEST { LARGEST } else { size };
    let exponent = (size.to_bits() & 0x7F80_0000).max(0x3880_0000);
    let rounded = (size + f32::from_bits(exponent + 0x0680_0000)).to_bits();
    // The sum has the exponent of the added number, and its lowest bits are the half's.
    let bits = ((exponent - 0x3880_0000) >> 13) + (rounded & 0x0FFF);
    let bits = if size.is_nan() { 0x7E00 } else { bits };
    (value.to_bits() >> 16 & 0x8000) as u16 | bits as u16
}

/// A type in which weights are stored one by one.
pub(super) trait StoredValue {
    const BYTES: usize;
    /// One weight from the start of `bytes`.
    fn one(bytes: &[u8]) -> f32;
    /// A weight for each lane from the start of `bytes`.
    fn lanes<V: Vector>(bytes: &[u8]) -> V;
}

pub(super) struct F32;
pub(super) struct Bf16;
pub(super) struct F16;

impl StoredValue for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn one(bytes: &[u8]) -> f32 {
        widen::<4>(bytes)
    }

    #[inline(always)]
    fn lanes<V: Vector>(bytes: &[u8]) -> V {
        V::weights::<4>(bytes)
    }
}

impl StoredValue for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn one(bytes: &[u8]) -> f32 {
        widen::<2>(bytes)
    }

    #[inline(always)]
    fn lanes<V: Vector>(bytes: &[u8]) -> V {
        V::weights::<2>(bytes)
    }
}

impl StoredValue for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn one(bytes: &[u8]) -> f32 {
        widen_half(bytes)
    }

    #[inline(always)]
    fn lanes<V: Vector>(bytes: &[u8]) -> V {
        V::halves(bytes)
    }
}

/// Portable code, which the compiler vectorises as it can.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 8]);

impl Vector for Plain {
    const LANES: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; 8])
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
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
        Self(std::array::from_fn(|lane| widen::<SIZE>(&bytes[lane * SIZE..])))
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|lane| widen_half(&bytes[2 * lane..])))
    }

    #[inline(always)]
    fn bytes(bytes: &[i8]) -> Self {
        Self(std::array::from_fn(|lane| f32::from(bytes[lane])))
    }

    #[inline(always)]
    fn inputs(values: &[f32]) -> Self {
        Self(std::array::from_fn(|lane| values[lane]))
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        // Not `mul_add`: on an x86-64 without known features it would call a function.
        Self(std::array::from_fn(|lane| self.0[lane] + a.0[lane] * b.0[lane]))
    }

    #[inline(always)]
    fn times(self, a: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * a.0[lane]))
    }

    #[inline(always)]
    fn plus(self, a: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + a.0[lane]))
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        c + a * b
    }

    #[inline(always)]
    fn put(self, out: &mut [f32]) {
        out[..8].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn put_stored(self, out: &mut [u8]) {
        for (out, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *out = value.to_le_bytes();
        }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(super) x86::__m256);

#[cfg(target_arch = "x86_64")]
impl Vector for Avx2 {
    const LANES: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_setzero_ps() })
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn pair<const PAIR: usize>(bytes: &[u8; PAIR]) -> [Self; 2] {
        let Some((both, _)) = bytes.split_first_chunk::<4>().filter(|_| PAIR == 4) else {
            return [Self::splat(widen::<4>(bytes)), Self::splat(widen::<4>(&bytes[PAIR / 2..]))];
        };
        // SAFETY: the caller enabled AVX2.
        unsafe {
            // The second weight is the upper half of each lane, which is the position of BF16 bits in f32.
            let both = x86::_mm256_set1_epi32(i32::from_le_bytes(*both));
            let later = x86::_mm256_and_si256(both, x86::_mm256_set1_epi32(!0xFFFF));
            let first = x86::_mm256_slli_epi32::<16>(both);
            [Self(x86::_mm256_castsi256_ps(first)), Self(x86::_mm256_castsi256_ps(later))]
        }
    }

    #[inline(always)]
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self {
        let bytes = &bytes[..8 * SIZE];
        // SAFETY: the caller enabled AVX2; the slice above has the 32 or 16 bytes that are read, at any alignment.
        Self(unsafe {
            match SIZE {
                4 => x86::_mm256_loadu_ps(bytes.as_ptr().cast()),
                _ => {
                    let wide = x86::_mm256_cvtepu16_epi32(x86::_mm_loadu_si128(bytes.as_ptr().cast()));
                    x86::_mm256_castsi256_ps(x86::_mm256_slli_epi32::<16>(wide))
                }
            }
        })
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> Self {
        let bytes = &bytes[..16];
        // SAFETY: the caller enabled F16C; the slice above has the 16 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm256_cvtph_ps(x86::_mm_loadu_si128(bytes.as_ptr().cast())) })
    }

    #[inline(always)]
    fn bytes(bytes: &[i8]) -> Self {
        let bytes = &bytes[..8];
        // SAFETY: the caller enabled AVX2; the slice above has the 8 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm256_cvtepi32_ps(x86::_mm256_cvtepi8_epi32(x86::_mm_loadl_epi64(bytes.as_ptr().cast()))) })
    }

    #[inline(always)]
    fn inputs(values: &[f32]) -> Self {
        let values = &values[..8];
        // SAFETY: the caller enabled AVX2; the slice above has the 8 values that are read.
        Self(unsafe { x86::_mm256_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller enabled FMA.
        Self(unsafe { x86::_mm256_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    fn times(self, a: Self) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_mul_ps(self.0, a.0) })
    }

    #[inline(always)]
    fn plus(self, a: Self) -> Self {
        // SAFETY: the caller enabled AVX2.
        Self(unsafe { x86::_mm256_add_ps(self.0, a.0) })
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        // One instruction, since the caller enabled FMA.
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn put(self, out: &mut [f32]) {
        let out = &mut out[..8];
        // SAFETY: the caller enabled AVX2; the slice above has room for the 8 values that are written.
        unsafe { x86::_mm256_storeu_ps(out.as_mut_ptr(), self.0) };
    }

    #[inline(always)]
    fn put_stored(self, out: &mut [u8]) {
        let out = &mut out[..32];
        // SAFETY: the caller enabled AVX2; the slice above has room for the 32 bytes that are written, at any alignment.
        unsafe { x86::_mm256_storeu_ps(out.as_mut_ptr().cast(), self.0) };
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0_f32; 8];
        self.put(&mut lanes);
        lanes.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(super) x86::__m512);

#[cfg(target_arch = "x86_64")]
impl Vector for Avx512 {
    const LANES: usize = 16;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_setzero_ps() })
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn pair<const PAIR: usize>(bytes: &[u8; PAIR]) -> [Self; 2] {
        let Some((both, _)) = bytes.split_first_chunk::<4>().filter(|_| PAIR == 4) else {
            return [Self::splat(widen::<4>(bytes)), Self::splat(widen::<4>(&bytes[PAIR / 2..]))];
        };
        // SAFETY: the caller enabled AVX-512F.
        unsafe {
            // The second weight is the upper half of each lane, which is the position of BF16 bits in f32.
            let both = x86::_mm512_set1_epi32(i32::from_le_bytes(*both));
            let later = x86::_mm512_and_si512(both, x86::_mm512_set1_epi32(!0xFFFF));
            let first = x86::_mm512_slli_epi32::<16>(both);
            [Self(x86::_mm512_castsi512_ps(first)), Self(x86::_mm512_castsi512_ps(later))]
        }
    }

    #[inline(always)]
    fn weights<const SIZE: usize>(bytes: &[u8]) -> Self {
        let bytes = &bytes[..16 * SIZE];
        // SAFETY: the caller enabled AVX-512F; the slice above has the 64 or 32 bytes that are read, at any alignment.
        Self(unsafe {
            match SIZE {
                4 => x86::_mm512_loadu_ps(bytes.as_ptr().cast()),
                _ => {
                    let wide = x86::_mm512_cvtepu16_epi32(x86::_mm256_loadu_si256(bytes.as_ptr().cast()));
                    x86::_mm512_castsi512_ps(x86::_mm512_slli_epi32::<16>(wide))
                }
            }
        })
    }

    #[inline(always)]
    fn halves(bytes: &[u8]) -> Self {
        let bytes = &bytes[..32];
        // SAFETY: the caller enabled AVX-512F; the slice above has the 32 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm512_cvtph_ps(x86::_mm256_loadu_si256(bytes.as_ptr().cast())) })
    }

    #[inline(always)]
    fn bytes(bytes: &[i8]) -> Self {
        let bytes = &bytes[..16];
        // SAFETY: the caller enabled AVX-512F; the slice above has the 16 bytes that are read, at any alignment.
        Self(unsafe { x86::_mm512_cvtepi32_ps(x86::_mm512_cvtepi8_epi32(x86::_mm_loadu_si128(bytes.as_ptr().cast()))) })
    }

    #[inline(always)]
    fn inputs(values: &[f32]) -> Self {
        let values = &values[..16];
        // SAFETY: the caller enabled AVX-512F; the slice above has the 16 values that are read.
        Self(unsafe { x86::_mm512_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    fn times(self, a: Self) -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_mul_ps(self.0, a.0) })
    }

    #[inline(always)]
    fn plus(self, a: Self) -> Self {
        // SAFETY: the caller enabled AVX-512F.
        Self(unsafe { x86::_mm512_add_ps(self.0, a.0) })
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        // One instruction, since the caller enabled FMA.
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn put(self, out: &mut [f32]) {
        let out = &mut out[..16];
        // SAFETY: the caller enabled AVX-512F; the slice above has room for the 16 values that are written.
        unsafe { x86::_mm512_storeu_ps(out.as_mut_ptr(), self.0) };
    }

    #[inline(always)]
    fn put_stored(self, out: &mut [u8]) {
        let out = &mut out[..64];
        // SAFETY: the caller enabled AVX-512F; the slice above has room for the 64 bytes that are written, at any
        // alignment.
        unsafe { x86::_mm512_storeu_ps(out.as_mut_ptr().cast(), self.0) };
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: the caller enabled AVX-512F.
        unsafe { x86::_mm512_reduce_add_ps(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_nearest_ones() {
        let limits = [65_504.0, 65_520.0, 1e30, f32::INFINITY, 6e-8, 2.9e-8, 0.0, 6.1e-5, 1.0 + 1.0 / 2_048.0];
        let all = (0..u32::MAX).step_by(40_009).map(f32::from_bits).chain(limits);
        let mut seen = 0;
        for value in all.flat_map(|value| [value, -value]) {
            let known = half::f16::from_f32(value);
            let known = if known.is_infinite() { half::f16::MAX.copysign(known) } else { known };
            let got = half::f16::from_bits(u16::nearest(value));
            assert!(got == known || got.is_nan() && known.is_nan(), "{value:e}: {got} and not {known}");
            assert_eq!(got.is_sign_negative(), value.is_sign_negative(), "{value:e}");
            seen += 1;
        }
        assert!(seen > 200_000, "{seen}");
    }

    #[test]
    fn codes_are_the_nearest_ones() {
        for at in -40_000..=40_000 {
            let value = at as f32 / 256.0;
            let known = value.round_ties_even().clamp(-127.0, 127.0) as i8;
            assert_eq!(i8::nearest(value), known, "{value}");
        }
        for (value, known) in [(f32::INFINITY, 127), (f32::MIN, -127), (f32::NAN, 0), (f32::MIN_POSITIVE, 0)] {
            assert_eq!(i8::nearest(value), known, "{value:e}");
        }
    }
}

//! A step of rows of weights that was unpacked to integers.

use crate::linear::quantized::bytes::{CODES, CodeBytes, FACTORS, GROUP, in_turns};
use crate::linear::quantized::formats::{BlockSize, CodeFormat, Sink};
use crate::linear::quantized::inputs::STEP;

/// At most `STEP` weights of a row.
#[derive(Debug, Clone)]
pub(in crate::linear::quantized) struct UnpackedStep {
    /// Codes less their offset, times their factors: they fit into 16 bits for every type.
    pub(in crate::linear::quantized) codes: [[i16; CODES]; GROUP],
    /// One for each block.
    pub(in crate::linear::quantized) scales: [f32; GROUP],
    /// One for each block of a type with minima.
    pub(in crate::linear::quantized) least: [f32; GROUP],
    /// Of a large block with minima.
    pub(in crate::linear::quantized) minima: [i16; FACTORS],
}

impl Default for UnpackedStep {
    fn default() -> Self {
        Self { codes: [[0; CODES]; GROUP], scales: [0.0; GROUP], least: [0.0; GROUP], minima: [0; FACTORS] }
    }
}

impl UnpackedStep {
    /// Unpacks at most `STEP` weights in whole blocks.
    #[inline(always)]
    pub(in crate::linear::quantized) fn fill<F: CodeFormat, B: CodeBytes>(&mut self, blocks: &[u8]) {
        let groups = F::SIZE.weights() / CODES;
        for (at, block) in blocks.chunks_exact(F::BYTES).take(STEP / F::SIZE.weights()).enumerate() {
            self.fill_scales::<F, B>(at, block);
            let codes = &mut self.codes[at * groups..(at + 1) * groups];
            let (factors, offset) = (factors::<F, B>(block), F::OFFSET as i16);
            F::unpack::<B>(block, &mut Stored { codes, factors, offset, is_signed: F::IS_SIGNED });
        }
    }

    /// The same, for AMX: codes times factors go to `low` and `high` as `256 * high + low`. Small blocks have low bytes only.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(in crate::linear::quantized) fn fill_bytes<F: CodeFormat, B: CodeBytes>(
        &mut self,
        blocks: &[u8],
        low: &mut [[i8; CODES]],
        high: &mut [[i8; CODES]],
    ) {
        let groups = F::SIZE.weights() / CODES;
        for (at, block) in blocks.chunks_exact(F::BYTES).take(STEP / F::SIZE.weights()).enumerate() {
            self.fill_scales::<F, B>(at, block);
            let (factors, offset) = (factors::<F, B>(block), F::OFFSET as i16);
            let low = &mut low[at * groups..(at + 1) * groups];
            F::unpack::<B>(block, &mut StoredBytes { low, high, factors, offset, is_signed: F::IS_SIGNED });
        }
    }

    /// Everything but the codes of block `at`.
    #[inline(always)]
    fn fill_scales<F: CodeFormat, B: CodeBytes>(&mut self, at: usize, block: &[u8]) {
        self.scales[at] = F::scale::<B>(block);
        if F::HAS_MINIMA {
            self.least[at] = F::least::<B>(block);
        }
        if F::HAS_MINIMA && F::SIZE == BlockSize::Large {
            self.minima = B::put_factors(F::minima::<B>(block));
        }
    }
}

#[inline(always)]
fn factors<F: CodeFormat, B: CodeBytes>(block: &[u8]) -> Option<[i16; FACTORS]> {
    (F::SIZE == BlockSize::Large).then(|| B::put_factors(F::factors::<B>(block)))
}

/// Codes that are stored.
struct Stored<'a> {
    codes: &'a mut [[i16; CODES]],
    factors: Option<[i16; FACTORS]>,
    offset: i16,
    is_signed: bool,
}

impl<B: CodeBytes> Sink<B> for Stored<'_> {
    #[inline(always)]
    fn take(&mut self, group: usize, codes: B) {
        self.codes[group] = products(codes, group, self.factors, self.offset, self.is_signed);
    }
}

/// Codes of a group, less their offset and times their factors.
#[inline(always)]
fn products<B: CodeBytes>(
    codes: B,
    group: usize,
    factors: Option<[i16; FACTORS]>,
    offset: i16,
    is_signed: bool,
) -> [i16; CODES] {
    let mut out =
        codes.put().map(|code| if is_signed { i16::from(code.cast_signed()) } else { i16::from(code) - offset });
    if let Some(factors) = factors {
        for (half, out) in out.as_chunks_mut::<{ CODES / 2 }>().0.iter_mut().enumerate() {
            let factor = factors[in_turns(2 * group + half)];
            out.iter_mut().for_each(|code| *code *= factor);
        }
    }
    out
}

/// Codes whose bytes are stored.
#[cfg(target_arch = "x86_64")]
struct StoredBytes<'a> {
    low: &'a mut [[i8; CODES]],
    high: &'a mut [[i8; CODES]],
    factors: Option<[i16; FACTORS]>,
    offset: i16,
    is_signed: bool,
}

#[cfg(target_arch = "x86_64")]
impl<B: CodeBytes> Sink<B> for StoredBytes<'_> {
    #[inline(always)]
    fn take(&mut self, group: usize, codes: B) {
        let codes = products(codes, group, self.factors, self.offset, self.is_signed);
        self.low[group] = codes.map(|code| code as i8);
        if self.factors.is_some() {
            // Half of 256 more, since the low byte is signed.
            self.high[group] = codes.map(|code| ((code + 128) >> 8) as i8);
        }
    }
}

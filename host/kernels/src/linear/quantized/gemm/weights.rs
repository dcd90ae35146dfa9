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
            self.scales[at] = F::scale::<B>(block);
            if F::HAS_MINIMA {
                self.least[at] = F::least::<B>(block);
            }
            let factors = (F::SIZE == BlockSize::Large).then(|| B::put_factors(F::factors::<B>(block)));
            let codes = &mut self.codes[at * groups..(at + 1) * groups];
            F::unpack::<B>(block, &mut Stored { codes, factors, offset: F::OFFSET as i16, is_signed: F::IS_SIGNED });
            if F::HAS_MINIMA && F::SIZE == BlockSize::Large {
                self.minima = B::put_factors(F::minima::<B>(block));
            }
        }
    }
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
        let out = &mut self.codes[group];
        for (out, code) in out.iter_mut().zip(codes.put()) {
            *out = if self.is_signed { i16::from(code.cast_signed()) } else { i16::from(code) - self.offset };
        }
        if let Some(factors) = self.factors {
            for (half, out) in out.as_chunks_mut::<{ CODES / 2 }>().0.iter_mut().enumerate() {
                let factor = factors[in_turns(2 * group + half)];
                out.iter_mut().for_each(|code| *code *= factor);
            }
        }
    }
}

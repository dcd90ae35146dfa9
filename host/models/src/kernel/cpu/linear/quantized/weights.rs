//! A step of rows of weights that was unpacked to integers.

use super::formats::{BlockSize, CodeFormat, MINIMA, Sink};
use super::inputs::{STEP, STEP_PARTS, StepCodes};
use super::shorts::{GROUP, SHORTS, Shorts};

/// At most `STEP` weights of a row.
#[derive(Debug, Clone)]
pub(super) struct UnpackedStep {
    pub(super) codes: StepCodes,
    /// One for each block.
    pub(super) scales: [f32; GROUP],
    /// One for each block of a type with minima.
    pub(super) least: [f32; GROUP],
    /// Of a large block with minima.
    pub(super) minima: [i16; MINIMA],
}

impl Default for UnpackedStep {
    fn default() -> Self {
        Self { codes: [[0; SHORTS]; STEP_PARTS], scales: [0.0; GROUP], least: [0.0; GROUP], minima: [0; MINIMA] }
    }
}

impl UnpackedStep {
    /// Unpacks at most `STEP` weights in whole blocks.
    #[inline(always)]
    pub(super) fn fill<F: CodeFormat, S: Shorts>(&mut self, blocks: &[u8]) {
        let parts = F::SIZE.weights() / SHORTS;
        for (at, block) in blocks.chunks_exact(F::BYTES).take(STEP / F::SIZE.weights()).enumerate() {
            self.scales[at] = F::scale::<S>(block);
            if F::HAS_MINIMA {
                self.least[at] = F::least::<S>(block);
            }
            let codes = &mut self.codes[at * parts..(at + 1) * parts];
            F::unpack::<S>(block, &mut Stored { codes, offset: F::OFFSET as i16 });
            if F::HAS_MINIMA && F::SIZE == BlockSize::Large {
                F::minima::<S>(block).put(&mut self.minima);
            }
        }
    }
}

/// Codes that are stored, less `offset`.
struct Stored<'a> {
    codes: &'a mut [[i16; SHORTS]],
    offset: i16,
}

impl<S: Shorts> Sink<S> for Stored<'_> {
    #[inline(always)]
    fn take(&mut self, part: usize, codes: S) {
        codes.minus(self.offset).put(&mut self.codes[part]);
    }
}

//! Weights of 16 bits on a GPU: two in a word, the lower half first. They are widened with integer operations, because not
//! every device has 16-bit floats.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use firebox_kernels::weights::{StoredTensor, StoredType};

/// The type of both weights of a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Half {
    /// The upper half of an F32.
    #[default]
    Bf16,
    /// IEEE 754 binary16.
    F16,
}

impl Half {
    /// The type that all of these matrices have, if they have one of these types.
    pub(super) fn of(parts: &[StoredTensor]) -> Option<Self> {
        let of = |part: &StoredTensor| match part.dtype {
            StoredType::Bf16 => Some(Self::Bf16),
            StoredType::F16 => Some(Self::F16),
            _ => None,
        };
        let first = of(parts.first()?)?;
        parts.iter().all(|part| of(part) == Some(first)).then_some(first)
    }
}

/// The weight in the lower half of a word.
#[cube]
pub(super) fn lower(word: u32, #[comptime] half: Half) -> f32 {
    let mut number = f32::reinterpret(word << 16u32);
    if comptime!(half == Half::F16) {
        number = from_f16(word & 0xffffu32);
    }
    number
}

/// The weight in the upper half of a word.
#[cube]
pub(super) fn upper(word: u32, #[comptime] half: Half) -> f32 {
    let mut number = f32::reinterpret(word & 0xffff_0000u32);
    if comptime!(half == Half::F16) {
        number = from_f16(word >> 16u32);
    }
    number
}

/// A finite number from the bits of a binary16. Devices may take F32 numbers without a leading one as zero, so such a
/// binary16 is computed as the difference of two numbers that have one.
#[cube]
fn from_f16(bits: u32) -> f32 {
    // Exponents of F32 are 112 larger.
    let size = (bits & 0x7fffu32) << 13u32;
    let mut number = f32::reinterpret(size + 0x3800_0000u32);
    if bits & 0x7c00u32 == 0u32 {
        number = f32::reinterpret(size + 0x3880_0000u32) - comptime!(f32::from_bits(0x3880_0000));
    }
    if bits & 0x8000u32 != 0u32 {
        number = -number;
    }
    number
}

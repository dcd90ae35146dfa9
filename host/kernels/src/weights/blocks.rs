//! Block types of GGUF: weights in small groups that share a scale. To add one: a function here or in a file below, and a
//! row of [`BLOCK_TYPES`].
//!
//! Layouts are those of ggml (<https://github.com/ggml-org/ggml>, `ggml-common.h`). Each function multiplies and adds in the
//! order of the Python package `gguf`, so that results agree bit for bit.

mod five_bits;
mod four_bits;
mod k_quants;
mod pack;
#[cfg(test)]
mod tests;

use half::f16;

use crate::weights::StoredType;

/// A type of block.
pub struct BlockType {
    /// Its number in files.
    pub number: u32,
    /// Its name, as llama.cpp writes it.
    pub name: &'static str,
    /// Weights of one block; a row of a matrix is a whole number of blocks.
    pub weights: usize,
    /// Bytes of one block.
    pub bytes: usize,
    /// Where in a block its 16-bit scales and minima are, in bytes. Without any, its first byte is an exponent.
    pub scales: &'static [usize],
    /// Converts whole blocks: `[blocks * bytes]` to `[blocks * weights]`.
    pub unpack: fn(&[u8], &mut [f32]),
    /// Its groups, for kernels that know no layout.
    pub groups: Groups,
}

/// The groups of a block: the weights of each are evenly spaced, `scale * (code - zero) + minimum`.
pub struct Groups {
    /// Weights of a group.
    pub weights: usize,
    /// Bits of a code.
    pub bits: usize,
    /// The code of weight 0, in types whose minimum is 0.
    pub zero: Option<u32>,
    /// Scale and minimum of each group of one block.
    pub lines: fn(&[u8], &mut [Line]),
}

/// Scale and minimum of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Line {
    /// The distance of two neighbouring codes.
    pub scale: f32,
    /// The weight of code 0, in types that have minima.
    pub minimum: f32,
}

/// Groups of 32 whose codes have four bits, with a minimum each.
const FOURS: Groups = Groups { weights: SMALL, bits: 4, zero: None, lines: small_line };
/// Groups of 32 whose codes take a byte each.
const EIGHTS: Groups = Groups { weights: SMALL, bits: 8, zero: None, lines: small_line };
/// Groups of 16 whose codes take a byte each.
const SIXTEENS: Groups = Groups { weights: 16, ..EIGHTS };

impl std::fmt::Debug for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for BlockType {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for BlockType {}

impl BlockType {
    /// The first scale or minimum of these blocks that is not a finite number.
    pub fn first_odd_scale(&self, blocks: &[u8]) -> Option<f32> {
        if self.scales.is_empty() {
            let is_odd = |block: &[u8]| block.first().is_some_and(|exponent| *exponent > EXPONENT_MAX);
            return blocks.chunks_exact(self.bytes).any(is_odd).then_some(f32::INFINITY);
        }
        let scales = |block: &[u8]| self.scales.iter().map(|at| half_at(block, *at)).find(|scale| !scale.is_finite());
        blocks.chunks_exact(self.bytes).find_map(scales)
    }
}

impl BlockType {
    /// Converts finite weights to whole blocks; `None` for a type that can only be read.
    pub fn pack(&self) -> Option<Pack> {
        pack::PACKERS.iter().find(|packer| packer.0 == self.number).map(|packer| packer.1)
    }
}

/// `[blocks * weights]` to `[blocks * bytes]`.
pub type Pack = fn(&[f32], &mut [u8]);

/// The largest exponent of a block of MXFP4 whose weights are all finite: 12 times `2^(exponent - 128)`.
const EXPONENT_MAX: u8 = 252;

/// Weights of a small block, and of the large blocks of the K types.
const SMALL: usize = 32;
const LARGE: usize = 256;

/// Every type of block that can be read.
pub const BLOCK_TYPES: &[BlockType] = &[
    BlockType {
        number: 2,
        name: "Q4_0",
        weights: SMALL,
        bytes: 18,
        scales: &[0],
        unpack: four_bits::q4_0,
        groups: Groups { zero: Some(8), ..FOURS },
    },
    BlockType {
        number: 3,
        name: "Q4_1",
        weights: SMALL,
        bytes: 20,
        scales: &[0, 2],
        unpack: four_bits::q4_1,
        groups: FOURS,
    },
    BlockType {
        number: 6,
        name: "Q5_0",
        weights: SMALL,
        bytes: 22,
        scales: &[0],
        unpack: five_bits::q5_0,
        groups: Groups { zero: Some(16), ..EIGHTS },
    },
    BlockType {
        number: 7,
        name: "Q5_1",
        weights: SMALL,
        bytes: 24,
        scales: &[0, 2],
        unpack: five_bits::q5_1,
        groups: EIGHTS,
    },
    BlockType {
        number: 8,
        name: "Q8_0",
        weights: SMALL,
        bytes: 34,
        scales: &[0],
        unpack: q8_0,
        groups: Groups { zero: Some(128), ..EIGHTS },
    },
    BlockType {
        number: 10,
        name: "Q2_K",
        weights: LARGE,
        bytes: 84,
        scales: &[80, 82],
        unpack: k_quants::q2_k,
        groups: Groups { lines: k_quants::q2_k_lines, ..SIXTEENS },
    },
    BlockType {
        number: 11,
        name: "Q3_K",
        weights: LARGE,
        bytes: 110,
        scales: &[108],
        unpack: k_quants::q3_k,
        groups: Groups { zero: Some(4), lines: k_quants::q3_k_lines, ..SIXTEENS },
    },
    BlockType {
        number: 12,
        name: "Q4_K",
        weights: LARGE,
        bytes: 144,
        scales: &[0, 2],
        unpack: k_quants::q4_k,
        groups: Groups { lines: k_quants::q4_k_lines, ..FOURS },
    },
    BlockType {
        number: 13,
        name: "Q5_K",
        weights: LARGE,
        bytes: 176,
        scales: &[0, 2],
        unpack: k_quants::q5_k,
        groups: Groups { lines: k_quants::q4_k_lines, ..EIGHTS },
    },
    BlockType {
        number: 14,
        name: "Q6_K",
        weights: LARGE,
        bytes: 210,
        scales: &[208],
        unpack: k_quants::q6_k,
        groups: Groups { zero: Some(32), lines: k_quants::q6_k_lines, ..SIXTEENS },
    },
    BlockType {
        number: 20,
        name: "IQ4_NL",
        weights: SMALL,
        bytes: 18,
        scales: &[0],
        unpack: four_bits::iq4_nl,
        groups: Groups { zero: Some(127), ..EIGHTS },
    },
    BlockType {
        number: 23,
        name: "IQ4_XS",
        weights: LARGE,
        bytes: 136,
        scales: &[0],
        unpack: four_bits::iq4_xs,
        groups: Groups { zero: Some(127), lines: four_bits::iq4_xs_lines, ..EIGHTS },
    },
    BlockType {
        number: 39,
        name: "MXFP4",
        weights: SMALL,
        bytes: 17,
        scales: &[],
        unpack: four_bits::mxfp4,
        groups: Groups { zero: Some(12), lines: four_bits::mxfp4_line, ..EIGHTS },
    },
];

/// Numbers and names of types that exist and cannot be read, for messages.
const OTHER_TYPES: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

/// The stored type with this number, or how a message calls the type that cannot be read.
pub fn stored_type(number: u32) -> Result<StoredType, String> {
    match number {
        0 => return Ok(StoredType::F32),
        1 => return Ok(StoredType::F16),
        30 => return Ok(StoredType::Bf16),
        _ => {}
    }
    let known = BLOCK_TYPES.iter().find(|kind| kind.number == number);
    known.map(StoredType::Blocks).ok_or_else(|| {
        let name = OTHER_TYPES.iter().find(|other| other.0 == number).map(|other| other.1);
        name.map_or_else(|| format!("number {number}, which no type has here"), str::to_owned)
    })
}

/// The stored type of this name.
pub fn named(name: &str) -> Option<StoredType> {
    let plain = [StoredType::F32, StoredType::F16, StoredType::Bf16];
    let all = plain.into_iter().chain(BLOCK_TYPES.iter().map(StoredType::Blocks));
    all.into_iter().find(|kind| kind.name() == name)
}

/// The number of a stored type in files; that of the blocks for repacked ones.
pub fn number_of(kind: StoredType) -> u32 {
    match kind {
        StoredType::F32 => 0,
        StoredType::F16 => 1,
        StoredType::Bf16 => 30,
        StoredType::Blocks(kind) | StoredType::Repacked(kind) => kind.number,
    }
}

/// The names of all types that can be read, for messages.
pub fn readable() -> String {
    let names: Vec<&str> = ["F32", "F16", "BF16"].into_iter().chain(BLOCK_TYPES.iter().map(|kind| kind.name)).collect();
    names.join(", ")
}

/// The line of a small block: scale, then the minimum of types that have one. The others do not use it.
fn small_line(block: &[u8], lines: &mut [Line]) {
    if let [line] = lines {
        *line = Line { scale: half_at(block, 0), minimum: half_at(block, 2) };
    }
}

/// The 16-bit number at `at`, as f32.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Calls `unpack` for each block of `N` bytes and its `W` weights.
fn each<const N: usize, const W: usize>(bytes: &[u8], out: &mut [f32], unpack: impl Fn(&[u8; N], &mut [f32; W])) {
    let (blocks, _) = bytes.as_chunks::<N>();
    let (weights, _) = out.as_chunks_mut::<W>();
    for (block, weights) in blocks.iter().zip(weights) {
        unpack(block, weights);
    }
}

/// Scale, then 32 signed bytes.
fn q8_0(bytes: &[u8], out: &mut [f32]) {
    each::<34, SMALL>(bytes, out, |block, out| {
        let scale = half_at(block, 0);
        for (out, code) in out.iter_mut().zip(&block[2..]) {
            *out = scale * f32::from(code.cast_signed());
        }
    });
}

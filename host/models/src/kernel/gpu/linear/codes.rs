//! Quantized weights on a GPU: codes of 4 or 8 bits, and 32-bit scales and minima of groups. Every block type of GGUF becomes
//! one of these forms when it is loaded, without loss.
//!
//! A weight is `scale * (code - zero) + minimum`. In a dot product, `zero` and `minimum` meet only the sum of `x`:
//! `scale * dot(codes, x) + (minimum - scale * zero) * sum(x)`.

use burn::tensor::Device;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::*;

use firebox_kernels::weights::blocks::{BlockType, Line};
use firebox_kernels::weights::{StoredTensor, StoredType};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::{DeviceMatrix, Element, Form};
use crate::kernel::gpu::{argument, empty_like, upload_bits};

/// Words that a unit reads at once.
const LANES: usize = 4;

/// The layout of codes and of their scales.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct CodeForm {
    /// Bits of a code, 4 or 8.
    pub(super) bits: usize,
    /// Weights of a group, which share a scale.
    group: usize,
    /// The code of zero, which is subtracted from each code.
    zero: u32,
    /// Whether each scale is followed by a minimum.
    minima: bool,
}

impl CodeForm {
    /// Numbers in the scales of so many weights.
    pub(super) fn scales(self, weights: usize) -> usize {
        weights / self.group.max(1) * self.stride()
    }

    /// Numbers of a group: its scale, and its minimum if there are minima.
    fn stride(self) -> usize {
        if self.minima { 2 } else { 1 }
    }

    /// Vectors of words in a group.
    fn vectors(self) -> usize {
        self.group * self.bits / (32 * LANES)
    }
}

impl CodeForm {
    /// The form of a block type.
    fn of(kind: &BlockType) -> Self {
        let groups = &kind.groups;
        let (bits, group, zero) = (groups.bits, groups.weights, groups.zero);
        Self { bits, group, zero: zero.unwrap_or(0), minima: zero.is_none() }
    }

    /// A form that can hold weights of both.
    fn joined(self, other: Self) -> Self {
        let (bits, group) = (self.bits.max(other.bits), self.group.min(other.group));
        match self.zero == other.zero && self.minima == other.minima {
            true => Self { bits, group, ..self },
            // A minimum is more general than a zero.
            false => Self { bits, group, zero: 0, minima: true },
        }
    }
}

/// Weights in the form of a GPU.
pub(super) struct Codes {
    form: CodeForm,
    /// The lowest bits of each byte first.
    words: Vec<u8>,
    scales: Vec<f32>,
}

impl Codes {
    /// `parts` stacked along their rows, or `None` if one of them is not quantized.
    pub(super) fn of(parts: &[StoredTensor]) -> Option<Self> {
        let kinds = parts.iter().map(|part| match part.dtype {
            StoredType::Blocks(kind) => Some(kind),
            _ => None,
        });
        let kinds: Vec<&BlockType> = kinds.collect::<Option<_>>()?;
        let form = kinds.iter().map(|kind| CodeForm::of(kind)).reduce(CodeForm::joined)?;
        let weights: usize = parts.iter().map(StoredTensor::elements).sum();
        let mut codes = Self { form, words: vec![0; weights * form.bits / 8], scales: vec![0.0; form.scales(weights)] };
        let (mut words, mut scales) = (codes.words.as_mut_slice(), codes.scales.as_mut_slice());
        for (part, kind) in parts.iter().zip(kinds) {
            let weights = part.elements();
            let (own_words, later_words) = words.split_at_mut(weights * form.bits / 8);
            let (own_scales, later_scales) = scales.split_at_mut(form.scales(weights));
            form.convert(kind, part.bytes(), own_words, own_scales);
            (words, scales) = (later_words, later_scales);
        }
        Some(codes)
    }
}

impl CodeForm {
    /// Converts whole blocks with all threads.
    fn convert(self, kind: &BlockType, bytes: &[u8], words: &mut [u8], scales: &mut [f32]) {
        let words = words.par_chunks_mut(kind.weights * self.bits / 8);
        let scales = scales.par_chunks_mut(self.scales(kind.weights));
        bytes.par_chunks(kind.bytes).zip(words.zip(scales)).for_each_init(
            || (vec![0.0; kind.weights], vec![Line::default(); kind.weights / kind.groups.weights]),
            |(values, lines), (block, (words, scales))| {
                (kind.unpack)(block, values);
                (kind.groups.lines)(block, lines);
                self.convert_block(kind, (values, lines), words, scales);
            },
        );
    }

    fn convert_block(self, kind: &BlockType, (values, lines): (&[f32], &[Line]), words: &mut [u8], scales: &mut [f32]) {
        let group = kind.groups.weights;
        let per_byte = 8 / self.bits;
        for (at, value) in values.iter().enumerate() {
            let line = lines[at / group];
            let zero = kind.groups.zero.unwrap_or(0) as f32;
            let minimum = if kind.groups.zero.is_some() { 0.0 } else { line.minimum };
            let steps = if line.scale == 0.0 { 0.0 } else { (value - minimum) / line.scale };
            let code = (steps + zero).round().clamp(0.0, ((1_u32 << self.bits) - 1) as f32) as u8;
            words[at / per_byte] |= code << (at % per_byte * self.bits);
            if at.is_multiple_of(self.group) {
                let place = at / self.group * self.stride();
                scales[place] = line.scale;
                if self.minima {
                    scales[place + 1] = minimum - line.scale * zero;
                }
            }
        }
    }
}

impl DeviceMatrix {
    pub(super) fn of_codes(codes: Codes, rows: usize, columns: usize, device: &Device) -> Self {
        let form = Form {
            element: Element::Codes(codes.form),
            lanes: LANES,
            vectors: columns * codes.form.bits / (32 * LANES),
        };
        let scales = codes.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let (words, scales) = (upload_bits(codes.words, device), Some(upload_bits(scales, device)));
        Self { words, scales, rows, columns, form, fragment: None }
    }

    /// The same matrix in F32.
    pub(super) fn widened(&self) -> Self {
        let (Some(codes), Some(scales)) = (self.form.codes(), self.scales.as_ref()) else {
            return Self { words: self.words.clone(), scales: None, ..*self };
        };
        let vectors = self.rows * self.form.vectors;
        let words = empty_like(&self.words, [self.rows * self.columns]);
        let client = words.client.clone();
        let units = CubeDim::new(&client, vectors);
        // SAFETY: units past the last vector return, and each vector is within a group that has scales.
        unsafe {
            widen::launch_unchecked(
                &client,
                calculate_cube_count_elemwise(&client, vectors, units),
                units,
                LANES,
                argument(&self.words, LANES),
                argument(scales, 1),
                argument(&words, LANES),
                vectors as u32,
                codes,
            );
        }
        let form = Form { element: Element::F32, lanes: LANES, vectors: self.columns / LANES };
        Self { words, scales: None, rows: self.rows, columns: self.columns, form, fragment: None }
    }
}

/// Each unit widens one vector of words.
#[cube(launch_unchecked)]
fn widen<N: Size>(
    words: &[Vector<u32, N>],
    scales: &[f32],
    out: &mut [Vector<f32, N>],
    vectors: u32,
    #[comptime] codes: CodeForm,
) {
    let at = ABSOLUTE_POS;
    if at < vectors as usize {
        let (factor, addend) = group_factors(scales, at, codes);
        let lanes = N::value();
        let own = words[at];
        let parts = comptime!(32 / codes.bits);
        #[unroll]
        for part in 0..parts {
            let mut values = Vector::<f32, N>::new(0.0f32);
            #[unroll]
            for lane in 0..lanes {
                let element = comptime!(part * lanes + lane);
                values.insert(lane, factor * code::<N>(own, element, codes.bits) + addend);
            }
            out[at * parts + part] = values;
        }
    }
}

/// What a code of the vector `at` is multiplied with, and what is added then.
#[cube]
pub(super) fn group_factors(scales: &[f32], at: usize, #[comptime] codes: CodeForm) -> (f32, f32) {
    let group = at / comptime!(codes.vectors()) * comptime!(codes.stride());
    let scale = scales[group];
    let mut addend = -(scale * comptime!(codes.zero as f32));
    if comptime!(codes.minima) {
        addend += scales[group + 1];
    }
    (scale, addend)
}

/// The dot product of a vector's codes with the elements of `x` that belong to them.
#[cube]
pub(super) fn codes_dot<N: Size>(words: Vector<u32, N>, x: &Array<Vector<f32, N>>, #[comptime] bits: usize) -> f32 {
    let lanes = N::value();
    let mut sum = 0.0f32;
    #[unroll]
    for element in 0..comptime!(lanes * (32 / bits)) {
        sum += code::<N>(words, element, bits) * x[comptime!(element / lanes)].extract(comptime!(element % lanes));
    }
    sum
}

/// The code of element `at` of a vector, as a number.
#[cube]
pub(super) fn code<N: Size>(words: Vector<u32, N>, #[comptime] at: usize, #[comptime] bits: usize) -> f32 {
    let word = words.extract(comptime!(at / (32 / bits)));
    let shift = comptime!((at % (32 / bits) * bits) as u32);
    f32::cast_from((word >> shift) & comptime!((1u32 << bits) - 1))
}

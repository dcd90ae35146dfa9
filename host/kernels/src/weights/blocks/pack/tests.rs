//! Packing against the package `gguf` and against ggml, and relations that hold for any weights.

use crate::weights::StoredType;
use crate::weights::blocks::{self, BLOCK_TYPES, BlockType};

/// `tests/parity/gguf/packed.bin`: a count (u32) and so many weights (f32); then for each type its number (u32), bytes of
/// blocks (u32), and the blocks: those of the package `gguf` for the types of 32 weights, those of ggml for the K types.
const GOLDENS: &[u8] = include_bytes!("../../../../../../tests/parity/gguf/packed.bin");

fn number(bytes: &mut &[u8]) -> usize {
    let (number, after) = bytes.split_first_chunk::<4>().expect("a number");
    *bytes = after;
    u32::from_le_bytes(*number) as usize
}

fn packed(kind: &BlockType, weights: &[f32]) -> Vec<u8> {
    let mut blocks = vec![0; weights.len() / kind.weights * kind.bytes];
    kind.pack().expect("it can be written")(weights, &mut blocks);
    blocks
}

fn unpacked(kind: &BlockType, blocks: &[u8]) -> Vec<f32> {
    let mut weights = vec![0.0; blocks.len() / kind.bytes * kind.weights];
    (kind.unpack)(blocks, &mut weights);
    weights
}

/// The root of the mean squared difference.
fn error(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    (sum / a.len() as f64).sqrt()
}

fn writable() -> impl Iterator<Item = &'static BlockType> {
    BLOCK_TYPES.iter().filter(|kind| kind.pack().is_some())
}

#[test]
fn small_types_are_those_of_the_package_gguf_and_k_types_are_as_exact_as_those_of_ggml() {
    let mut goldens = GOLDENS;
    let count = number(&mut goldens);
    let (weights, mut goldens) = goldens.split_at(count * 4);
    let weights: Vec<f32> = weights.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let mut seen = Vec::new();
    while !goldens.is_empty() {
        let (kind, length) = (number(&mut goldens), number(&mut goldens));
        let kind = BLOCK_TYPES.iter().find(|known| known.number as usize == kind).expect("a known type");
        let (golden, after) = goldens.split_at(length);
        goldens = after;
        let own = packed(kind, &weights);
        if kind.weights == 32 {
            let first = own.iter().zip(golden).position(|(own, golden)| own != golden);
            assert_eq!(first.map(|at| at / kind.bytes), None, "{}: the first block that differs", kind.name);
        } else {
            let [own, ggml] = [&own, golden].map(|blocks| error(&weights, &unpacked(kind, blocks)));
            assert!(own <= 1.05 * ggml, "{}: an error of {own}, ggml's is {ggml}", kind.name);
        }
        seen.push(kind.number);
    }
    assert_eq!(seen, writable().map(|kind| kind.number).collect::<Vec<_>>(), "every type has a golden");
}

#[test]
fn weights_without_a_range_come_back_as_they_were() {
    assert!(writable().count() > 0);
    for kind in writable() {
        for value in [0.0_f32, 0.5, -0.5] {
            let weights = vec![value; 2 * kind.weights];
            let blocks = packed(kind, &weights);
            assert_eq!(kind.first_odd_scale(&blocks), None, "{}", kind.name);
            let most = error(&weights, &unpacked(kind, &blocks));
            assert!(most <= 0.002 * f64::from(value.abs()), "{} of {value}: {most}", kind.name);
        }
    }
}

#[test]
fn packing_what_was_unpacked_changes_little() {
    assert!(writable().count() > 0);
    let wave = |index: usize| ((index * index) as f32 * 0.37).sin() * (1.0 + (index / 32) as f32);
    for kind in writable() {
        let weights: Vec<f32> = (0..4 * 256).map(wave).collect();
        let once = unpacked(kind, &packed(kind, &weights));
        let twice = unpacked(kind, &packed(kind, &once));
        let (first, second) = (error(&weights, &once), error(&once, &twice));
        assert!(second < 0.5 * first, "{}: {second} after {first}", kind.name);
    }
}

#[test]
fn tiny_huge_and_lonely_weights_give_finite_blocks() {
    let lonely = |value: f32| (0..256).map(move |index| if index == 77 { value } else { 0.0 }).collect::<Vec<_>>();
    let cases =
        [vec![1e-44; 256], vec![f32::MIN_POSITIVE; 256], lonely(1.0), lonely(-1.0), lonely(1e-30), lonely(60_000.0)];
    for (kind, weights) in writable().flat_map(|kind| cases.iter().map(move |weights| (kind, weights))) {
        let blocks = packed(kind, weights);
        assert_eq!(kind.first_odd_scale(&blocks), None, "{}", kind.name);
        let unpacked = unpacked(kind, &blocks);
        assert!(unpacked.iter().all(|weight| weight.is_finite()), "{}", kind.name);
        let peak = weights.iter().fold(0.0_f32, |peak, weight| peak.max(weight.abs()));
        // A number of 16 bits rounds what is far below 6e-8 to nothing.
        assert!(error(weights, &unpacked) <= 0.01 * f64::from(peak).max(1e-5), "{}", kind.name);
    }
    // Beyond what 16 bits hold: the scale is not finite, and whoever writes a file has to look.
    let q8_0 = BLOCK_TYPES.iter().find(|kind| kind.name == "Q8_0").expect("there");
    assert!(q8_0.first_odd_scale(&packed(q8_0, &[1e30; 32])).is_some());
}

#[test]
fn types_are_found_by_their_names() {
    for name in ["F32", "F16", "BF16", "Q4_0", "Q6_K"] {
        assert_eq!(blocks::named(name).map(StoredType::name), Some(name));
        let number = blocks::number_of(blocks::named(name).expect("there"));
        assert_eq!(blocks::stored_type(number), Ok(blocks::named(name).expect("there")));
    }
    assert_eq!(blocks::named("Q9_0"), None);
}

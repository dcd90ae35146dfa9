//! Every type against the Python package `gguf`: random blocks, and what its `dequantize` makes of them.

use super::*;

/// `tests/parity/gguf/blocks.bin`: for each type its number (u32), bytes of blocks (u32), the blocks, and their weights (f32).
const GOLDENS: &[u8] = include_bytes!("../../../../../tests/parity/gguf/blocks.bin");

fn number(bytes: &mut &[u8]) -> usize {
    let (number, after) = bytes.split_first_chunk::<4>().expect("a number");
    *bytes = after;
    u32::from_le_bytes(*number) as usize
}

#[test]
fn each_type_is_unpacked_bit_for_bit_as_by_the_package_gguf() {
    let mut goldens = GOLDENS;
    let mut seen = Vec::new();
    while !goldens.is_empty() {
        let (kind, length) = (number(&mut goldens), number(&mut goldens));
        let kind = BLOCK_TYPES.iter().find(|known| known.number as usize == kind).expect("a type that can be read");
        let (blocks, after) = goldens.split_at(length);
        let count = length / kind.bytes * kind.weights;
        let (weights, after) = after.split_at(count * 4);
        goldens = after;
        let mut unpacked = vec![0.0; count];
        (kind.unpack)(blocks, &mut unpacked);
        for (index, (own, golden)) in unpacked.iter().zip(weights.as_chunks::<4>().0).enumerate() {
            let golden = f32::from_le_bytes(*golden);
            assert_eq!(own.to_bits(), golden.to_bits(), "{} weight {index}: {own} and not {golden}", kind.name);
        }
        seen.push(kind.number);
    }
    assert_eq!(seen, BLOCK_TYPES.iter().map(|kind| kind.number).collect::<Vec<_>>(), "every type has a golden");
}

#[test]
fn a_scale_that_is_no_number_is_found_in_any_block() {
    for kind in BLOCK_TYPES {
        let mut blocks = vec![0; 3 * kind.bytes];
        assert_eq!(kind.first_odd_scale(&blocks), None, "{}", kind.name);
        for at in kind.scales {
            let at = kind.bytes + at;
            blocks[at..at + 2].copy_from_slice(&f16::NAN.to_le_bytes());
            assert!(kind.first_odd_scale(&blocks).is_some_and(f32::is_nan), "{} at {at}", kind.name);
            blocks[at..at + 2].fill(0);
        }
    }
}

#[test]
fn types_that_cannot_be_read_are_called_by_their_names() {
    assert_eq!(stored_type(0), Ok(StoredType::F32));
    assert_eq!(stored_type(16), Err("IQ2_XXS".to_owned()));
    assert!(stored_type(142).is_err_and(|kind| kind.contains("142")));
}

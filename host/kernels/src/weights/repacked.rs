//! Repacked matrices: eight rows of blocks become one row of groups, in which a register finds a part of each row.
//!
//! The eight blocks of a group, one below the other in the matrix, have as many bytes as before. A block is cut into units,
//! which are its 16-bit scales and every four bytes of the rest, and the eight rows' units of the same number are neighbours.
//! Scales come first. (llama.cpp's `repack.cpp` and ik_llama.cpp's `_R8` types do alike.)

use half::f16;

use crate::weights::blocks::BlockType;

/// Rows of a group.
pub const REPACKED_ROWS: usize = 8;

/// Neighbouring units of a block.
#[derive(Debug, Clone, Copy)]
struct Units {
    /// The first byte in a block.
    from: usize,
    /// Bytes of a unit.
    bytes: usize,
    count: usize,
}

const fn halves(from: usize, count: usize) -> Units {
    Units { from, bytes: 2, count }
}

const fn words(from: usize, count: usize) -> Units {
    Units { from, bytes: 4, count }
}

/// The units of each type that can be repacked, by its number, in the order of a group.
const TYPES: &[(u32, &[Units])] = &[
    (2, &[halves(0, 1), words(2, 4)]),
    (3, &[halves(0, 2), words(4, 4)]),
    (8, &[halves(0, 1), words(2, 8)]),
    (12, &[halves(0, 2), words(4, 35)]),
    (13, &[halves(0, 2), words(4, 43)]),
    (14, &[halves(208, 1), words(0, 52)]),
];

fn units(kind: &BlockType) -> &'static [Units] {
    TYPES.iter().find(|known| known.0 == kind.number).map_or(&[], |known| known.1)
}

/// Whether a matrix of these blocks can be repacked, if it has so many rows.
pub fn can_repack(kind: &BlockType, rows: usize) -> bool {
    !units(kind).is_empty() && rows.is_multiple_of(REPACKED_ROWS)
}

/// Repacks rows of `row_bytes` each. Rows that are no whole group are left out.
pub fn repack(kind: &BlockType, rows: &[u8], row_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len());
    if row_bytes == 0 {
        return out;
    }
    for rows in rows.chunks_exact(REPACKED_ROWS * row_bytes) {
        for block in (0..row_bytes).step_by(kind.bytes) {
            for part in units(kind) {
                for unit in 0..part.count {
                    let from = block + part.from + unit * part.bytes;
                    for row in rows.chunks_exact(row_bytes) {
                        out.extend_from_slice(&row[from..from + part.bytes]);
                    }
                }
            }
        }
    }
    out
}

/// Writes the blocks of row `row` of whole groups to `out`, as they were before.
pub fn restore_row(kind: &BlockType, groups: &[u8], row: usize, out: &mut [u8]) {
    let groups = groups.chunks_exact(REPACKED_ROWS * kind.bytes);
    for (group, out) in groups.zip(out.chunks_exact_mut(kind.bytes)) {
        let mut rest = group;
        for part in units(kind) {
            let (own, later) = rest.split_at(REPACKED_ROWS * part.bytes * part.count);
            rest = later;
            let out = &mut out[part.from..part.from + part.bytes * part.count];
            match part.bytes {
                2 => pick::<2>(own, row, out),
                _ => pick::<4>(own, row, out),
            }
        }
    }
}

/// The units of a row.
fn pick<const N: usize>(units: &[u8], row: usize, out: &mut [u8]) {
    let units = units.as_chunks::<N>().0.iter().skip(row).step_by(REPACKED_ROWS);
    out.as_chunks_mut::<N>().0.iter_mut().zip(units).for_each(|(out, unit)| *out = *unit);
}

/// The first scale of whole groups that is not a finite number.
pub(crate) fn first_odd_scale(kind: &BlockType, groups: &[u8]) -> Option<f32> {
    let bytes = 2 * REPACKED_ROWS * kind.scales.len();
    let scales = groups.chunks_exact(REPACKED_ROWS * kind.bytes).flat_map(|group| group[..bytes].as_chunks::<2>().0);
    scales.map(|scale| f16::from_le_bytes(*scale).to_f32()).find(|scale| !scale.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::blocks::BLOCK_TYPES;

    #[test]
    fn every_byte_of_a_block_is_in_one_unit_and_scales_come_first() {
        for (number, units) in TYPES {
            let kind = BLOCK_TYPES.iter().find(|kind| kind.number == *number).expect("a type");
            let mut seen = vec![0; kind.bytes];
            for part in *units {
                seen[part.from..part.from + part.bytes * part.count].iter_mut().for_each(|seen| *seen += 1);
            }
            assert!(seen.iter().all(|seen| *seen == 1), "{}", kind.name);
            let first = units[0];
            let scales: Vec<usize> = (0..first.count).map(|unit| first.from + unit * first.bytes).collect();
            assert_eq!((first.bytes, scales.as_slice()), (2, kind.scales), "{}", kind.name);
        }
    }

    #[test]
    fn repacked_rows_are_restored() {
        for kind in BLOCK_TYPES.iter().filter(|kind| can_repack(kind, 8)) {
            let row_bytes = 3 * kind.bytes;
            let rows: Vec<u8> = (0..16 * row_bytes).map(|at| (at * 31 % 251) as u8).collect();
            let repacked = repack(kind, &rows, row_bytes);
            assert_eq!(repacked.len(), rows.len());
            assert!(repacked != rows);
            for (at, row) in rows.chunks_exact(row_bytes).enumerate() {
                let group = &repacked[at / 8 * 8 * row_bytes..][..8 * row_bytes];
                let mut restored = vec![0; row_bytes];
                restore_row(kind, group, at % 8, &mut restored);
                assert!(restored == row, "{} row {at}", kind.name);
            }
        }
    }

    #[test]
    fn scales_that_are_not_finite_are_found_in_every_row() {
        for kind in BLOCK_TYPES.iter().filter(|kind| can_repack(kind, 8)) {
            for (row, scale) in (0..8).flat_map(|row| kind.scales.iter().map(move |scale| (row, *scale))) {
                let mut rows = vec![0; 8 * 2 * kind.bytes];
                assert_eq!(first_odd_scale(kind, &repack(kind, &rows, 2 * kind.bytes)), None);
                let at = (2 * row + 1) * kind.bytes + scale;
                rows[at..at + 2].copy_from_slice(&f16::NEG_INFINITY.to_le_bytes());
                let odd = first_odd_scale(kind, &repack(kind, &rows, 2 * kind.bytes));
                assert_eq!(odd, Some(f32::NEG_INFINITY), "{} row {row}", kind.name);
            }
        }
    }

    #[test]
    fn only_whole_groups_of_known_types_are_repacked() {
        let named = |name: &str| BLOCK_TYPES.iter().find(|kind| kind.name == name).expect("a type");
        assert!(can_repack(named("Q4_0"), 16) && !can_repack(named("Q4_0"), 12) && !can_repack(named("Q2_K"), 16));
        assert!(repack(named("Q4_0"), &[1; 18 * 7], 18).is_empty() && repack(named("Q4_0"), &[], 0).is_empty());
    }
}

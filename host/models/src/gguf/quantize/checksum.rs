//! Checksums of the tensors of a cached file. With them a load tells a damaged file from one that is as it was written.

use rayon::iter::ParallelIterator as _;
use rayon::slice::ParallelSlice as _;
use xxhash_rust::xxh3::xxh3_64;

/// The key of a file that has the checksums of its tensors, in their order. It is the last key, since its value is known when
/// the tensors are written.
pub(super) const CHECKSUMS: &str = "firebox.checksums";
/// Bytes that one thread reads at a time.
const PART_BYTES: usize = 1 << 18;

/// The checksum of a tensor whose bytes come one strip after another.
#[derive(Debug, Default)]
pub(super) struct Checksum {
    pending: Vec<u8>,
    parts: Vec<u64>,
}

impl Checksum {
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - self.pending.len()));
            self.pending.extend_from_slice(now);
            if self.pending.len() == PART_BYTES {
                self.parts.push(xxh3_64(&self.pending));
                self.pending.clear();
            }
            bytes = later;
        }
    }

    pub(super) fn finish(mut self) -> u64 {
        if !self.pending.is_empty() {
            self.parts.push(xxh3_64(&self.pending));
        }
        of_parts(&self.parts)
    }
}

/// The same of bytes that are there, by all threads.
pub(super) fn of(bytes: &[u8]) -> u64 {
    of_parts(&bytes.par_chunks(PART_BYTES).map(xxh3_64).collect::<Vec<_>>())
}

fn of_parts(parts: &[u64]) -> u64 {
    xxh3_64(&parts.iter().flat_map(|part| part.to_le_bytes()).collect::<Vec<_>>())
}

/// The value of [`CHECKSUMS`]. Its length depends on the number of tensors alone.
pub(super) fn text(sums: &[u64]) -> String {
    sums.iter().map(|sum| format!("{sum:016x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_does_not_depend_on_the_strips() {
        let bytes: Vec<u8> = (0..3 * PART_BYTES + 100).map(|at| (at * 31 % 251) as u8).collect();
        for strip in [1 << 12, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, bytes.len()] {
            for length in [0, 1, PART_BYTES, bytes.len()] {
                let mut sum = Checksum::default();
                bytes[..length].chunks(strip).for_each(|strip| sum.add(strip));
                assert_eq!(sum.finish(), of(&bytes[..length]), "{length} bytes in strips of {strip}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_exchanged_part_changes_the_checksum() {
        let bytes: Vec<u8> = (0..2 * PART_BYTES).map(|at| (at * 31 % 251) as u8).collect();
        let good = of(&bytes);
        for at in [0, 7, PART_BYTES - 1, PART_BYTES, bytes.len() - 1] {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert_ne!(of(&bad), good, "bit {bit} of byte {at}");
            }
        }
        let (first, second) = bytes.split_at(PART_BYTES);
        assert_ne!(of(&[second, first].concat()), good);
    }
}

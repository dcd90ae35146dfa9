//! From ranges of characters to sequences of byte ranges.

/// Ranges of bytes, one for each byte of a character.
pub(crate) type ByteRanges = Vec<(u8, u8)>;

/// The last character of each length in UTF-8.
const LAST: [u32; 4] = [0x7f, 0x7ff, 0xffff, 0x10_ffff];

/// The sequences that the characters from `low` to `high` have in UTF-8. A range is divided until each of its bytes has a range
/// that does not depend on the others (Thompson and Cox, as in RE2).
pub(crate) fn sequences(low: char, high: char) -> Vec<ByteRanges> {
    let mut found = Vec::new();
    divide(u32::from(low), u32::from(high), &mut found);
    found
}

fn divide(low: u32, high: u32, found: &mut Vec<ByteRanges>) {
    if low > high {
        return;
    }
    // Surrogates are no characters.
    if low < 0xe000 && high > 0xd7ff {
        divide(low, 0xd7ff, found);
        return divide(0xe000.max(low), high, found);
    }
    if let Some(last) = LAST.into_iter().find(|last| low <= *last && high > *last) {
        divide(low, last, found);
        return divide(last + 1, high, found);
    }
    // All bytes after one that differs must have their whole range.
    for bits in [6, 12, 18] {
        let rest = (1 << bits) - 1;
        if low >> bits != high >> bits && high > 0x7f {
            if low & rest != 0 {
                divide(low, low | rest, found);
                return divide((low | rest) + 1, high, found);
            }
            if high & rest != rest {
                divide(low, (high & !rest) - 1, found);
                return divide(high & !rest, high, found);
            }
        }
    }
    let (Some(low), Some(high)) = (char::from_u32(low), char::from_u32(high)) else { return };
    let (mut first, mut last) = ([0; 4], [0; 4]);
    let first = low.encode_utf8(&mut first).bytes();
    found.push(first.zip(high.encode_utf8(&mut last).bytes()).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(ranges: &[ByteRanges], text: &str) -> usize {
        let fits = |ranges: &&ByteRanges| {
            ranges.len() == text.len()
                && text.bytes().zip(ranges.iter()).all(|(b, (low, high))| (*low..=*high).contains(&b))
        };
        ranges.iter().filter(fits).count()
    }

    #[test]
    fn every_character_of_a_range_has_one_sequence_and_no_other_has_any() {
        let edges = [0, 1, 0x7e, 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff];
        let edges: Vec<char> = edges.into_iter().filter_map(char::from_u32).collect();
        let mut compared = 0;
        for low in &edges {
            for high in edges.iter().filter(|high| *high >= low) {
                let ranges = sequences(*low, *high);
                for c in (0..=0x10_ffff).step_by(37).filter_map(char::from_u32).chain(edges.iter().copied()) {
                    let expected = usize::from((*low..=*high).contains(&c));
                    assert_eq!(accepts(&ranges, c.encode_utf8(&mut [0; 4])), expected, "{c:?} in {low:?} to {high:?}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 1_000_000);
    }
}

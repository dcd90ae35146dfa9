//! Counts the values of a JSON text without parsing it.

/// An upper bound of the number of values in `text`: every value except the first comes after a bracket, a brace or a
/// comma. Counting stops at the first number above `max`. The bound of a text that is no JSON has no meaning.
#[must_use]
pub fn json_values(text: &[u8], max: usize) -> usize {
    let (mut values, mut quoted, mut escaped) = (1_usize, false, false);
    for byte in text {
        match (quoted, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'[' | b'{' | b',') => {
                values += 1;
                if values > max {
                    break;
                }
            }
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_between_the_number_of_values_and_twice_that() {
        for (text, values) in [
            ("1", 1),
            ("[]", 1),
            ("[[0],[1,2],{}]", 7),
            (r#"{"a": "[[[,,,{{", "b\"[": [1, 2]}"#, 5),
            (r#"["\\", "\"", ","]"#, 4),
        ] {
            let counted = json_values(text.as_bytes(), usize::MAX);
            assert!((values..=2 * values).contains(&counted), "{text}: {counted}");
        }
    }

    #[test]
    fn counting_stops_above_the_limit() {
        let long = b"[".repeat(1 << 20);
        assert_eq!(json_values(&long, 10), 11);
    }
}

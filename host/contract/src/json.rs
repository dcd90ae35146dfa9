//! How many values a JSON text holds, told without reading it into memory.

/// Values that `text` holds at most: every value but the first begins behind a bracket, a brace or a comma. It ends with the
/// first number above `max`. What is no JSON has some number too.
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
    fn no_text_holds_more_values_than_are_counted() {
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
    fn it_ends_above_the_limit() {
        let long = b"[".repeat(1 << 20);
        assert_eq!(json_values(&long, 10), 11);
    }
}

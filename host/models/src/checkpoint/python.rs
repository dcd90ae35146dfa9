//! JSON as Python's `json` module writes it: with `NaN`, `Infinity` and `-Infinity`, which JSON does not have.

use std::borrow::Cow;

use serde_json::Value;

/// The names, the longer of two with the same end first.
const NAMES: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Parses `bytes`. Python's names of numbers become text: a key that is not read may have one, and a key that is read
/// as a number refuses it.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|error| match quote_names(bytes) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(quoted) => serde_json::from_slice(&quoted),
    })
}

/// Puts quotes around the names outside of text.
fn quote_names(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    // The start of the bytes that are not copied yet.
    let (mut copied, mut at, mut in_text) = (0, 0, false);
    while let Some(byte) = bytes.get(at) {
        let name =
            NAMES.iter().find(|name| !in_text && bytes.get(at..).is_some_and(|rest| rest.starts_with(name.as_bytes())));
        if let Some(name) = name {
            out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            at += name.len();
            copied = at;
            continue;
        }
        match byte {
            b'"' => in_text = !in_text,
            // The next byte is part of the text.
            b'\\' if in_text => at += 1,
            _ => {}
        }
        at += 1;
    }
    if out.is_empty() {
        return Cow::Borrowed(bytes);
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_numbers_in_python_are_text() {
        let text = r#"{"a": [0.0, Infinity], "b": NaN, "c": -Infinity, "d": "NaN \" Infinity", "e\\": NaN}"#;
        let expected =
            json!({"a": [0.0, "Infinity"], "b": "NaN", "c": "-Infinity", "d": "NaN \" Infinity", "e\\": "NaN"});
        assert_eq!(parse(text.as_bytes()).expect("it is parsed"), expected);
    }

    #[test]
    fn other_syntax_errors_stay_errors() {
        for text in ["{\"a\": nan}", "{\"a\": NaNs}", "{NaN: 1}x", "{\"a\": inf}", "{\"NaN", "Infinity\\", ""] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        // The first error describes the file as it is.
        assert!(parse(b"{").expect_err("it is cut").to_string().contains("line 1 column 1"));
    }
}

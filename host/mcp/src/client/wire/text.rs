//! Parses the text of a message, and accepts common mistakes of JSON writers in other languages.

use serde_json::Value;

/// Numbers with fewer digits than this are always read exactly.
const DIGITS_EXACT: usize = 19;

/// Parses `text` as JSON, with these exceptions for mistakes whose meaning is clear: half of a surrogate pair becomes U+FFFD;
/// `NaN`, infinities and integers that are too large become strings; control characters in strings are accepted.
///
/// # Errors
/// The parse error.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let first = if has_long_number(text) { Err(String::new()) } else { from_str(text) };
    first.or_else(|_| from_str(&relaxed(text)))
}

fn from_str(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn has_long_number(text: &str) -> bool {
    let mut digits = 0;
    text.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits >= DIGITS_EXACT
    })
}

/// `text` with the accepted mistakes corrected.
fn relaxed(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => string(rest, &mut out),
            '-' | '0'..='9' | 'N' | 'I' => number(rest, &mut out),
            _ => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// Copies a string with its quotes. Returns its length in bytes.
fn string(text: &str, out: &mut String) -> usize {
    out.push('"');
    let mut at = 1;
    while let Some(c) = text[at..].chars().next() {
        at += c.len_utf8();
        match c {
            '"' => {
                out.push('"');
                break;
            }
            '\\' => at += escape(&text[at..], out),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    at
}

/// Copies the escape after a backslash. Returns its length in bytes.
fn escape(text: &str, out: &mut String) -> usize {
    let unit = |text: &str| text.strip_prefix('u').and_then(|hex| u16::from_str_radix(hex.get(..4)?, 16).ok());
    let Some(first) = unit(text) else {
        out.push('\\');
        let Some(c) = text.chars().next() else { return 0 };
        out.push(c);
        return c.len_utf8();
    };
    let second = text.get(5..).and_then(|rest| rest.strip_prefix('\\')).and_then(unit);
    let pair = (0xD800..0xDC00).contains(&first) && second.is_some_and(|second| (0xDC00..0xE000).contains(&second));
    if pair {
        out.push('\\');
        out.push_str(&text[..11]);
        return 11;
    }
    let alone = (0xD800..0xE000).contains(&first);
    out.push_str(if alone { "\\ufffd" } else { "\\" });
    if !alone {
        out.push_str(&text[..5]);
    }
    5
}

/// Copies a number. A number that JSON does not allow, or that cannot be read exactly, becomes a string. Returns its length in
/// bytes.
fn number(text: &str, out: &mut String) -> usize {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    let token = &text[..end];
    let digits = token.strip_prefix('-').unwrap_or(token);
    let whole = digits.len() >= DIGITS_EXACT && digits.bytes().all(|byte| byte.is_ascii_digit());
    let large = whole && token.parse::<i64>().is_err() && token.parse::<u64>().is_err();
    let endless = token.parse::<f64>().is_ok_and(|number| !number.is_finite());
    if large || endless || token == "NaN" {
        out.push('"');
        out.push_str(token);
        out.push('"');
    } else {
        out.push_str(token);
    }
    end
}

/// Finds the id of an answer in a text that is not valid JSON.
pub(super) fn id_in(text: &str) -> Option<Value> {
    let after = text.split_once("\"id\"")?.1.trim_start().strip_prefix(':')?.trim_start();
    let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
    values.next()?.ok().filter(|id| id.is_number() || id.is_string())
}

/// The first `characters` characters of `text` as one line without control characters.
pub(in crate::client) fn excerpt(text: &str, characters: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if count > 0 {
            line.push(' ');
            count += 1;
        }
        for c in word.chars() {
            if count >= characters {
                line.push('…');
                return line;
            }
            line.push(c);
            count += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn common_mistakes_of_json_writers_are_accepted() {
        let cases = [
            (r#"["a\ud800b", "\ud83d\ude00", "\udc00"]"#, json!(["a\u{fffd}b", "😀", "\u{fffd}"])),
            (r#"["\ud800\u0041", "\\ud800"]"#, json!(["\u{fffd}A", "\\ud800"])),
            ("[NaN, Infinity, -Infinity, 1e999, 1.5]", json!(["NaN", "Infinity", "-Infinity", "1e999", 1.5])),
            ("[123456789012345678901234567890, -1]", json!(["123456789012345678901234567890", -1])),
            ("[18446744073709551615, -9223372036854775808]", json!([u64::MAX, i64::MIN])),
            ("[\"a\tb\", \"1234567890123456789012\"]", json!(["a\tb", "1234567890123456789012"])),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
        for broken in ["{\"a\": }", "[1", "\"", "{'a': 1}", "[\"\\", "[\"\\u12"] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_id_of_a_malformed_answer_is_found() {
        assert_eq!(id_in(r#"{"jsonrpc":"2.0","id": 7,"result":{"#), Some(json!(7)));
        assert_eq!(id_in(r#"{"id":"a","result":"#), Some(json!("a")));
        assert_eq!(id_in(r#"{"id":null,"#), None);
        assert_eq!(id_in("nothing"), None);
    }

    #[test]
    fn excerpts_are_one_line() {
        assert_eq!(excerpt("a\n\u{1b}[2J  b", 20), "a [2J b");
        assert_eq!(excerpt("abcdef", 3), "abc…");
    }
}

//! The exact text of a member of a JSON object: numbers keep every digit, keys their order.

/// The text of member `key` of `object`, which must already be known to be a valid JSON object. The last one wins
/// where a key repeats, as in `serde_json`.
pub(super) fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let mut found = None;
    let mut scan = Scan { text: object, at: object.find('{')? + 1 };
    loop {
        let name = scan.value()?;
        scan.skip(':');
        let value = scan.value()?;
        if serde_json::from_str::<String>(name).is_ok_and(|name| name == key) {
            found = Some(value);
        }
        if !scan.skip(',') {
            return found;
        }
    }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// The next value, whole and trimmed; `None` at the end of the object.
    fn value(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        let end = rest.char_indices().find_map(|(at, c)| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if quoted => {}
                '{' | '[' => depth += 1,
                ',' | ':' | '}' | ']' if depth == 0 => return Some(at),
                '}' | ']' => depth -= 1,
                _ => {}
            }
            None
        })?;
        self.at += end;
        Some(rest[..end].trim()).filter(|value| !value.is_empty())
    }

    fn skip(&mut self, expected: char) -> bool {
        let there = self.text[self.at..].starts_with(expected);
        self.at += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn numbers_and_order_survive() {
        let text = r#" { "name" : "a\"}" , "arguments": {"v": 12345678901234567890.10, "a": [1, {"b": "}"}]} } "#;
        assert_eq!(member(text, "arguments"), Some(r#"{"v": 12345678901234567890.10, "a": [1, {"b": "}"}]}"#));
        assert_eq!(member(text, "name"), Some(r#""a\"}""#));
        assert_eq!(member(text, "other"), None);
        assert_eq!(member("{}", "x"), None);
        assert_eq!(member(r#"{"x":1,"x":2}"#, "x"), Some("2"));
    }
}

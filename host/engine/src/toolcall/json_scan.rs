//! Scans JSON text without parsing it: the exact text of a member, and the end of a value that is streamed.

/// The exact text of member `key` of `object`, which must be a valid JSON object. If a key repeats, the last one counts,
/// as in `serde_json`.
pub(super) fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let mut found = None;
    let mut scan = MemberScanner { text: object, at: object.find('{')? + 1 };
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

/// Finds the end of a JSON object or array that comes in pieces. Each byte is scanned once.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    at: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

/// The end of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueEnd {
    /// The value is complete; the position after its last byte.
    Whole(usize),
    /// The value is incomplete; the position of a mark, which JSON cannot contain outside of strings.
    Mark(usize),
}

impl Nesting {
    /// A scan of a value that begins at byte `at` of the text.
    pub(super) fn starting_at(at: usize) -> Self {
        Self { at, ..Self::default() }
    }

    /// Whether the scan is inside of a string.
    pub(super) fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// The position after the value, if `text` (all text so far) contains its end.
    pub(super) fn end(&mut self, text: &str) -> Option<usize> {
        match self.end_or_mark(text, &[])? {
            ValueEnd::Whole(at) | ValueEnd::Mark(at) => Some(at),
        }
    }

    /// As [`Nesting::end`], or the first of `marks` outside of strings. A mark must begin with a byte that JSON cannot
    /// contain there.
    pub(super) fn end_or_mark(&mut self, text: &str, marks: &[&str]) -> Option<ValueEnd> {
        while let Some(byte) = text.as_bytes().get(self.at) {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                _ if self.quoted => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.at += 1;
                        return Some(ValueEnd::Whole(self.at));
                    }
                }
                _ if marks.iter().any(|mark| mark.as_bytes().first() == Some(byte)) => {
                    let rest = &text.as_bytes()[self.at..];
                    if marks.iter().any(|mark| rest.starts_with(mark.as_bytes())) {
                        return Some(ValueEnd::Mark(self.at));
                    }
                    if marks.iter().any(|mark| mark.as_bytes().starts_with(rest)) {
                        return None;
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        None
    }
}

struct MemberScanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> MemberScanner<'a> {
    /// The next value, trimmed, or `None` at the end of the object.
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
        let found = self.text[self.at..].starts_with(expected);
        self.at += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{Nesting, ValueEnd, member};

    #[test]
    fn the_end_is_found_at_every_split() {
        let text = r#"{"a": ["}", "\\\"]"], "b": {}} rest"#;
        for cut in 0..text.len() {
            let mut nesting = Nesting::default();
            let end = nesting.end(&text[..cut]).or_else(|| nesting.end(text));
            assert_eq!(end, Some(text.len() - " rest".len()), "cut at {cut}");
        }
    }

    #[test]
    fn a_mark_ends_a_value_outside_of_strings() {
        let text = r#"{"a": "</x> \" </x>", "b": {"c": 1</x>"#;
        for cut in 0..=text.len() {
            let mut nesting = Nesting::default();
            let first = nesting.end_or_mark(&text[..cut], &["</x>"]);
            let end = first.or_else(|| nesting.end_or_mark(text, &["</x>"]));
            assert_eq!(end, Some(ValueEnd::Mark(text.len() - "</x>".len())), "cut at {cut}");
        }
    }

    #[test]
    fn a_member_keeps_its_exact_text() {
        let text = r#" { "name" : "a\"}" , "arguments": {"v": 12345678901234567890.10, "a": [1, {"b": "}"}]} } "#;
        assert_eq!(member(text, "arguments"), Some(r#"{"v": 12345678901234567890.10, "a": [1, {"b": "}"}]}"#));
        assert_eq!(member(text, "name"), Some(r#""a\"}""#));
        assert_eq!(member(text, "other"), None);
        assert_eq!(member("{}", "x"), None);
        assert_eq!(member(r#"{"x":1,"x":2}"#, "x"), Some("2"));
    }
}

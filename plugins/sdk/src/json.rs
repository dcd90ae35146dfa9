//! A reader of JSON text (RFC 8259) that returns every value as text.
//!
//! A general JSON crate would more than double the size of a small component, mostly for floating-point numbers. Here a number
//! stays the digits that were written, so exact arithmetic loses nothing.

/// Maximum nesting of arrays and objects.
const DEPTH_MAX: usize = 64;

/// The members of one JSON object, each value as JSON text.
pub(crate) fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    let mut reader = Reader { text, at: 0 };
    reader.blank();
    let mut members = Vec::new();
    reader.items('{', '}', |reader| {
        let name = reader.string()?;
        reader.blank();
        reader.expect(':')?;
        members.push((name, reader.value(1)?));
        Ok(())
    })?;
    reader.end().map(|()| members)
}

/// The elements of a JSON array, each as JSON text.
pub(crate) fn elements(text: &str) -> Result<Vec<&str>, String> {
    let mut reader = Reader { text, at: 0 };
    reader.blank();
    let mut elements = Vec::new();
    reader.items('[', ']', |reader| {
        elements.push(reader.value(1)?);
        Ok(())
    })?;
    reader.end().map(|()| elements)
}

/// The text of a JSON string.
pub(crate) fn string(text: &str) -> Result<String, String> {
    let mut reader = Reader { text, at: 0 };
    reader.blank();
    let string = reader.string()?;
    reader.end().map(|()| string)
}

/// Every string in JSON text, names of members included.
pub(crate) fn strings(text: &str) -> Vec<String> {
    let mut reader = Reader { text, at: 0 };
    let mut strings = Vec::new();
    while let Some(c) = reader.peek() {
        match c {
            '"' => match reader.string() {
                Ok(string) => strings.push(string),
                Err(_) => break,
            },
            _ => {
                reader.take();
            }
        }
    }
    strings
}

/// `text` as a JSON string.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn blank(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn unexpected(&self) -> String {
        match self.peek() {
            Some(c) => format!("the JSON text has an unexpected {c:?} at byte {}", self.at + 1),
            None => "the JSON text ends too early".to_owned(),
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.skip(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn end(&mut self) -> Result<(), String> {
        self.blank();
        if self.rest().is_empty() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Reads items between two brackets, separated by commas.
    fn items(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.expect(open)?;
        self.blank();
        if self.skip(close) {
            return Ok(());
        }
        loop {
            self.blank();
            item(self)?;
            self.blank();
            if !self.skip(',') {
                return self.expect(close);
            }
        }
    }

    /// Skips one value and returns its text.
    fn value(&mut self, depth: usize) -> Result<&'a str, String> {
        if depth > DEPTH_MAX {
            return Err(format!("the JSON text is nested more than {DEPTH_MAX} deep"));
        }
        self.blank();
        let start = self.at;
        match self.peek() {
            Some('{') => self.items('{', '}', |reader| {
                reader.string()?;
                reader.blank();
                reader.expect(':')?;
                reader.value(depth + 1).map(|_| ())
            })?,
            Some('[') => self.items('[', ']', |reader| reader.value(depth + 1).map(|_| ()))?,
            Some('"') => self.string().map(|_| ())?,
            Some('-' | '0'..='9') => self.number()?,
            _ => self.word()?,
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn word(&mut self) -> Result<(), String> {
        let word = ["true", "false", "null"].into_iter().find(|word| self.rest().starts_with(word));
        self.at += word.ok_or_else(|| self.unexpected())?.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        self.skip('-');
        if !self.skip('0') {
            self.digits()?;
        }
        if self.skip('.') {
            self.digits()?;
        }
        if self.skip('e') || self.skip('E') {
            let _ = self.skip('+') || self.skip('-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), String> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(self.unexpected()) }
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut string = String::new();
        loop {
            let plain = self.rest().find(['"', '\\']).unwrap_or(self.rest().len());
            let (plain, _) = self.rest().split_at(plain);
            if let Some(control) = plain.find(|c: char| c < ' ') {
                self.at += control;
                return Err(self.unexpected());
            }
            string.push_str(plain);
            self.at += plain.len();
            if self.skip('"') {
                return Ok(string);
            }
            self.expect('\\')?;
            string.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let before = self.at;
        let plain = match self.take() {
            Some(c @ ('"' | '\\' | '/')) => Some(c),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('u') => self.code_point(),
            _ => None,
        };
        plain.ok_or_else(|| {
            self.at = before;
            self.unexpected()
        })
    }

    /// Reads `XXXX` after `\u`. Two escapes may form one character.
    fn code_point(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        let second = if self.skip('\\') && self.skip('u') { self.unit()? } else { 0 };
        char::decode_utf16([first, second].into_iter().filter_map(|unit| u16::try_from(unit).ok())).next()?.ok()
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text() {
        let text = r#" {"a" : 1.50e+3, "b":[1, {"c":null}] , "":"x\"y", "é":true}  "#;
        let expected = [("a", "1.50e+3"), ("b", r#"[1, {"c":null}]"#), ("", r#""x\"y""#), ("é", "true")];
        assert_eq!(members(text).unwrap(), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(members("{}").unwrap(), []);
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(string(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 ü""#).unwrap(), "\"\\/\u{8}\u{c}\n\r\té😀 ü");
        for broken in
            [r#""\x""#, r#""\u12g4""#, r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\u0041""#, "\"a\nb\"", r#""\u12"#]
        {
            assert!(string(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn invalid_json_is_refused() {
        for broken in [
            "",
            "{",
            "[]",
            "1",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":tru}",
            "{\"a\":1 2}",
            "{\"a\":1} x",
            "{a:1}",
            "{'a':1}",
            "{\"a\":[1,]}",
            "{\"a\":\"b}",
        ] {
            assert!(members(broken).is_err(), "{broken}");
        }
        assert_eq!(members("{\"a\":01}").unwrap_err(), "the JSON text has an unexpected '1' at byte 7");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(members(&nested(DEPTH_MAX)).is_ok());
        assert!(members(&nested(DEPTH_MAX + 1)).unwrap_err().contains("nested"));
        assert!(members(&nested(100_000)).unwrap_err().contains("nested"));
    }
}

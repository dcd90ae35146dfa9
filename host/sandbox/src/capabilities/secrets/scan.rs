//! Finds secrets in bytes, as they are and in common encodings: hexadecimal, percent, the escapes of JSON and HTML, and base64
//! at each of its three alignments, in any case of letters.

use std::borrow::Cow;

use aho_corasick::AhoCorasick;
use bytes::{Bytes, BytesMut};

/// Finds the secrets of one plugin and tenant.
pub(crate) struct Scanner {
    /// `None` if there is nothing to find.
    automaton: Option<AhoCorasick>,
    /// The name of the secret of each pattern.
    names: Vec<String>,
    /// Bytes of the longest pattern.
    longest: usize,
}

impl Scanner {
    /// Finds these secrets, by name and value.
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        for (name, value) in secrets {
            for pattern in encodings(value) {
                patterns.push(pattern);
                names.push(name.to_owned());
            }
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        // Secrets have a limit of length, and a plugin has one of capabilities, so the automaton is small enough to be built.
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(&patterns).ok();
        Self { automaton: automaton.filter(|_| longest > 0), names, longest }
    }

    /// The name of a secret that `bytes` contain.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.automaton.as_ref()?.find(bytes)?;
        self.names.get(found.pattern().as_usize()).map(String::as_str)
    }

    /// The text with the names of secrets in place of them.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(automaton) = self.automaton.as_ref().filter(|automaton| automaton.is_match(text)) else {
            return Cow::Borrowed(text);
        };
        let mut hidden = String::with_capacity(text.len());
        automaton.replace_all_with(text, &mut hidden, |found, _, hidden| {
            let name = self.names.get(found.pattern().as_usize()).map_or("", String::as_str);
            hidden.push_str(&format!("[secret {name}]"));
            true
        });
        Cow::Owned(hidden)
    }
}

/// Searches bytes that come in parts. A part is passed on when no secret can begin in it any more.
#[derive(Default)]
pub(crate) struct PartScan {
    held: BytesMut,
}

/// The name of a secret that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found(pub(crate) String);

impl PartScan {
    /// What can be passed on after `part` has come.
    ///
    /// # Errors
    /// `Found`, and nothing of the secret was passed on.
    pub(crate) fn push(&mut self, scanner: &Scanner, part: &Bytes) -> Result<Bytes, Found> {
        self.held.extend_from_slice(part);
        if let Some(name) = scanner.find(&self.held) {
            return Err(Found(name.to_owned()));
        }
        let safe = self.held.len().saturating_sub(scanner.longest.saturating_sub(1));
        Ok(self.held.split_to(safe).freeze())
    }

    /// The rest, at the end.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

/// Searches a text that is passed on part by part as it comes: a secret is found when its last part comes, which is not passed
/// on then.
#[derive(Default)]
pub(crate) struct TailScan {
    /// The end of the text so far, too short for a secret.
    tail: Vec<u8>,
}

impl TailScan {
    /// The name of a secret that ends in `part`.
    pub(crate) fn find<'a>(&mut self, scanner: &'a Scanner, part: &[u8]) -> Option<&'a str> {
        self.tail.extend_from_slice(part);
        let found = scanner.find(&self.tail);
        let kept = scanner.longest.saturating_sub(1);
        self.tail.drain(..self.tail.len().saturating_sub(kept));
        found
    }

    /// Something else follows the text so far.
    pub(crate) fn interrupt(&mut self) {
        self.tail.clear();
    }
}

/// The bytes of a text in percent notation. What is no such notation stays as it is.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte =
            digits.filter(|digits| !digits.starts_with('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    decoded
}

/// The forms of a secret that are searched for.
fn encodings(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms: Vec<Vec<u8>> = [value.to_owned(), hex].into_iter().map(String::into_bytes).collect();
    forms.extend(ESCAPES.iter().map(|escape| value.chars().map(escape).collect::<String>().into_bytes()));
    forms.push(bytes.iter().rev().copied().collect());
    for before in 0..3 {
        let plain = base64(bytes, before);
        let url = plain.iter().map(|c| match c {
            b'+' => b'-',
            b'/' => b'_',
            c => *c,
        });
        forms.push(url.collect());
        forms.push(plain);
    }
    forms.sort();
    forms.dedup();
    forms
}

/// How servers write one character of a text in an address, in JSON and in HTML. A secret has ASCII only.
const ESCAPES: &[fn(char) -> String] = &[
    |c| percent(c, None),
    |c| percent(c, Some("-._~")),
    // JavaScript's `encodeURIComponent`, and forms.
    |c| percent(c, Some("-._~!*'()")),
    |c| if c == ' ' { "+".to_owned() } else { percent(c, Some("-._*")) },
    |c| json(c, ""),
    // PHP, Go, .NET, and everything that is no letter or digit.
    |c| if c == '/' { "\\/".to_owned() } else { json(c, "") },
    |c| json(c, "<>&"),
    |c| json(c, "\"<>&'+`"),
    |c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) },
    |c| html(c, "&quot;", "&#39;", "/"),
    |c| html(c, "&quot;", "&#x27;", "/"),
    |c| html(c, "&#34;", "&#39;", "/"),
    |c| html(c, "&quot;", "&#x27;", "&#x2f;"),
    |c| html(c, "&quot;", "'", "/"),
];

/// The character in percent notation, unless it is a letter or digit or one of `plain`. With `None` it is so in every case.
fn percent(c: char, plain: Option<&str>) -> String {
    let is_plain = plain.is_some_and(|plain| c.is_ascii_alphanumeric() || plain.contains(c));
    if is_plain { c.to_string() } else { format!("%{:02x}", u32::from(c)) }
}

/// The character in a text of JSON, with those of `as_number` by their number.
fn json(c: char, as_number: &str) -> String {
    match c {
        _ if as_number.contains(c) => format!("\\u{:04x}", u32::from(c)),
        '\\' | '"' => format!("\\{c}"),
        _ => c.to_string(),
    }
}

/// The character in HTML, where servers differ in quotes and slashes.
fn html(c: char, quote: &str, apostrophe: &str, slash: &str) -> String {
    match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => quote.to_owned(),
        '\'' => apostrophe.to_owned(),
        '/' => slash.to_owned(),
        _ => c.to_string(),
    }
}

/// The characters of base64 that depend on `bytes` alone, when `before` other bytes precede them.
fn base64(bytes: &[u8], before: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |index: usize| {
        let byte = bytes.get((index / 8).wrapping_sub(before)).copied().unwrap_or(0);
        usize::from(byte >> (7 - index % 8) & 1)
    };
    let (first, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
    let character = |index: usize| {
        let six = (0..6).fold(0, |six, place| six << 1 | bit(index * 6 + place));
        ALPHABET[six & 63]
    };
    (first..end).map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "sk-Ab12/+\"x?y";

    fn scanner() -> Scanner {
        Scanner::new([("key", VALUE), ("other", "another secret")].into_iter())
    }

    /// Base64 of whole bytes, as `base64` writes it.
    fn whole(bytes: &[u8]) -> String {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().div_ceil(3) * 3, 0);
        String::from_utf8(base64(&padded, 0)).expect("ASCII")
    }

    #[test]
    fn a_secret_is_found_in_common_encodings() {
        assert_eq!(whole(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcwAA", "as RFC 4648 says, without padding");
        let scanner = scanner();
        let hex: String = VALUE.bytes().map(|byte| format!("{byte:02X}")).collect();
        for text in [
            format!("Bearer {VALUE}!"),
            VALUE.to_uppercase(),
            hex,
            "sk-Ab12%2F%2b%22x%3Fy".to_owned(),
            VALUE.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            "{\"a\": \"sk-Ab12/+\\\"x?y\"}".to_owned(),
            VALUE.chars().rev().collect(),
            whole(format!("{VALUE} and more").as_bytes()),
            whole(format!("u:{VALUE} and more").as_bytes()),
            whole(format!("user:{VALUE}").as_bytes()),
            whole(format!("a{VALUE}").as_bytes()).replace('+', "-").replace('/', "_"),
        ] {
            assert_eq!(scanner.find(text.as_bytes()), Some("key"), "{text}");
            let redacted = scanner.redact(&text);
            assert!(redacted.contains("[secret key]") && scanner.find(redacted.as_bytes()).is_none(), "{redacted}");
        }
        for text in ["", "sk-Ab12/+\"x", "nothing to hide"] {
            assert_eq!((scanner.find(text.as_bytes()), scanner.redact(text)), (None, Cow::Borrowed(text)));
        }
        assert_eq!(scanner.find(b"another secret"), Some("other"));
        assert_eq!(Scanner::new(std::iter::empty()).find(b"x"), None);
    }

    #[test]
    fn a_secret_is_found_as_servers_of_many_kinds_escape_it() {
        let scanner = Scanner::new([("key", "a/b+c=&<d>'\"e\\f`~(g) h")].into_iter());
        for text in [
            r#"a\/b+c=&<d>'\"e\\f`~(g) h"#,
            r#"a/b+c=\u0026\u003cd\u003e'\"e\\f`~(g) h"#,
            r#"a/b\u002Bc=\u0026\u003Cd\u003E\u0027\u0022e\\f\u0060~(g) h"#,
            r"a\u002fb\u002bc\u003d\u0026\u003cd\u003e\u0027\u0022e\u005cf\u0060\u007e\u0028g\u0029\u0020h",
            r"a/b+c=&amp;&lt;d&gt;&#39;&quot;e\f`~(g) h",
            r"a/b+c=&amp;&lt;d&gt;&#39;&#34;e\f`~(g) h",
            r"a/b+c=&amp;&lt;d&gt;&#x27;&quot;e\f`~(g) h",
            r"a&#x2F;b+c=&amp;&lt;d&gt;&#x27;&quot;e\f`~(g) h",
            "a%2Fb%2Bc%3D%26%3Cd%3E'%22e%5Cf%60~(g)%20h",
            "a%2Fb%2Bc%3D%26%3Cd%3E%27%22e%5Cf%60%7E%28g%29+h",
        ] {
            assert_eq!(scanner.find(text.as_bytes()), Some("key"), "{text}");
        }
    }

    #[test]
    fn a_secret_in_parts_of_a_text_is_found_with_its_last_part() {
        let scanner = scanner();
        for step in 1..VALUE.len() {
            let mut scan = TailScan::default();
            let text = format!("so {VALUE} it is");
            let parts = text.as_bytes().chunks(step);
            let found: Vec<Option<&str>> = parts.map(|part| scan.find(&scanner, part)).collect();
            let end = ("so ".len() + VALUE.len()).div_ceil(step) - 1;
            assert_eq!(found.iter().position(Option::is_some), Some(end), "parts of {step}");
        }
        let mut scan = TailScan::default();
        assert_eq!(scan.find(&scanner, &VALUE.as_bytes()[..4]), None);
        scan.interrupt();
        assert_eq!(scan.find(&scanner, &VALUE.as_bytes()[4..]), None, "something came between");
        for _ in 0..100 {
            assert_eq!(scan.find(&scanner, &[b'x'; 1_000]), None);
        }
        assert!(scan.tail.len() < scanner.longest, "{}", scan.tail.len());
    }

    #[test]
    fn percent_notation_is_decoded_and_everything_else_stays() {
        for (text, expected) in
            [("a%2Db%2d", "a-b-"), ("%", "%"), ("%4", "%4"), ("%zz%41", "%zzA"), ("%+1", "%+1"), ("", "")]
        {
            assert_eq!(percent_decoded(text), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_found_at_every_split_and_nothing_of_it_is_passed_on() {
        let scanner = scanner();
        let text = Bytes::from(format!("before {VALUE} after"));
        for at in 0..=text.len() {
            let (mut scan, mut passed) = (PartScan::default(), Vec::new());
            let mut result = Ok(());
            for part in [text.slice(..at), text.slice(at..)] {
                match scan.push(&scanner, &part) {
                    Ok(bytes) => passed.extend_from_slice(&bytes),
                    Err(found) => result = Err(found),
                }
            }
            assert_eq!(result, Err(Found("key".to_owned())), "{at}");
            assert!(passed.len() <= "before ".len(), "{at}: {passed:?}");
        }
        let (mut scan, harmless) = (PartScan::default(), Bytes::from("x".repeat(500)));
        let mut passed = scan.push(&scanner, &harmless).expect("no secret").to_vec();
        passed.extend_from_slice(&scan.finish());
        assert_eq!(passed, harmless);
    }
}

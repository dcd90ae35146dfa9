//! Patterns of JSON Schema (ECMA 262) in the syntax of Rust's regular expressions, which the library reads.

use std::iter::Peekable;
use std::str::Chars;

use firebox_contract::limits;

/// White space of ECMA 262.
const SPACE: &str =
    "\\t\\n\\x0B\\x0C\\r \\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}\\x{FEFF}";
const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";

/// Translates a pattern.
///
/// # Errors
/// The reason why it is not supported.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    if pattern.len() > limits::GRAMMAR_PATTERN_BYTES_MAX {
        let limit = limits::GRAMMAR_PATTERN_BYTES_MAX;
        return Err(format!("the pattern is longer than {limit} bytes"));
    }
    let mut translator = Translator { rest: pattern.chars().peekable(), out: String::new() };
    translator.run()?;
    Ok(translator.out)
}

/// Whether JSON writes `c` with a `\\u` escape only.
pub(super) fn is_unwritten(c: char) -> bool {
    c < ' ' && !matches!(c, '\u{8}' | '\t' | '\n' | '\u{C}' | '\r')
}

const UNWRITTEN: &str = "control characters are not supported in patterns";

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.next() {
            match c {
                c if is_unwritten(c) => return Err(UNWRITTEN.to_owned()),
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.group()?,
                '.' => self.out.push_str("[^\\n\\r\\x{2028}\\x{2029}]"),
                '{' => self.brace(),
                '}' | ']' => self.out.extend(['\\', c]),
                // The rest has the same meaning, or is a character.
                c => self.out.push(c),
            }
        }
        Ok(())
    }

    fn take(&mut self, expected: char) -> bool {
        self.rest.next_if_eq(&expected).is_some()
    }

    /// A group. Its number or name has no meaning without references to it.
    fn group(&mut self) -> Result<(), String> {
        self.out.push_str("(?:");
        if !self.take('?') {
            return Ok(());
        }
        match self.rest.next() {
            Some(':') => Ok(()),
            Some('<') if !matches!(self.rest.peek(), Some('=' | '!')) => {
                if self.rest.by_ref().any(|c| c == '>') {
                    Ok(())
                } else {
                    Err("a group's name has no end".to_owned())
                }
            }
            Some('=' | '!' | '<') => Err("lookahead and lookbehind are not supported in patterns".to_owned()),
            _ => Err("flags in groups are not supported in patterns".to_owned()),
        }
    }

    /// A repetition, or a brace that is a character.
    fn brace(&mut self) {
        let ahead: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let is_count = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let repeats = match ahead.split_once(',') {
            None => is_count(&ahead),
            Some((least, most)) => is_count(least) && (most.is_empty() || is_count(most)),
        };
        if repeats && self.rest.clone().nth(ahead.chars().count()) == Some('}') {
            self.out.push_str(&format!("{{{ahead}}}"));
            self.rest.by_ref().take(ahead.chars().count() + 1).for_each(drop);
        } else {
            self.out.push_str("\\{");
        }
    }

    fn class(&mut self) -> Result<(), String> {
        let negated = self.take('^');
        if self.take(']') {
            // `[^]` is any character, `[]` is none.
            self.out.push_str(if negated { "(?s:.)" } else { "[^\\x{0}-\\x{10FFFF}]" });
            return Ok(());
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        loop {
            match self.rest.next() {
                None => return Err("a character class has no end".to_owned()),
                Some(']') => break,
                Some('\\') => self.escape(true)?,
                // They have a meaning in classes of Rust only.
                Some(c @ ('[' | '&' | '~')) => self.out.extend(['\\', c]),
                Some('-') if self.rest.peek() == Some(&'-') => self.out.push_str("\\-"),
                Some(c) if is_unwritten(c) => return Err(UNWRITTEN.to_owned()),
                Some(c) => self.out.push(c),
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let c = self.rest.next().ok_or("the pattern ends with a backslash")?;
        let set = |negated: bool, set: &str| match (negated, in_class) {
            (true, _) => format!("[^{set}]"),
            (false, true) => set.to_owned(),
            (false, false) => format!("[{set}]"),
        };
        match c {
            'd' | 'D' => self.out.push_str(&set(c == 'D', DIGIT)),
            'w' | 'W' => self.out.push_str(&set(c == 'W', WORD)),
            's' | 'S' => self.out.push_str(&set(c == 'S', SPACE)),
            'b' if in_class => self.out.push_str("\\x08"),
            'b' | 'B' => return Err("word boundaries are not supported in patterns".to_owned()),
            't' | 'n' | 'r' | 'f' => self.out.extend(['\\', c]),
            '0' | 'v' => return Err(UNWRITTEN.to_owned()),
            '1'..='9' | 'k' => return Err("references to groups are not supported in patterns".to_owned()),
            'c' => {
                let letter =
                    self.rest.next().filter(char::is_ascii_alphabetic).ok_or("\"\\c\" is not followed by a letter")?;
                self.code(letter as u32 % 32)?;
            }
            'x' => {
                let code = self.hex(2)?;
                self.code(code)?;
            }
            'u' => self.unicode()?,
            'p' | 'P' => {
                let name: String = self.rest.by_ref().take_while(|c| *c != '}').collect();
                let name = name.strip_prefix('{').ok_or("\"\\p\" is not followed by a property in braces")?;
                self.out.push_str(&format!("\\{c}{{{name}}}"));
            }
            '<' | '>' => self.out.push(c),
            c if c.is_ascii_punctuation() => self.out.extend(['\\', c]),
            c if c.is_ascii_alphabetic() => return Err(format!("the escape \"\\{c}\" is not supported in patterns")),
            c => self.out.push(c),
        }
        Ok(())
    }

    fn hex(&mut self, digits: usize) -> Result<u32, String> {
        let text: String = self.rest.by_ref().take(digits).collect();
        let code = u32::from_str_radix(&text, 16).ok().filter(|_| text.len() == digits);
        code.ok_or_else(|| "an escape has too few hexadecimal digits".to_owned())
    }

    /// `\uXXXX`, `\u{X…}`, or two halves of a character.
    fn unicode(&mut self) -> Result<(), String> {
        let code = if self.take('{') {
            let text: String = self.rest.by_ref().take_while(|c| *c != '}').collect();
            u32::from_str_radix(&text, 16).map_err(|_| "an escape is not a number in braces")?
        } else {
            let first = self.hex(4)?;
            if (0xD800..0xDC00).contains(&first) && self.take('\\') && self.take('u') {
                let second = self.hex(4)?;
                0x10000 + ((first - 0xD800) << 10) + second.wrapping_sub(0xDC00) % 0x400
            } else {
                first
            }
        };
        self.code(code)
    }

    /// The character with this number.
    fn code(&mut self, code: u32) -> Result<(), String> {
        let c = char::from_u32(code).ok_or("an escape is no character")?;
        if is_unwritten(c) {
            return Err(UNWRITTEN.to_owned());
        }
        self.out.push_str(&format!("\\x{{{code:X}}}"));
        Ok(())
    }
}

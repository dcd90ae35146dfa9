//! Log lines: text from clients, plugins and servers cannot start another line or control a terminal.

use std::fmt::Write as _;
use std::io::{self, Write};

/// A writer that gets one line at a time, and escapes control characters in it.
pub(in crate::cli) struct LogLines<W>(pub(in crate::cli) W);

impl<W: Write> Write for LogLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.chars().any(is_control) {
            let end = &text[line.len()..];
            self.0.write_all(format!("{}{end}", escaped(line)).as_bytes())?;
        } else {
            self.0.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether a character ends the line, controls a terminal, or changes the text direction.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        match is_control(c) {
            // Writing to a string cannot fail.
            true => drop(write!(escaped, "{}", c.escape_unicode())),
            false => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_stays_one_line() {
        let rows = [
            ("INFO answered path=\"/v1\"\n", "INFO answered path=\"/v1\"\n"),
            ("message=a\n2026 INFO forged\n", "message=a\\u{a}2026 INFO forged\n"),
            ("\u{1b}[2Jgone\r\n", "\\u{1b}[2Jgone\\u{d}\n"),
            ("\u{9b}31m \u{202e}txt é 日本\n", "\\u{9b}31m \\u{202e}txt é 日本\n"),
            ("no end", "no end"),
        ];
        for (given, expected) in rows {
            let mut written = Vec::new();
            LogLines(&mut written).write_all(given.as_bytes()).expect("a vector");
            assert_eq!(String::from_utf8_lossy(&written), expected);
        }
    }
}

//! The output of commands, and the one place where text reaches a terminal. Text from a model, a plugin, a tool, a server or a
//! file reaches a terminal without escape sequences. A pipe or a file gets every byte unchanged.

pub(super) mod finish;
pub(super) mod load_bar;
pub(super) mod log_lines;
pub(super) mod reasoning;
pub mod stats;
pub(super) mod table;

use std::io::{self, IsTerminal, Write};
use std::process::Stdio;

use firebox_contract::limits;

/// The outputs of a command.
pub struct Io {
    /// Standard output: answers and data.
    pub out: Box<dyn Write>,
    /// Standard error: progress, statistics, warnings.
    pub err: Box<dyn Write>,
    /// Whether standard error is a terminal.
    pub err_is_terminal: bool,
}

impl Io {
    pub(super) fn of_process() -> Self {
        let out = io::stdout();
        let out: Box<dyn Write> = if out.is_terminal() { Box::new(CleanWriter::new(out)) } else { Box::new(out) };
        Self { out, err: Box::new(stderr()), err_is_terminal: stderr_is_terminal() }
    }
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Standard output for binary data; `None` if it is a terminal.
pub(crate) fn binary_stdout() -> Option<io::Stdout> {
    let out = io::stdout();
    (!out.is_terminal()).then_some(out)
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Standard error for the output of a program that this one starts, such as a compiler.
pub(crate) fn stderr_of_child() -> Stdio {
    Stdio::from(io::stderr())
}

/// Standard error. If it is a terminal, control characters are removed.
pub(crate) fn stderr() -> StandardError {
    let inner = io::stderr();
    if inner.is_terminal() { StandardError::Terminal(CleanWriter::new(inner)) } else { StandardError::Bytes(inner) }
}

/// See [`stderr`].
pub(crate) enum StandardError {
    Terminal(CleanWriter<io::Stderr>),
    Bytes(io::Stderr),
}

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Terminal(writer) => writer.write(bytes),
            Self::Bytes(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Terminal(writer) => writer.flush(),
            Self::Bytes(writer) => writer.flush(),
        }
    }
}

/// Writes text without the characters that control a terminal.
pub(crate) struct CleanWriter<W> {
    inner: W,
    /// The first bytes of a character whose other bytes have not come yet.
    partial: Vec<u8>,
}

impl<W: Write> CleanWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, partial: Vec::new() }
    }
}

impl<W: Write> Write for CleanWriter<W> {
    /// Writes all of `bytes`. Bytes that are not UTF-8 become U+FFFD.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pending = std::mem::take(&mut self.partial);
        pending.extend_from_slice(bytes);
        let mut clean = String::with_capacity(pending.len());
        for chunk in pending.utf8_chunks() {
            clean.push_str(&sanitized(chunk.valid()));
            let is_last = std::ptr::eq(chunk.invalid().as_ptr_range().end, pending.as_ptr_range().end);
            if is_last && is_incomplete(chunk.invalid()) {
                self.partial = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                clean.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.inner.write_all(clean.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether these bytes are the start of a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Whether a character controls the terminal, changes the text direction, or is invisible.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// `text` for a terminal: without control characters, except line feeds and tabs.
pub(crate) fn sanitized(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_control(*c)).collect()
}

/// `text` on one line of at most `max` characters. Control characters are shown as escapes.
pub(crate) fn line(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (shown, c) in text.chars().enumerate() {
        if shown == max {
            out.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_control(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// `message`, cut to [`limits::CLI_MESSAGE_BYTES_MAX`] bytes. A cut message ends with its full length.
pub(crate) fn bounded(message: &str) -> String {
    if message.len() <= limits::CLI_MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(limits::CLI_MESSAGE_BYTES_MAX);
    format!("{}… ({} bytes in total)", &message[..end], message.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        let mut writer = CleanWriter::new(&mut bytes);
        pieces.iter().for_each(|piece| writer.write_all(piece).expect("it writes"));
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn control_characters_are_removed_or_escaped() {
        assert_eq!(sanitized("a\u{1b}[2Jb\n\tc\u{9b}1m\u{202e}d\r\u{7}"), "a[2Jb\n\tc1md");
        assert_eq!(line("a\u{1b}[2J\nb", 100), "a\\u{1b}[2J b");
        assert_eq!(line(&"é".repeat(9), 3), "ééé…");
        // Clipboard, title, cursor, hyperlink, right-to-left, invisible tags, C1 in two bytes.
        for hostile in [
            "\u{1b}]52;c;eA==\u{7}",
            "\u{1b}]0;x\u{7}",
            "\u{1b}c",
            "\u{9d}8;;u\u{9c}",
            "\u{2067}x\u{2069}",
            "\u{e0041}",
        ] {
            assert!(!sanitized(hostile).chars().any(is_control), "{hostile:?}");
        }
    }

    #[test]
    fn control_characters_split_across_writes_are_removed() {
        assert_eq!(written(&[b"a\x1b", b"[31mb", "é".as_bytes()]), "a[31mbé");
        // U+009B and a letter of three bytes, cut in the middle.
        assert_eq!(written(&[b"x\xc2", b"\x9b2Jy"]), "x2Jy");
        assert_eq!(written(&[b"\xe2\x82", b"\xac"]), "€");
        assert_eq!(written(&[b"\xe2", b"\x80", b"\xaez"]), "z");
    }

    #[test]
    fn invalid_utf8_becomes_the_replacement_character() {
        assert_eq!(written(&[b"a\xffb\x9bc"]), "a\u{fffd}b\u{fffd}c");
        assert_eq!(written(&[b"a\xc2", b"b"]), "a\u{fffd}b");
    }

    #[test]
    fn long_messages_are_cut_with_their_length() {
        let long = "é".repeat(limits::CLI_MESSAGE_BYTES_MAX);
        let cut = bounded(&long);
        assert!(cut.len() < limits::CLI_MESSAGE_BYTES_MAX + 64);
        assert!(cut.ends_with(&format!("… ({} bytes in total)", long.len())));
        assert_eq!(bounded("short"), "short");
    }
}

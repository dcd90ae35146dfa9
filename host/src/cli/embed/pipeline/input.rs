//! The input: one text in each line, or one field of each line of JSON.

use std::io::{self, BufRead, Read as _};

use firebox_contract::limits;

/// The byte order mark that some editors write before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A text of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputText {
    /// The number of its line, from 1.
    pub line: u64,
    /// The text.
    pub text: String,
}

/// A line without a valid text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {reason}")]
pub struct BadLine {
    /// The number of its line, from 1.
    pub line: u64,
    /// The problem, as the rest of the sentence "line N …".
    pub reason: String,
}

/// The format of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputFormat {
    /// The line is the text.
    Lines,
    /// The line is a JSON object, the text one of its fields.
    JsonLines {
        /// The name of the field.
        field: String,
    },
}

/// The texts of an input.
pub struct InputTexts<'a> {
    input: Box<dyn BufRead + Send + 'a>,
    format: InputFormat,
    line: u64,
    bytes_read: u64,
}

impl<'a> InputTexts<'a> {
    /// The texts of `input`.
    #[must_use]
    pub fn new(input: Box<dyn BufRead + Send + 'a>, format: InputFormat) -> Self {
        Self { input, format, line: 0, bytes_read: 0 }
    }

    /// The bytes read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next text or invalid line; `None` at the end. Reading can continue after an invalid line.
    ///
    /// # Errors
    /// The error of reading the input.
    pub fn next_text(&mut self) -> io::Result<Option<Result<InputText, BadLine>>> {
        let Some(bytes) = self.next_line()? else { return Ok(None) };
        let line = self.line;
        let text = match bytes {
            Some(bytes) => self.text(bytes),
            None => Err(format!("is longer than {} bytes", limits::EMBED_LINE_BYTES_MAX)),
        };
        Ok(Some(text.map(|text| InputText { line, text }).map_err(|reason| BadLine { line, reason })))
    }

    /// The next line without its line end; `None` at the end of the input, and an inner `None` for a line that is too long.
    fn next_line(&mut self) -> io::Result<Option<Option<Vec<u8>>>> {
        let mut bytes = Vec::new();
        // Two bytes more for the line end, which may be `\r\n`.
        let max = limits::EMBED_LINE_BYTES_MAX as u64 + 2;
        let read = self.input.by_ref().take(max).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.bytes_read += read as u64;
        if !bytes.ends_with(b"\n") && read as u64 == max {
            self.skip_rest()?;
            return Ok(Some(None));
        }
        if self.line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        Ok(Some((bytes.len() <= limits::EMBED_LINE_BYTES_MAX).then_some(bytes)))
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        self.bytes_read += self.input.skip_until(b'\n')? as u64;
        Ok(())
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String, String> {
        let line = String::from_utf8(bytes)
            .map_err(|error| format!("is not UTF-8 (at its byte {})", error.utf8_error().valid_up_to() + 1))?;
        let text = match &self.format {
            InputFormat::Lines => line,
            InputFormat::JsonLines { field } => json_field(&line, field)?,
        };
        if text.trim().is_empty() { Err("is empty".to_owned()) } else { Ok(text) }
    }
}

fn json_field(line: &str, field: &str) -> Result<String, String> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?;
    match value {
        serde_json::Value::Object(mut fields) => match fields.remove(field) {
            Some(serde_json::Value::String(text)) => Ok(text),
            Some(_) => Err(format!("has a field \"{field}\" that is not a string")),
            None => Err(format!("has no field \"{field}\"")),
        },
        _ => Err("is not a JSON object".to_owned()),
    }
}

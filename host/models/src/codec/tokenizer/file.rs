//! The parts of `tokenizer.json` that the library does not report.

use serde::Deserialize;

/// The added tokens with their numbers, and properties that decide how the file is read.
#[derive(Default)]
pub(super) struct TokenizerFile {
    /// Whether any part of it is byte-level.
    pub(super) is_byte_level: bool,
    /// The padding token. It is a special token.
    pub(super) pad_token: Option<String>,
    added: Vec<NumberedToken>,
}

#[derive(Deserialize)]
struct NumberedToken {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct Padding {
    pad_token: String,
}

#[derive(Deserialize)]
struct TokenizerParts {
    #[serde(default)]
    added_tokens: Vec<NumberedToken>,
    #[serde(default)]
    padding: Option<Padding>,
}

impl TokenizerFile {
    /// Reads a file that the library has accepted.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let Ok(parts) = serde_json::from_slice::<TokenizerParts>(bytes) else { return Self::default() };
        let byte_level = b"\"ByteLevel\"";
        Self {
            is_byte_level: bytes.windows(byte_level.len()).any(|window| window == byte_level),
            pad_token: parts.padding.map(|padding| padding.pad_token),
            added: parts.added_tokens,
        }
    }

    /// Texts of added tokens, with their numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (u32, &str)> {
        self.added.iter().map(|token| (token.id, token.content.as_str()))
    }
}

//! Finds the special tokens that mark calls in streamed text.

use super::{Piece, ToolCallParser};
use crate::generation::stop_strings::overlap;

/// The first of `markers` in `text`, with its position.
pub(super) fn first<'a>(text: &str, markers: &[&'a str]) -> Option<(usize, &'a str)> {
    markers.iter().filter_map(|marker| Some((text.find(marker)?, *marker))).min_by_key(|found| found.0)
}

/// The position in `text` from which on it may be the beginning of a marker.
pub(super) fn split_point(text: &str, markers: &[&str]) -> usize {
    text.len() - markers.iter().map(|marker| overlap(text, marker)).max().unwrap_or(0)
}

/// The parser of a turn without tools: all text except the markers.
pub(crate) struct MarkerFilter {
    markers: &'static [&'static str],
    buffer: String,
}

impl MarkerFilter {
    pub(crate) fn new(markers: &'static [&'static str]) -> Self {
        Self { markers, buffer: String::new() }
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        self.buffer.push_str(text);
        let mut out = String::new();
        while let Some((at, marker)) = first(&self.buffer, self.markers) {
            let rest = self.buffer.split_off(at + marker.len());
            out.push_str(&self.buffer[..at]);
            self.buffer = rest;
        }
        let rest = self.buffer.split_off(split_point(&self.buffer, self.markers));
        out.push_str(&std::mem::replace(&mut self.buffer, rest));
        out
    }

    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.buffer)
    }
}

/// `text` as a piece, unless it is empty.
pub(super) fn piece(text: String) -> Option<Piece> {
    (!text.is_empty()).then_some(Piece::Text(text))
}

impl ToolCallParser for MarkerFilter {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        piece(self.text(text)).into_iter().collect()
    }

    fn finish(&mut self) -> Vec<Piece> {
        piece(self.rest()).into_iter().collect()
    }
}

/// Removes the first `bytes` bytes of a buffer, which end at a character.
pub(super) fn take_front(buffer: &mut String, bytes: usize) -> String {
    let rest = buffer.split_off(bytes);
    std::mem::replace(buffer, rest)
}

/// Adds text outside of calls. White space after a call is left out; `after_call` says whether nothing else has come since.
pub(super) fn push_text(after_call: &mut bool, text: &str, pieces: &mut Vec<Piece>) {
    let text = if *after_call { text.trim_start() } else { text };
    if !text.is_empty() {
        *after_call = false;
        pieces.push(Piece::Text(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_markers_are_removed_at_every_split() {
        const MARKERS: &[&str] = &["[TOOL_CALLS]", "[ARGS]"];
        let text = "a [TOOL_CALLS]b[ARGS] [ARG] ö[TOOL_CALLS";
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let mut filter = MarkerFilter::new(MARKERS);
            let mut out = filter.text(&text[..cut]);
            out.push_str(&filter.text(&text[cut..]));
            out.push_str(&filter.rest());
            assert_eq!(out, "a b [ARG] ö[TOOL_CALLS", "cut at {cut}");
        }
    }
}

//! Finds stop strings in streamed text, across any split. Only text that may be the beginning of a stop string is held
//! back.

use memchr::memmem;

/// Finds the first of several stop strings in text that comes in pieces.
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    /// Whether the stop string that was found belongs to the text.
    keep: bool,
    /// Text that may be the beginning of a stop string.
    buffer: String,
}

/// The text that a piece releases.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReleasedText {
    /// Text that is not part of a stop string.
    pub(crate) text: String,
    /// Whether a stop string was found. Then no more text may be emitted.
    pub(crate) stopped: bool,
}

impl StopMatcher {
    pub(crate) fn new(stops: Vec<String>, keep: bool) -> Self {
        Self { stops, keep, buffer: String::new() }
    }

    pub(crate) fn push(&mut self, piece: &str) -> ReleasedText {
        self.buffer.push_str(piece);
        let position = |stop: &String| {
            let at = memmem::find(self.buffer.as_bytes(), stop.as_bytes())?;
            Some((at + stop.len(), at))
        };
        // The stop string that ends first wins, as if the text came character by character.
        if let Some((end, at)) = self.stops.iter().filter_map(position).min() {
            let text = self.buffer[..if self.keep { end } else { at }].to_owned();
            self.buffer.clear();
            return ReleasedText { text, stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.buffer, stop)).max().unwrap_or(0);
        let rest = self.buffer.split_off(self.buffer.len() - keep);
        ReleasedText { text: std::mem::replace(&mut self.buffer, rest), stopped: false }
    }

    /// Ends the text and releases the text that was held back.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.buffer)
    }
}

/// The length in bytes of the longest end of `text` that is a proper prefix of `pattern`.
pub(crate) fn overlap(text: &str, pattern: &str) -> usize {
    let longest = pattern.len().saturating_sub(1).min(text.len());
    (1..=longest)
        .rev()
        .find(|n| {
            text.is_char_boundary(text.len() - n) && pattern.as_bytes().starts_with(&text.as_bytes()[text.len() - n..])
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        run_with(stops, false, pieces)
    }

    fn run_with(stops: &[&str], keep: bool, pieces: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|stop| (*stop).to_owned()).collect(), keep);
        let mut out = String::new();
        for piece in pieces {
            let released = matcher.push(piece);
            out.push_str(&released.text);
            if released.stopped {
                return (out, true);
            }
        }
        out.push_str(&matcher.finish());
        (out, false)
    }

    #[test]
    fn every_split_of_a_text_stops_at_the_same_position() {
        let text = "one END twö ENDE three";
        let cuts: Vec<usize> = (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)).collect();
        assert!(cuts.len() > text.len() / 2);
        for a in &cuts {
            for b in cuts.iter().filter(|b| *b >= a) {
                let pieces = [&text[..*a], &text[*a..*b], &text[*b..]];
                assert_eq!(run(&["ENDE", "three"], &pieces), ("one END twö ".to_owned(), true), "{pieces:?}");
            }
        }
    }

    #[test]
    fn the_stop_string_that_ends_first_wins_at_every_split() {
        for (stops, text, without, with) in [
            (&["c", "b"][..], "abc", "a", "ab"),
            (&["bcd", "c"], "abcd", "ab", "abc"),
            (&["bcd", "d"], "abcd", "a", "abcd"),
            (&["ab", "a"], "xab", "x", "xa"),
        ] {
            for cut in 0..=text.len() {
                let pieces = [&text[..cut], &text[cut..]];
                assert_eq!(run(stops, &pieces), (without.to_owned(), true), "{stops:?} in {pieces:?}");
                assert_eq!(run_with(stops, true, &pieces), (with.to_owned(), true), "{stops:?} in {pieces:?}");
            }
        }
    }

    #[test]
    fn an_incomplete_stop_string_is_released() {
        assert_eq!(run(&["STOP"], &["a ST", "O"]), ("a STO".to_owned(), false));
        assert_eq!(run(&["aab"], &["aa", "aab"]), ("aa".to_owned(), true));
    }

    #[test]
    fn only_text_that_may_match_is_held_back() {
        let mut matcher = StopMatcher::new(vec!["\n\n".to_owned()], false);
        assert_eq!(matcher.push("line\n").text, "line");
        assert_eq!(matcher.push("next").text, "\nnext");
    }
}

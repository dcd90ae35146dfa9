//! Stop strings in a stream: found across any split, trimmed from the output, nothing else delayed.

use memchr::memmem;

/// Finds the first of several strings in text that comes in pieces.
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    /// Text that may still turn out to be the beginning of a stop string.
    held: String,
}

/// What a piece of text became.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released {
    /// Text that is certainly not part of a stop string.
    pub(crate) text: String,
    /// Whether a stop string was found; nothing more may be emitted.
    pub(crate) stopped: bool,
}

impl StopMatcher {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    pub(crate) fn push(&mut self, piece: &str) -> Released {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| memmem::find(self.held.as_bytes(), stop.as_bytes())).min();
        if let Some(at) = found {
            let text = self.held[..at].to_owned();
            self.held.clear();
            return Released { text, stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Released { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// The text ended: what was held is not a stop string after all.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that is a proper beginning of `pattern`.
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
        let mut matcher = StopMatcher::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
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
    fn every_split_of_a_text_stops_at_the_same_place() {
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
    fn the_earliest_stop_string_wins() {
        assert_eq!(run(&["c", "b"], &["abc"]), ("a".to_owned(), true));
    }

    #[test]
    fn a_beginning_that_comes_to_nothing_is_given_back() {
        assert_eq!(run(&["STOP"], &["a ST", "O"]), ("a STO".to_owned(), false));
        assert_eq!(run(&["aab"], &["aa", "aab"]), ("aa".to_owned(), true));
    }

    #[test]
    fn only_what_may_still_match_is_held() {
        let mut matcher = StopMatcher::new(vec!["\n\n".to_owned()]);
        assert_eq!(matcher.push("line\n").text, "line");
        assert_eq!(matcher.push("next").text, "\nnext");
    }
}

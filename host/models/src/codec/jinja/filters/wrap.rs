//! Python's `textwrap.wrap`, as Jinja2's `wordwrap` calls it.

use super::super::strings::is_space;

/// How lines are broken.
pub(super) struct WrapStyle {
    /// Letters of a line, at least 1.
    pub(super) width: usize,
    pub(super) break_long_words: bool,
    pub(super) break_on_hyphens: bool,
}

impl WrapStyle {
    /// The lines of `text`.
    pub(super) fn wrap(&self, text: &str) -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        let mut chunks = self.chunks(&letters);
        chunks.reverse();
        let blank = |chunk: &[char]| chunk.iter().all(|letter| is_space(*letter));
        let mut lines: Vec<String> = Vec::new();
        while !chunks.is_empty() {
            if !lines.is_empty() && chunks.last().is_some_and(|chunk| blank(chunk)) {
                chunks.pop();
            }
            let mut line: Vec<&[char]> = Vec::new();
            let mut length = 0;
            while let Some(chunk) = chunks.pop_if(|chunk| length + chunk.len() <= self.width) {
                length += chunk.len();
                line.push(chunk);
            }
            if chunks.last().is_some_and(|chunk| chunk.len() > self.width) {
                self.break_word(&mut chunks, &mut line, length);
            }
            if line.last().is_some_and(|chunk| blank(chunk)) {
                line.pop();
            }
            if !line.is_empty() {
                lines.push(line.into_iter().flatten().collect::<String>());
            }
        }
        lines
    }

    /// Adds the part of a long word that fits into the line.
    fn break_word<'a>(&self, chunks: &mut Vec<&'a [char]>, line: &mut Vec<&'a [char]>, length: usize) {
        let Some(chunk) = chunks.pop() else { return };
        if !self.break_long_words {
            if line.is_empty() {
                line.push(chunk)
            } else {
                chunks.push(chunk)
            }
            return;
        }
        let mut end = (self.width - length).min(chunk.len());
        let hyphen = chunk[..end].iter().rposition(|letter| *letter == '-').filter(|at| *at > 0);
        if let Some(hyphen) =
            hyphen.filter(|at| self.break_on_hyphens && chunk[..*at].iter().any(|letter| *letter != '-'))
        {
            end = hyphen + 1;
        }
        let (head, tail) = chunk.split_at(end);
        line.push(head);
        chunks.push(tail);
    }

    /// Words, parts of words up to a hyphen, and the spaces between them.
    fn chunks<'a>(&self, letters: &'a [char]) -> Vec<&'a [char]> {
        let mut chunks: Vec<&[char]> = Vec::new();
        let mut start = 0;
        for at in 1..=letters.len() {
            let ends = letters.get(at).is_none_or(|next| {
                is_space(*next) != is_space(letters[at - 1]) || (self.break_on_hyphens && breaks_after(letters, at - 1))
            });
            if ends {
                chunks.push(&letters[start..at]);
                start = at;
            }
        }
        chunks.retain(|chunk| !chunk.is_empty());
        chunks
    }
}

/// Whether the letter at `at` is a hyphen in a word with two letters before it and some behind it.
fn breaks_after(letters: &[char], at: usize) -> bool {
    let letter = |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(|letter| letter.is_alphabetic());
    let before = |back: usize| at.checked_sub(back);
    let hyphen = |at: Option<usize>| at.and_then(|at| letters.get(at)) == Some(&'-');
    let two_before = letter(before(1)) && (letter(before(2)) || (hyphen(before(2)) && letter(before(3))));
    let behind = letter(Some(at + 1)) && (letter(Some(at + 2)) || (hyphen(Some(at + 2)) && letter(Some(at + 3))));
    letters[at] == '-' && two_before && behind
}

//! A component whose token stage answers always the same, so that only the call and the answer's copy are measured.

/// What it answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// No change.
    Keep,
    /// A mask that allows every token.
    Mask,
}

/// The bytes of the component for a model with `vocabulary` tokens.
pub(crate) fn component(vocabulary: usize, answer: Answer) -> Result<Vec<u8>, wat::Error> {
    let (case, words) = match answer {
        Answer::Keep => (0, 0),
        Answer::Mask => (1, vocabulary.div_ceil(32)),
    };
    let text = include_str!("mask.wat").split_once('\n').map_or("", |(_, component)| component);
    wat::parse_str(text.replace("@CASE@", &case.to_string()).replace("@WORDS@", &words.to_string()))
}

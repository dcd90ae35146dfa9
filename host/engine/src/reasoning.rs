//! Separates the reasoning of an answer from its content.
//!
//! A reasoning model writes its thoughts between two marks before its answer. The marks of each family are a row of
//! [`FORMATS`]. The chat template and the vocabulary choose the row, never the name of the model (invariant I10).
//!
//! - `marks` and `harmony` split the text of a turn into reasoning and content.
//! - `gate` follows the tokens of a turn on the model's thread: it says whether the reasoning is closed, and closes it
//!   when its budget is used up.
//! - `switch` finds the variable with which a template switches reasoning off.

mod formats;
mod gate;
mod harmony;
mod marks;
mod switch;

use firebox_contract::{ChatOptions, Error, Prompt, PromptEnd, ReasoningOptions, TextCodec, TokenId};

pub(crate) use self::formats::ReasoningFormat;
pub(crate) use self::gate::ReasoningGate;
use self::switch::Switch;

/// Tokens at the end of a prompt in which the opening mark of the reasoning is searched.
const PROMPT_TAIL_TOKENS: usize = 32;

/// A piece of an assistant turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TurnPart {
    /// Thoughts of the model.
    Reasoning(String),
    /// Text of the answer, with its tool calls.
    Content(String),
}

/// Where a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReasoningState {
    /// The turn has no text yet that tells whether it begins with reasoning.
    Undecided,
    /// The model is reasoning.
    Open,
    /// The reasoning is over, or the turn has none. Everything that follows is content.
    Closed,
}

/// Splits the text of one turn.
pub(crate) trait ReasoningSplitter: Send {
    /// Splits the next piece of text.
    fn push(&mut self, text: &str) -> Vec<TurnPart>;
    /// Ends the turn and returns what was held back.
    fn finish(&mut self) -> Vec<TurnPart>;
    /// Where the turn is after the text so far.
    fn state(&self) -> ReasoningState;
}

/// What is known about the reasoning of a model.
#[derive(Debug, Default)]
pub(crate) struct ReasoningProfile {
    format: Option<&'static ReasoningFormat>,
    switch: Option<Switch>,
}

impl ReasoningProfile {
    /// Reads the marks from template and vocabulary, and finds the template's switch.
    pub(crate) fn of(codec: &dyn TextCodec) -> Self {
        Self { format: formats::of(codec), switch: switch::find(codec) }
    }

    /// The marks of the model's reasoning; `None` for a model without reasoning.
    pub(crate) fn format(&self) -> Option<&'static ReasoningFormat> {
        self.format
    }

    /// Whether the chat template can switch reasoning off and on.
    pub(crate) fn has_switch(&self) -> bool {
        self.switch.is_some()
    }

    /// Sets the template's switch as the request asks, unless its variables set it already.
    ///
    /// # Errors
    /// `Error::Usage` if reasoning must be off and the template has no switch.
    pub(crate) fn apply(&self, chat: &mut ChatOptions, options: &ReasoningOptions) -> Result<(), Error> {
        // Without any reasoning token the template's own way is the better one.
        let enabled = options.enabled.or((options.max_tokens == Some(0) && self.has_switch()).then_some(false));
        match (enabled, self.switch, self.format) {
            (None, ..) | (Some(true), None, _) | (Some(false), None, None) => Ok(()),
            (Some(on), Some(switch), _) => switch.set(chat, on),
            (Some(false), None, Some(_)) => Err(Error::Usage(
                "the model's chat template has no switch for reasoning, so reasoning cannot be switched off; give it a \
                 budget of 0 tokens instead"
                    .to_owned(),
            )),
        }
    }

    /// The state of a turn after its prompt: templates may open the reasoning themselves, or close it.
    pub(crate) fn after_prompt(
        &self,
        codec: &dyn TextCodec,
        prompt: &Prompt,
        end: PromptEnd,
        tokens: &[TokenId],
    ) -> ReasoningState {
        let (Some(format), Prompt::Chat(messages)) = (self.format, prompt) else { return ReasoningState::Closed };
        if end == PromptEnd::FinalMessage {
            // The turn continues the text of this message.
            let text = messages.last().map_or("", |message| message.content.as_str());
            return if format.leaves_open(text) { ReasoningState::Open } else { ReasoningState::Closed };
        }
        match tail(codec, tokens) {
            tail if format.opens_at_end(&tail) => ReasoningState::Open,
            tail if format.closes_at_end(&tail) => ReasoningState::Closed,
            _ => ReasoningState::Undecided,
        }
    }
}

/// The text of the last tokens of a prompt.
fn tail(codec: &dyn TextCodec, tokens: &[TokenId]) -> String {
    let mut decoder = codec.decoder_with_specials(&[]);
    let from = tokens.len().saturating_sub(PROMPT_TAIL_TOKENS);
    // A tail that cannot be decoded opens nothing.
    let mut text: String = tokens[from..].iter().map(|token| decoder.push(*token).unwrap_or_default()).collect();
    text.push_str(&decoder.finish().unwrap_or_default());
    text
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{ReasoningSplitter, TurnPart};

    /// Splits `pieces` and joins neighbours: the reasoning and the content.
    pub(crate) fn run(mut splitter: Box<dyn ReasoningSplitter>, pieces: &[&str]) -> (String, String) {
        let mut parts: Vec<TurnPart> = pieces.iter().flat_map(|piece| splitter.push(piece)).collect();
        parts.extend(splitter.finish());
        let (mut reasoning, mut content) = (String::new(), String::new());
        for part in parts {
            match part {
                TurnPart::Reasoning(text) => reasoning.push_str(&text),
                TurnPart::Content(text) => content.push_str(&text),
            }
        }
        (reasoning, content)
    }

    /// Splits `text` cut at each position, and character by character; all must give the expected parts.
    pub(crate) fn at_every_split(
        make: &dyn Fn() -> Box<dyn ReasoningSplitter>,
        text: &str,
        (reasoning, content): (&str, &str),
    ) {
        let expected = (reasoning.to_owned(), content.to_owned());
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert_eq!(run(make(), &[&text[..cut], &text[cut..]]), expected, "cut at {cut} of {text:?}");
        }
        let singles: Vec<&str> = text.split_inclusive(|_| true).collect();
        assert_eq!(run(make(), &singles), expected, "character by character: {text:?}");
    }
}

//! A tool that asks the model for a summary. A text that is too long for one prompt is divided into parts. The summaries of the
//! parts are summarized together.

use firebox_sdk::{Arguments, Definition, Effects, Outcome, Plugin, Tool};

/// Sentences of a summary by default, and at most.
const SENTENCES_DEFAULT: usize = 3;
const SENTENCES_MAX: usize = 20;
/// Tokens that the answer may have for each sentence.
const TOKENS_PER_SENTENCE: usize = 64;
/// Tokens of a prompt beside the text: the instructions and the chat template.
const PROMPT_TOKENS: usize = 96;
/// Parts of a text at most, so that a call ends within the limits of a plugin.
const PARTS_MAX: usize = 24;
/// Bytes of a text at most.
const TEXT_BYTES_MAX: usize = 256 << 10;

const SCHEMA: &str = r#"{"type":"object","properties":{"text":{"type":"string","description":"The text."},"sentences":{"type":"integer","minimum":1,"maximum":20,"description":"The length of the summary. The default is 3."}},"required":["text"],"additionalProperties":false}"#;

struct Summarize;

impl Plugin for Summarize {
    const DESCRIPTION: &'static str = "A tool that asks the model for a summary of a long text.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for Summarize {
    fn definitions(&self) -> Vec<Definition> {
        let description = "Summarizes a long text with a few sentences.";
        vec![Definition { effects: Effects::READ_ONLY, ..Definition::pure("summarize", description, SCHEMA) }]
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        if name != "summarize" {
            return Outcome::unknown_tool(name);
        }
        let given = Arguments::parse(arguments_json);
        Outcome::from(given.and_then(|given| summary(&imported::HostModel, &given.text("text")?, sentences(&given)?)))
    }
}

/// The model, as far as a summary needs it.
trait Model {
    /// Tokens of a text.
    fn count(&self, text: &str) -> Result<usize, String>;
    /// Tokens that a prompt and its answer may have together, and tokens that are left for all of them.
    fn room(&self) -> Result<(usize, usize), String>;
    /// The answer to `text` under `instructions`, of at most `tokens` tokens.
    fn ask(&self, instructions: &str, text: &str, tokens: usize) -> Result<String, String>;
}

fn sentences(given: &Arguments) -> Result<usize, String> {
    let wrong = || format!("argument \"sentences\" must be a number from 1 to {SENTENCES_MAX}");
    let number = match given.get("sentences") {
        None => SENTENCES_DEFAULT,
        Some(number) => number.parse().map_err(|_| wrong())?,
    };
    if (1..=SENTENCES_MAX).contains(&number) { Ok(number) } else { Err(wrong()) }
}

fn summary(model: &dyn Model, text: &str, sentences: usize) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(format!("argument \"text\" must have 1 to {TEXT_BYTES_MAX} bytes"));
    }
    let answer_tokens = sentences * TOKENS_PER_SENTENCE;
    let (context, left) = model.room()?;
    let room = context.min(left).saturating_sub(PROMPT_TOKENS + answer_tokens);
    if room == 0 {
        return Err("the model has no room for a summary of that length; ask for fewer sentences".to_owned());
    }
    let instructions = format!("Summarize the text of the user in at most {sentences} sentences.");
    let tokens = model.count(text)?;
    if tokens <= room {
        return model.ask(&instructions, text, answer_tokens);
    }
    // Tokens are not spread evenly over a text, so parts are a quarter smaller than they need be.
    let count = (tokens * 4).div_ceil(room * 3);
    let needed = tokens + (count + 1) * (PROMPT_TOKENS + 2 * answer_tokens);
    if count > PARTS_MAX || needed > left {
        return Err(format!("the text has {tokens} tokens, too many for one summary; divide it"));
    }
    let parts = parts(text, text.len().div_ceil(count));
    let summaries = parts.into_iter().map(|part| model.ask(&instructions, part, answer_tokens));
    let joined = summaries.collect::<Result<Vec<_>, _>>()?.join("\n\n");
    if model.count(&joined)? <= room { model.ask(&instructions, &joined, answer_tokens) } else { Ok(joined) }
}

/// Parts of at most `bytes` bytes. Each ends at the end of a paragraph, a sentence or a word, if there is one.
fn parts(text: &str, bytes: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text.trim());
    while rest.len() > bytes {
        let most = rest.floor_char_boundary(bytes).max(rest.chars().next().map_or(1, char::len_utf8));
        let within = &rest[..most];
        let mut ends = ["\n\n", ". ", " "].iter().filter_map(|end| within.rfind(end).map(|at| at + end.len()));
        let (part, after) = rest.split_at(ends.find(|end| *end > most / 2).unwrap_or(most));
        parts.extend(Some(part.trim()).filter(|part| !part.is_empty()));
        rest = after.trim_start();
    }
    parts.extend(Some(rest).filter(|part| !part.is_empty()));
    parts
}

#[cfg(target_arch = "wasm32")]
mod imported {
    use firebox_sdk::model::{self, Options};

    /// The model that serves the request.
    pub(super) struct HostModel;

    impl super::Model for HostModel {
        fn count(&self, text: &str) -> Result<usize, String> {
            model::tokenize(text).map(|tokens| tokens.len()).map_err(|error| model::message(&error))
        }

        fn room(&self) -> Result<(usize, usize), String> {
            let left = model::remaining().map_err(|error| model::message(&error))?;
            Ok((left.context_tokens as usize, left.tokens as usize))
        }

        fn ask(&self, instructions: &str, text: &str, tokens: usize) -> Result<String, String> {
            let max_tokens = u32::try_from(tokens).ok();
            let options = Options { max_tokens, temperature: Some(0.0), ..Options::default() };
            let answer = model::ask(instructions, text, &options).map_err(|error| model::message(&error))?;
            Ok(answer.text.trim().to_owned())
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod imported {
    /// There is no model outside of a host.
    pub(super) struct HostModel;

    impl super::Model for HostModel {
        fn count(&self, _text: &str) -> Result<usize, String> {
            Err("there is no model".to_owned())
        }

        fn room(&self) -> Result<(usize, usize), String> {
            Err("there is no model".to_owned())
        }

        fn ask(&self, _instructions: &str, _text: &str, _tokens: usize) -> Result<String, String> {
            Err("there is no model".to_owned())
        }
    }
}

firebox_sdk::plugin!(Summarize: tool);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Answers with the first word of a text. A word is a token.
    struct FirstWord {
        room: usize,
        asked: RefCell<Vec<String>>,
    }

    impl Model for FirstWord {
        fn count(&self, text: &str) -> Result<usize, String> {
            Ok(text.split_whitespace().count())
        }

        fn room(&self) -> Result<(usize, usize), String> {
            Ok((self.room + PROMPT_TOKENS + TOKENS_PER_SENTENCE, 4_000))
        }

        fn ask(&self, _instructions: &str, text: &str, _tokens: usize) -> Result<String, String> {
            assert!(self.count(text)? <= self.room, "{text}");
            self.asked.borrow_mut().push(text.to_owned());
            Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
        }
    }

    fn model(room: usize) -> FirstWord {
        FirstWord { room, asked: RefCell::default() }
    }

    #[test]
    fn a_short_text_is_asked_about_once_and_a_long_one_in_parts() {
        let short = model(10);
        assert_eq!(summary(&short, " one two ", 1).as_deref(), Ok("one"));
        assert_eq!(*short.asked.borrow(), ["one two"]);
        let long = model(10);
        let text: String = (0..30).map(|number| format!("w{number} ")).collect();
        assert_eq!(summary(&long, &text, 1).as_deref(), Ok("w0"));
        let asked = long.asked.borrow();
        assert!(asked.len() > 3, "{asked:?}");
        let (last, parts) = asked.split_last().expect("one");
        assert_eq!(parts.join(" "), text.trim(), "nothing is lost");
        assert!(last.starts_with("w0\n\n"), "{last}");
    }

    #[test]
    fn a_text_that_cannot_be_used_is_refused() {
        for (text, room, expected) in [
            ("", 10, "1 to"),
            (&*"x".repeat(TEXT_BYTES_MAX + 1), 10, "1 to"),
            (&*"a ".repeat(1_000), 10, "too many"),
            (&*"a ".repeat(3_000), 1_000, "too many"),
            ("a", 0, "no room"),
        ] {
            let error = summary(&model(room), text, 1).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn parts_end_where_a_reader_would_stop() {
        assert_eq!(parts("One two. Three four. Five", 20), ["One two. Three", "four. Five"]);
        assert_eq!(parts("aaaa bbbb\n\ncc dd ee", 14), ["aaaa bbbb", "cc dd ee"]);
        assert_eq!(parts("ééé", 3), ["é", "é", "é"]);
        assert_eq!(parts("  ", 3), [""; 0]);
        assert_eq!(parts("é", 1), ["é"], "a character is never divided");
    }
}

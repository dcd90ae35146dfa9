//! A watermark: of the likely tokens at each place it prefers those that are green. Which tokens are green depends on the token
//! before and on a secret key. A text with many more green tokens than chance allows was written with the key
//! (Kirchenbauer et al. 2023, "A Watermark for Large Language Models").
//!
//! Configuration, with all keys optional and these defaults: `{"key": "", "strength": 2, "green_percent": 50, "detect": false}`.
//! With `detect` the plugin judges the prompt, and the verdict is the answer.

mod green;

use std::cell::RefCell;
use std::rc::Rc;

use firebox_sdk::{
    Arguments, Plugin, Text, TextVerdict, Token, TokenAction, TokenNeeds, TokenSequence, TokenSession, TokenStep,
    Weighted,
};

use green::{GreenList, Score};

/// How many of the most likely tokens are considered at each place.
const CANDIDATES: u32 = 64;
/// From this score on a text counts as marked: chance reaches it once in 30,000 texts.
const MARKED_FROM: f64 = 4.0;

struct Watermark {
    green: GreenList,
    strength: f32,
    detect: bool,
    /// The verdict about the prompt of the current turn.
    verdict: Rc<RefCell<Option<String>>>,
}

impl Plugin for Watermark {
    const DESCRIPTION: &'static str = "Marks answers with a key, and recognises marked texts.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Arguments::parse_config(config_json)?;
        config.only(&["key", "strength", "green_percent", "detect"])?;
        let key = if config.get("key").is_some() { config.text("key")? } else { String::new() };
        let number = |key: &str, default: f32, most: f32| match config.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|value| (0.0..=most).contains(value) && *value > 0.0)
                .ok_or_else(|| format!("configuration key \"{key}\" must be a number above 0 and at most {most}")),
        };
        let percent = number("green_percent", 50.0, 99.0)?;
        let strength = number("strength", 2.0, 100.0)?;
        let detect = config.flag("detect", false)?;
        Ok(Self { green: GreenList::new(&key, percent / 100.0), strength, detect, verdict: Rc::default() })
    }
}

impl Token for Watermark {
    type Session = Session;

    fn start(&mut self, sequence: TokenSequence) -> Result<Session, String> {
        let last = sequence.prompt.last().copied().unwrap_or_default();
        if self.detect {
            *self.verdict.borrow_mut() = Some(verdict(&self.green.score(&sequence.prompt)));
        }
        Ok(Session { green: self.green.clone(), strength: self.strength, ends: self.detect, last })
    }
}

impl Text for Watermark {
    fn push(&mut self, _chunk: String) -> Result<TextVerdict, String> {
        Ok(if self.detect { TextVerdict::Emit(String::new()) } else { TextVerdict::Pass })
    }

    fn finish(&mut self) -> Result<String, String> {
        Ok(self.verdict.borrow_mut().take().unwrap_or_default())
    }
}

fn verdict(score: &Score) -> String {
    let says = if score.z >= MARKED_FROM { "marked with this key" } else { "not marked with this key" };
    format!("{says}: {} of {} tokens are green, z = {:.1}", score.green, score.tokens, score.z)
}

/// The watermark of one sequence.
struct Session {
    green: GreenList,
    strength: f32,
    /// Whether the answer ends at once.
    ends: bool,
    /// The token before the next one.
    last: u32,
}

impl TokenSession for Session {
    fn needs(&self) -> TokenNeeds {
        TokenNeeds { candidates: if self.ends { 0 } else { CANDIDATES }, hold_back: 0 }
    }

    fn next(&mut self, step: TokenStep) -> Result<TokenAction, String> {
        if self.ends {
            return Ok(TokenAction::Stop);
        }
        if let Some(last) = step.accepted.last() {
            self.last = *last;
        }
        let candidates = step.candidates.tokens.into_iter();
        let tokens: Vec<u32> = candidates.filter(|token| self.green.contains(self.last, *token)).collect();
        if tokens.is_empty() {
            return Ok(TokenAction::Keep);
        }
        let values = vec![self.strength; tokens.len()];
        Ok(TokenAction::Bias(Weighted { tokens, values }))
    }
}

firebox_sdk::plugin!(Watermark: token, text);

#[cfg(test)]
mod tests;

//! Hides e-mail addresses, phone numbers, card numbers and IP addresses: from the model, by placeholders such as
//! `[EMAIL_1]` in the messages it is sent, and from the answer. What the messages held is put back in the answer, unless
//! the configuration says otherwise.
//!
//! Configuration, all of it optional: `{"kinds": ["email", "phone", "card", "ip"], "pre": true, "post": true,
//! "restore": true}`.

mod config;
mod detect;
mod json;
mod scan;
mod vault;

use firebox_sdk::{Plugin, Prompt, PromptRequest, PromptVerdict, Text, TextVerdict};

use config::Config;
use scan::{Found, Stream};
use vault::Vault;

struct Redact {
    config: Config,
    vault: Vault,
    stream: Stream,
}

impl Plugin for Redact {
    const DESCRIPTION: &'static str = "Hides personal data from the model and puts it back in the answer.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Config::parse(config_json)?;
        Ok(Self { config, vault: Vault::default(), stream: Stream::default() })
    }
}

impl Prompt for Redact {
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String> {
        if !self.config.pre {
            return Ok(PromptVerdict::Unchanged);
        }
        let mut messages = request.messages;
        for message in &messages {
            self.vault.reserve(&message.content);
        }
        let mut changed = false;
        for message in &mut messages {
            changed |= replace(&mut message.content, |text| self.hide(text));
            for call in &mut message.tool_calls {
                changed |= replace(&mut call.arguments_json, |json| json::map_strings(json, |text| self.hide(text)));
            }
        }
        Ok(if changed { PromptVerdict::Replace(messages) } else { PromptVerdict::Unchanged })
    }
}

impl Text for Redact {
    fn push(&mut self, chunk: String) -> Result<TextVerdict, String> {
        let answer = self.answer(&chunk, false);
        Ok(if answer == chunk { TextVerdict::Pass } else { TextVerdict::Emit(answer) })
    }

    fn finish(&mut self) -> Result<String, String> {
        Ok(self.answer("", true))
    }
}

impl Redact {
    /// A whole text with placeholders in it.
    fn hide(&mut self, text: &str) -> String {
        let kinds = &self.config.kinds;
        let vault = &mut self.vault;
        Stream::default().push(text, true, kinds, false, |found, value| match found {
            Found::Secret(kind) => vault.placeholder(kind, value),
            Found::Placeholder => value.to_owned(),
        })
    }

    /// The next part of the model's answer, as far as it is decided.
    fn answer(&mut self, chunk: &str, complete: bool) -> String {
        let kinds: &[_] = if self.config.post { &self.config.kinds } else { &[] };
        let vault = &mut self.vault;
        self.stream.push(chunk, complete, kinds, self.config.restore, |found, value| match found {
            Found::Secret(kind) => vault.placeholder(kind, value),
            Found::Placeholder => vault.original(value).unwrap_or(value).to_owned(),
        })
    }
}

/// Rewrites a text in place; true when it became another.
fn replace(text: &mut String, rewrite: impl FnOnce(&str) -> String) -> bool {
    let rewritten = rewrite(text);
    let changed = rewritten != *text;
    *text = rewritten;
    changed
}

firebox_sdk::plugin!(Redact: prompt, text);

#[cfg(test)]
mod tests;

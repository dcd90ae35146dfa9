//! Hides e-mail addresses, phone numbers, card numbers and IP addresses. In the messages for the model they are replaced by
//! placeholders such as `[EMAIL_1]`. In the answer, new values are replaced too, and placeholders of the messages are replaced
//! by their values. The configuration can turn each of these off.
//!
//! Configuration, with all keys optional and these defaults: `{"kinds": ["email", "phone", "card", "ip"], "pre": true, "post": true,
//! "restore": true}`.

mod config;
mod detect;
mod json;
mod placeholders;
mod scan;

use firebox_sdk::{Plugin, Prompt, PromptRequest, PromptVerdict, Text, TextVerdict};

use config::Config;
use placeholders::PlaceholderMap;
use scan::{Detection, Stream};

struct Redact {
    config: Config,
    placeholders: PlaceholderMap,
    stream: Stream,
}

impl Plugin for Redact {
    const DESCRIPTION: &'static str = "Hides personal data from the model and puts it back in the answer.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Config::parse(config_json)?;
        Ok(Self { config, placeholders: PlaceholderMap::default(), stream: Stream::default() })
    }
}

impl Prompt for Redact {
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String> {
        if !self.config.pre {
            return Ok(PromptVerdict::Unchanged);
        }
        let mut messages = request.messages;
        for message in &messages {
            self.placeholders.reserve(&message.content);
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
    /// `text` with its personal data replaced by placeholders.
    fn hide(&mut self, text: &str) -> String {
        let kinds = &self.config.kinds;
        let placeholders = &mut self.placeholders;
        Stream::default().push(text, true, kinds, false, |found, value| match found {
            Detection::Secret(kind) => placeholders.placeholder(kind, value),
            Detection::Placeholder => value.to_owned(),
        })
    }

    /// Scans the next chunk of the answer, and returns the text that is decided.
    fn answer(&mut self, chunk: &str, complete: bool) -> String {
        let kinds: &[_] = if self.config.post { &self.config.kinds } else { &[] };
        let placeholders = &mut self.placeholders;
        self.stream.push(chunk, complete, kinds, self.config.restore, |found, value| match found {
            Detection::Secret(kind) => placeholders.placeholder(kind, value),
            Detection::Placeholder => placeholders.original(value).unwrap_or(value).to_owned(),
        })
    }
}

/// Rewrites a text in place. Returns whether it changed.
fn replace(text: &mut String, rewrite: impl FnOnce(&str) -> String) -> bool {
    let rewritten = rewrite(text);
    let changed = rewritten != *text;
    *text = rewritten;
    changed
}

firebox_sdk::plugin!(Redact: prompt, text);

#[cfg(test)]
mod tests;

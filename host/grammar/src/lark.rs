//! Writes a grammar in llguidance's dialect of Lark.

mod arguments;
mod texts;

use std::fmt::Write as _;

use firebox_contract::{Grammar, limits};
use llguidance::api::TopLevelGrammar;
use llguidance::regex_to_lark;
use serde_json::Value;

use crate::error::{GrammarError, first_line};
use crate::schema;
use crate::vocabulary::Vocabulary;

/// A grammar for the library.
pub(crate) struct Written {
    pub(crate) grammar: TopLevelGrammar,
    pub(crate) kind: GrammarKind,
    /// Whether control tokens that mark tool calls are part of it.
    pub(crate) markers: bool,
}

/// What an error of the library is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrammarKind {
    Schema,
    Regex,
    Lark,
}

impl GrammarKind {
    /// The error of a grammar that the library refuses.
    fn explain(self, message: &dyn std::fmt::Display) -> GrammarError {
        let message = message.to_string();
        // The parser of expressions draws the place over several lines. The last line has the reason.
        let regex = message.contains("invalid regex").then(|| message.lines().rev().find_map(regex_reason)).flatten();
        let message = match regex {
            Some(reason) if self == Self::Lark => {
                let place = first_line(&message);
                format!("{}: {reason}", place.trim_end_matches(" (in regex): regex parse error:"))
            }
            // The expression of the request, alone or together with tools. The patterns of a schema were searched before.
            Some(reason) => return GrammarError::Invalid { kind: "regular expression", reason: first_line(reason) },
            None => first_line(&message),
        };
        if self == Self::Schema {
            return GrammarError::Schema { pointer: "#".to_owned(), reason: message };
        }
        if ["too big", "too large", "too complex", "exceeded"].iter().any(|words| message.contains(words)) {
            return GrammarError::TooLarge(message);
        }
        let kind = if self == Self::Regex { "regular expression" } else { "grammar" };
        GrammarError::Invalid { kind, reason: message }
    }
}

/// The reason in a line of the parser of regular expressions.
fn regex_reason(line: &str) -> Option<&str> {
    line.trim().strip_prefix("error: ")
}

/// Writes `grammar` for the library.
///
/// # Errors
/// `Schema` for a JSON Schema that is not supported or exceeds a limit, `Invalid` for a regular expression that is not
/// supported, `TooLarge` for one above a limit.
pub(crate) fn write(grammar: &Grammar, vocabulary: &Vocabulary) -> Result<Written, GrammarError> {
    let written = |grammar, kind| Written { grammar, kind, markers: false };
    match grammar {
        Grammar::JsonSchema(text) => {
            Ok(written(TopLevelGrammar::from_json_schema(schema::prepare(text)?), GrammarKind::Schema))
        }
        Grammar::JsonObject => {
            Ok(written(TopLevelGrammar::from_json_schema(schema::any_object()), GrammarKind::Schema))
        }
        Grammar::Lark(text) => {
            check_size(text)?;
            Ok(written(TopLevelGrammar::from_lark(text.clone()), GrammarKind::Lark))
        }
        composed => {
            let kind = if matches!(composed, Grammar::Regex(_)) { GrammarKind::Regex } else { GrammarKind::Schema };
            let mut writer = LarkWriter { vocabulary, rules: String::new(), count: 0, markers: false };
            let start = writer.part(composed)?;
            let text = format!("start: {start}\n{}", writer.rules);
            let grammar = TopLevelGrammar::from_lark(text);
            Ok(Written { grammar, kind, markers: writer.markers })
        }
    }
}

/// The error of a grammar that the library refuses with `message`. A JSON Schema at fault is searched for the part.
pub(crate) fn explain(
    grammar: &Grammar,
    kind: GrammarKind,
    message: &dyn std::fmt::Display,
    vocabulary: &Vocabulary,
) -> GrammarError {
    match refused_schema(grammar, vocabulary) {
        Err(error) => error,
        Ok(()) => kind.explain(message),
    }
}

fn refused_schema(grammar: &Grammar, vocabulary: &Vocabulary) -> Result<(), GrammarError> {
    match grammar {
        Grammar::JsonSchema(text) | Grammar::Arguments { schema: Some(text), .. } => {
            schema::find_refused(text, vocabulary)
        }
        Grammar::Sequence(parts) | Grammar::Choice(parts) => {
            parts.iter().try_for_each(|part| refused_schema(part, vocabulary))
        }
        Grammar::Repeat { part, .. } => refused_schema(part, vocabulary),
        _ => Ok(()),
    }
}

fn check_size(text: &str) -> Result<(), GrammarError> {
    let (bytes, limit) = (text.len(), limits::GRAMMAR_BYTES_MAX);
    if bytes > limit {
        return Err(GrammarError::TooLarge(format!("it has {bytes} bytes where {limit} are allowed")));
    }
    Ok(())
}

struct LarkWriter<'a> {
    vocabulary: &'a Vocabulary,
    rules: String,
    count: usize,
    markers: bool,
}

impl LarkWriter<'_> {
    /// The expression of a part. Terminals and rules that it needs are added.
    fn part(&mut self, grammar: &Grammar) -> Result<String, GrammarError> {
        Ok(match grammar {
            Grammar::JsonSchema(text) => json(&schema::prepare(text)?),
            Grammar::JsonObject => json(&schema::any_object()),
            Grammar::Regex(text) => {
                check_size(text)?;
                self.regex(text)?
            }
            Grammar::Lark(text) => {
                check_size(text)?;
                format!("%lark {{\n{text}\n}}")
            }
            Grammar::Text(text) => quoted(text),
            Grammar::Marker(text) => self.marked(text),
            Grammar::Arguments { schema, style } => arguments::write(self, schema.as_deref(), *style)?,
            Grammar::Through { end, without } => self.through(end, without)?,
            Grammar::Without(texts) => {
                let name = self.name("T");
                let _always_ok = writeln!(self.rules, "{name}: /(?s:.+)/{}", excluded(texts));
                format!("({name})?")
            }
            Grammar::Sequence(parts) => self.joined(parts, " ")?,
            Grammar::Choice(parts) => self.joined(parts, " | ")?,
            Grammar::Repeat { part, min, max } => {
                let part = self.part(part)?;
                let name = self.name("rule");
                let _always_ok = writeln!(self.rules, "{name}: {part}");
                format!("{name}{{{min},{max}}}")
            }
        })
    }

    fn through(&mut self, end: &str, without: &[String]) -> Result<String, GrammarError> {
        if self.vocabulary.marker(end).is_some() {
            let texts = without.iter().cloned().chain([end.to_owned()]).collect();
            return Ok(format!("{} {}", self.part(&Grammar::Without(texts))?, self.marked(end)));
        }
        // A lazy rule ends at the first occurrence.
        let name = self.name("through");
        if without.is_empty() {
            let _always_ok = writeln!(self.rules, "{name}[lazy]: /(?s:.*){}/", escaped(end));
            return Ok(name);
        }
        let terminal = self.name("T");
        let texts = format!("(/(?s:.*)/{}) {}", excluded(without), quoted(end));
        let _always_ok = writeln!(self.rules, "{terminal}: {texts}\n{name}[lazy]: {terminal}");
        Ok(name)
    }

    /// `text`, in which the texts of control tokens are those tokens.
    fn marked(&mut self, text: &str) -> String {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((at, length, token)) = self.vocabulary.first_marker(rest) {
            parts.extend((at > 0).then(|| quoted(&rest[..at])));
            parts.push(format!("<[{token}]>"));
            self.markers = true;
            rest = &rest[at + length..];
        }
        parts.extend((!rest.is_empty() || parts.is_empty()).then(|| quoted(rest)));
        parts.join(" ")
    }

    fn regex(&mut self, text: &str) -> Result<String, GrammarError> {
        if text.contains("(?P<stop>") || text.contains("(?<stop>") {
            let reason = "a group cannot have the name \"stop\"; give it another name".to_owned();
            return Err(GrammarError::Invalid { kind: "regular expression", reason });
        }
        if text.is_empty() {
            return Ok("\"\"".to_owned());
        }
        let name = self.name("T");
        let _always_ok = writeln!(self.rules, "{name}: /{}/", regex_to_lark(text, ""));
        Ok(name)
    }

    fn joined(&mut self, parts: &[Grammar], between: &str) -> Result<String, GrammarError> {
        let parts = parts.iter().map(|part| self.part(part)).collect::<Result<Vec<_>, _>>()?;
        Ok(format!("({})", parts.join(between)))
    }

    fn name(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}{}", self.count)
    }
}

/// The end of a terminal that contains none of `texts`.
fn excluded(texts: &[String]) -> String {
    texts.iter().map(|text| format!(" & ~/(?s:.*){}(?s:.*)/", escaped(text))).collect()
}

fn json(schema: &Value) -> String {
    format!("%json {schema}")
}

/// `text` as a Lark string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// `text` as a regular expression in slashes.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if c.is_ascii_alphanumeric() || !c.is_ascii() || matches!(c, ' ' | '_' | '<' | '>') => out.push(c),
            c => out.extend(['\\', c]),
        }
    }
    out
}

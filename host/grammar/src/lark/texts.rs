//! Texts that are written without quotes: up to a mark, or between two marks.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{LarkWriter, escaped, quoted};
use crate::error::GrammarError;
use crate::schema::refuse;

/// Keywords that cannot be followed for such a text.
const COMPOSED: [&str; 4] = ["$ref", "anyOf", "not", "oneOf"];

/// Which texts are valid.
#[derive(Debug, Default)]
pub(super) struct TextForm {
    /// The only texts, if they are listed.
    listed: Option<Vec<String>>,
    /// Bounds of the number of characters.
    least: u64,
    most: Option<u64>,
    /// Regular expressions of whole texts.
    patterns: Vec<String>,
    /// Whether line breaks at the ends of a text belong to it.
    keeps_breaks: bool,
}

impl TextForm {
    /// The form of the strings that a rewritten schema allows.
    ///
    /// # Errors
    /// `Schema` for a keyword that cannot be followed.
    pub(super) fn of(schema: &Value, pointer: &str) -> Result<Self, GrammarError> {
        let empty = Map::new();
        let members = schema.as_object().unwrap_or(&empty);
        if let Some(keyword) = COMPOSED.into_iter().find(|keyword| members.contains_key(*keyword)) {
            let reason = format!("\"{keyword}\" of a text is not supported in this model's calls; use \"pattern\"");
            return Err(refuse(&format!("{pointer}/{keyword}"), reason));
        }
        let mut patterns = Vec::new();
        let further = members.get("allOf").and_then(Value::as_array).into_iter().flatten();
        for part in std::iter::once(schema).chain(further) {
            if !std::ptr::eq(part, schema)
                && part.as_object().is_none_or(|part| part.keys().any(|key| key != "pattern"))
            {
                return Err(refuse(&format!("{pointer}/allOf"), "it is not supported for a text; write one schema"));
            }
            let Some(pattern) = part.get("pattern").and_then(Value::as_str) else { continue };
            patterns.push(whole(pattern).map_err(|reason| refuse(&format!("{pointer}/pattern"), reason))?);
        }
        let bound = |key: &str| members.get(key).and_then(Value::as_u64);
        let (least, most) = (bound("minLength").unwrap_or(0), bound("maxLength"));
        let fits = |text: &&str| {
            let length = text.chars().count() as u64;
            length >= least && most.is_none_or(|most| length <= most)
        };
        let values = members.get("enum").and_then(Value::as_array).map(Vec::as_slice);
        let values = values.or_else(|| members.get("const").map(std::slice::from_ref));
        let listed = values
            .map(|values| values.iter().filter_map(Value::as_str).filter(fits).map(str::to_owned).collect::<Vec<_>>());
        if listed.is_some() && !patterns.is_empty() {
            return Err(refuse(
                &format!("{pointer}/enum"),
                "a pattern beside listed texts is not supported; leave one out",
            ));
        }
        if listed.as_ref().is_some_and(Vec::is_empty) {
            return Err(refuse(pointer, "no listed text is valid"));
        }
        Ok(Self { listed, least, most, patterns, keeps_breaks: true })
    }

    /// The same form, with or without line breaks at the ends of a text.
    pub(super) fn with_breaks(self, keeps_breaks: bool) -> Self {
        Self { keeps_breaks, ..self }
    }

    /// The terminal of a text that does not contain `end`, and whether the text may also be empty. `None` if it must be.
    fn terminal(&self, end: &str) -> Option<(String, bool)> {
        let least = self.least.max(1);
        if self.most.is_some_and(|most| most < least) {
            return None;
        }
        let most = self.most.map(|most| most.to_string()).unwrap_or_default();
        let mut terminal = format!("/(?s:.{{{least},{most}}})/ & ~/(?s:.*){}(?s:.*)/", escaped(end));
        for pattern in &self.patterns {
            terminal.push_str(&format!(" & /{}/", llguidance::regex_to_lark(pattern, "")));
        }
        if !self.keeps_breaks {
            terminal.push_str(" & ~/\\n(?s:.*)/ & ~/(?s:.*)\\n/");
        }
        Some((terminal, self.least == 0 && self.patterns.is_empty()))
    }

    /// The listed texts that can be written before `end`.
    fn writable(&self, end: &str) -> Option<Vec<&str>> {
        let fits = |text: &&str| {
            !text.contains(end) && (self.keeps_breaks || !(text.starts_with('\n') || text.ends_with('\n')))
        };
        self.listed.as_ref().map(|texts| texts.iter().map(String::as_str).filter(fits).collect())
    }
}

/// A text and `end`, which the text does not contain.
pub(super) fn up_to(lark: &mut LarkWriter<'_>, form: &TextForm, end: &str) -> String {
    let mark = end.trim();
    let closing = lark.marked(end);
    if let Some(texts) = form.writable(mark) {
        let texts: Vec<String> = texts.iter().map(|text| lark.marked(&format!("{text}{end}"))).collect();
        return format!("({})", texts.join(" | "));
    }
    let Some((terminal, may_be_empty)) = form.terminal(mark) else { return closing };
    let name = lark.name("T");
    if end.starts_with(mark) && lark.vocabulary.marker(mark).is_some() {
        // The control token ends the text.
        let _always_ok = writeln!(lark.rules, "{name}: {terminal}");
        return if may_be_empty { format!("({name})? {closing}") } else { format!("{name} {closing}") };
    }
    // A lazy rule ends at the first occurrence of the end, which the text does not contain.
    let rule = lark.name("text");
    let _always_ok = writeln!(lark.rules, "{name}: ({terminal}) {}\n{rule}[lazy]: {name}", quoted(end));
    if may_be_empty { format!("({rule} | {closing})") } else { rule }
}

/// A text between two marks.
pub(super) fn between(lark: &mut LarkWriter<'_>, form: &TextForm, mark: &str) -> String {
    format!("{} {}", lark.marked(mark), up_to(lark, form, mark))
}

/// A regular expression of whole texts from one that is searched in a text. Anchors are only read at the ends.
fn whole(pattern: &str) -> Result<String, String> {
    let (begins, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let escapes = |text: &str| text.len() - text.trim_end_matches('\\').len();
    let (ends, rest) = match rest.strip_suffix('$') {
        Some(rest) if escapes(rest) % 2 == 0 => (true, rest),
        _ => (false, rest),
    };
    let (mut depth, mut class, mut escaped) = (0_usize, false, false);
    for c in rest.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => class = false,
            _ if class => {}
            '[' => class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '^' | '$' => return Err("\"^\" and \"$\" are only supported at the ends of this pattern".to_owned()),
            '|' if depth == 0 && (begins || ends) => {
                return Err("put the alternatives of this pattern into a group, as in \"^(a|b)$\"".to_owned());
            }
            _ => {}
        }
    }
    let any = "(?s:.*)";
    Ok(format!("{}(?:{rest}){}", if begins { "" } else { any }, if ends { "" } else { any }))
}

//! Control tokens in the text of a conversation: they are found before the template is rendered, and tokenized as plain
//! text.
//!
//! A chat template writes control tokens such as `<|im_end|>` as text, and a tokenizer turns that text into the token
//! wherever it occurs. A message, a tool result or a tool's description could therefore end its own message and write a
//! system message.
//!
//! [`ControlTokens::guard`] puts a separator into every such text of the conversation, so that the rendered prompt
//! shows which control tokens are the template's. [`ControlTokens::encode`] then removes the separators, and encodes
//! text with foreign control tokens with a tokenizer that does not know them. A conversation without such text is
//! unchanged: its tokens are those of transformers.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};
use firebox_contract::TokenId;
use serde_json::{Map, Value};
use tokenizers::{AddedToken, NormalizedString, Normalizer as _, NormalizerWrapper, Tokenizer};

/// Parts of the texts of tokens that mark a tool call or a thought. Answers contain such tokens as text.
pub(super) const ANSWER_MARKERS: &[&str] = &["tool", "TOOL", "[ARGS]", "[CALL_ID]", "python_tag", "think", "THINK"];

/// Tokens that mark the messages inside of one answer, for each family: gpt-oss's harmony, and Gemma 4. Answers contain them
/// as text if the vocabulary has the first two. The text of a conversation never becomes one.
pub(super) const MESSAGE_MARKERS: &[&[&str]] = &[
    &["<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>"],
    &["<|channel>", "<channel|>", "<|\"|>"],
];

/// A token before a text that is not at the beginning of a prompt: some tokenizers add a space there.
const ANCHOR: &str = "\u{F8FF}firebox\u{F8FF}";

/// The control tokens of one tokenizer.
pub(super) struct ControlTokens {
    tokens: Vec<ControlToken>,
    finder: AhoCorasick,
    /// All proper beginnings of control tokens, and the length of the longest in bytes.
    beginnings: HashSet<Vec<u8>>,
    longest: usize,
    /// The tokenizer's own normalizer, if it is applied before control tokens are searched for.
    normalizer: Option<NormalizerWrapper>,
    ids: HashSet<TokenId>,
    /// Made on first use: it has a second copy of the vocabulary.
    plain: OnceLock<Result<PlainTokenizer, String>>,
}

struct ControlToken {
    one_letter: bool,
    /// Whether an assistant's text may contain it: a call or a thought of an earlier answer.
    in_answers: bool,
    strips_left: bool,
    strips_right: bool,
}

/// The tokenizer without its control tokens.
struct PlainTokenizer {
    tokenizer: Tokenizer,
    /// The added tokens that both tokenizers have, with their ids in the other one.
    ids: HashMap<TokenId, TokenId>,
    /// Its own anchor.
    anchor: Option<TokenId>,
}

/// The author of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    Assistant,
    Anyone,
}

/// One control token in a text, as bytes from and to.
#[derive(Clone, Copy)]
struct Occurrence {
    start: usize,
    end: usize,
    token: usize,
}

impl ControlTokens {
    /// The control tokens of `tokenizer`: its special tokens, and others that are written as marks. `None` if there are
    /// none.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let added = tokenizer.get_added_tokens_decoder();
        let control: Vec<(TokenId, &AddedToken)> =
            added.iter().filter(|(_, token)| is_control(token)).map(|(id, token)| (*id, token)).collect();
        if control.is_empty() {
            return None;
        }
        let texts: Vec<&str> = control.iter().map(|(_, token)| token.content.as_str()).collect();
        let finder = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&texts).ok()?;
        let beginnings: HashSet<Vec<u8>> = texts
            .iter()
            .flat_map(|text| text.char_indices().skip(1).map(|(end, _)| text.as_bytes()[..end].to_vec()))
            .collect();
        let normalized = control.iter().any(|(_, token)| token.normalized);
        Some(Self {
            tokens: control.iter().map(|(_, token)| ControlToken::of(token)).collect(),
            finder,
            longest: beginnings.iter().map(Vec::len).max().unwrap_or_default(),
            beginnings,
            normalizer: tokenizer.get_normalizer().filter(|_| normalized).cloned(),
            ids: control.iter().map(|(id, _)| *id).collect(),
            plain: OnceLock::new(),
        })
    }

    /// Puts a separator into every control token in the texts of a conversation, of its tools and of the template's
    /// other inputs. Returns the separator, which no text and not the `template` contains. `None` if there is no such
    /// text; then nothing has changed.
    pub(super) fn guard(&self, messages: &mut [Value], others: &mut [Value], template: &str) -> Option<String> {
        let mut suspicious = false;
        each_text(messages, others, &mut |text, author| suspicious |= self.is_suspicious(text, author));
        if !suspicious {
            return None;
        }
        let separator = separator(messages, others, template);
        let mark = &|text: &str, author| self.marked(text, author, &separator);
        messages.iter_mut().for_each(|message| mark_message(message, mark));
        others.iter_mut().for_each(|other| mark_strings(other, Author::Anyone, mark));
        Some(separator)
    }

    /// The tokens of a prompt that was rendered from guarded texts.
    ///
    /// # Errors
    /// The tokenizer's message.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, marked: &str, separator: &str) -> Result<Vec<TokenId>, String> {
        let (text, cuts) = without_separators(marked, separator);
        let (allowed, foreign) = self.occurrences(&text, &cuts);
        let mut tokens = Vec::new();
        let mut encoded = 0;
        for (start, end) in self.stretches(&text, &allowed) {
            let from = foreign.partition_point(|found| found.start < start);
            if !foreign[from..].iter().take_while(|found| found.start < end).any(|found| found.end <= end) {
                continue;
            }
            tokens.extend(encode(tokenizer, &text[encoded..start])?);
            tokens.extend(self.encode_plain(tokenizer, &text, (start, end), &cuts)?);
            encoded = end;
        }
        tokens.extend(encode(tokenizer, &text[encoded..])?);
        Ok(tokens)
    }

    fn is_suspicious(&self, text: &str, author: Author) -> bool {
        let whole = |text: &str| {
            self.finder.find_overlapping_iter(text).any(|found| self.matters(found.pattern().as_usize(), author))
        };
        whole(text) || self.beginning_at_end(text).is_some() || self.normalized(text).is_some_and(|text| whole(&text))
    }

    fn matters(&self, token: usize, author: Author) -> bool {
        author == Author::Anyone || !self.tokens[token].in_answers
    }

    /// `text` after the tokenizer's normalization, if control tokens are searched for after it.
    fn normalized(&self, text: &str) -> Option<String> {
        let mut normalized = NormalizedString::from(text);
        self.normalizer.as_ref()?.normalize(&mut normalized).ok()?;
        Some(normalized.get().to_owned()).filter(|normalized| normalized != text)
    }

    /// If `text` ends with the beginning of a control token, which the next text might complete: the offset after the
    /// first character of that beginning.
    fn beginning_at_end(&self, text: &str) -> Option<usize> {
        let bytes = text.as_bytes();
        let from = bytes.len().saturating_sub(self.longest);
        let start = (from..bytes.len()).find(|start| self.beginnings.contains(&bytes[*start..]))?;
        Some(after_letter(text, start))
    }

    /// `text` with the separator after the first character of every control token that is not allowed in it.
    fn marked(&self, text: &str, author: Author, separator: &str) -> Option<String> {
        let offsets = |text: &str| {
            let found = self.finder.find_overlapping_iter(text);
            let found = found.filter(|found| self.matters(found.pattern().as_usize(), author));
            let offset = |found: aho_corasick::Match| match self.tokens[found.pattern().as_usize()].one_letter {
                true => found.start(),
                false => after_letter(text, found.start()),
            };
            let mut offsets: Vec<usize> = found.map(offset).collect();
            offsets.extend(self.beginning_at_end(text));
            offsets.sort_unstable();
            offsets.dedup();
            offsets
        };
        let (mut text, mut at) = (text.to_owned(), offsets(text));
        // Letters such as fullwidth ones are marked as the tokenizer would normalize them.
        if let Some(normalized) = self.normalized(&text) {
            let there = offsets(&normalized);
            if there.len() > at.len() {
                (text, at) = (normalized, there);
            }
        }
        if at.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(text.len() + at.len() * separator.len());
        let mut from = 0;
        for offset in at {
            out.push_str(&text[from..offset]);
            out.push_str(separator);
            from = offset;
        }
        out.push_str(&text[from..]);
        Some(out)
    }

    /// The control tokens of a prompt: the template's own, as a tokenizer finds them (the leftmost, the longest), and
    /// all that contain the offset of a separator.
    fn occurrences(&self, text: &str, cuts: &[usize]) -> (Vec<Occurrence>, Vec<Occurrence>) {
        let found = self.finder.find_overlapping_iter(text);
        let found = found.map(|at| Occurrence { start: at.start(), end: at.end(), token: at.pattern().as_usize() });
        let is_foreign = |at: &Occurrence| {
            let first = if self.tokens[at.token].one_letter { at.start } else { at.start + 1 };
            let next = cuts.partition_point(|cut| *cut < first);
            cuts.get(next).is_some_and(|cut| *cut < at.end)
        };
        let (mut foreign, mut own): (Vec<_>, Vec<_>) = found.partition(is_foreign);
        foreign.sort_unstable_by_key(|at| at.start);
        own.sort_unstable_by_key(|at| (at.start, std::cmp::Reverse(at.end)));
        let mut end = 0;
        own.retain(|at| {
            let free = at.start >= end;
            end = if free { at.end } else { end };
            free
        });
        (own, foreign)
    }

    /// The texts between the template's control tokens, without the spaces that those tokens include.
    fn stretches(&self, text: &str, allowed: &[Occurrence]) -> Vec<(usize, usize)> {
        let mut stretches = Vec::with_capacity(allowed.len() + 1);
        let mut start = 0;
        for at in allowed {
            let end = match self.tokens[at.token].strips_left {
                true => start + text[start..at.start].trim_end().len(),
                false => at.start,
            };
            stretches.push((start, end));
            let spaces = text[at.end..].len() - text[at.end..].trim_start().len();
            start = if self.tokens[at.token].strips_right { at.end + spaces } else { at.end };
        }
        stretches.push((start.min(text.len()), text.len()));
        stretches.retain(|(start, end)| start < end);
        stretches
    }

    /// The tokens of a text. None of them is a control token.
    fn encode_plain(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        (start, end): (usize, usize),
        cuts: &[usize],
    ) -> Result<Vec<TokenId>, String> {
        let plain = self.plain.get_or_init(|| PlainTokenizer::of(tokenizer)).as_ref().map_err(String::clone)?;
        let whole = plain.encode(&text[start..end], start > 0)?;
        if !whole.iter().any(|token| self.ids.contains(token)) {
            return Ok(whole);
        }
        // The vocabulary of some models, such as Unigram, has the text of a control token. Cut into two parts it cannot
        // become the token.
        let (first, last) = (cuts.partition_point(|cut| *cut <= start), cuts.partition_point(|cut| *cut < end));
        let inside = cuts.get(first..last).unwrap_or_default().iter().copied();
        let mut tokens = Vec::new();
        let mut from = start;
        for to in inside.chain([end]) {
            let part = plain.encode(&text[from..to], from > 0)?;
            tokens.extend(part.into_iter().filter(|token| !self.ids.contains(token)));
            from = to;
        }
        Ok(tokens)
    }
}

impl ControlToken {
    fn of(token: &AddedToken) -> Self {
        Self {
            one_letter: token.content.chars().nth(1).is_none(),
            in_answers: is_answer_marker(&token.content),
            strips_left: token.lstrip,
            strips_right: token.rstrip,
        }
    }
}

impl PlainTokenizer {
    fn of(full: &Tokenizer) -> Result<Self, String> {
        let failed = |error: tokenizers::Error| error.to_string();
        let mut tokenizer = Tokenizer::new(full.get_model().clone());
        tokenizer.with_normalizer(full.get_normalizer().cloned()).map_err(failed)?;
        tokenizer.with_pre_tokenizer(full.get_pre_tokenizer().cloned());
        let mut shared: Vec<(TokenId, AddedToken)> =
            full.get_added_tokens_decoder().into_iter().filter(|(_, token)| !is_control(token)).collect();
        shared.sort_unstable_by_key(|(id, _)| *id);
        tokenizer.add_tokens(shared.iter().map(|(_, token)| token.clone())).map_err(failed)?;
        tokenizer.add_special_tokens([AddedToken::from(ANCHOR, true)]).map_err(failed)?;
        let number = |(id, token): &(TokenId, AddedToken)| Some((tokenizer.token_to_id(&token.content)?, *id));
        let ids = shared.iter().filter_map(number).collect();
        let anchor = tokenizer.token_to_id(ANCHOR);
        Ok(Self { tokenizer, ids, anchor })
    }

    /// The tokens of `text`, at the beginning of a prompt or after other text.
    fn encode(&self, text: &str, behind: bool) -> Result<Vec<TokenId>, String> {
        let anchored = format!("{}{text}", if behind { ANCHOR } else { "" });
        let tokens = encode(&self.tokenizer, &anchored)?;
        let tokens = tokens.into_iter().filter(|token| Some(*token) != self.anchor);
        Ok(tokens.map(|token| self.ids.get(&token).copied().unwrap_or(token)).collect())
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<TokenId>, String> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|error| error.to_string())?;
    Ok(encoding.get_ids().to_vec())
}

/// Whether a token is always structure: special, or written as a mark.
fn is_control(token: &AddedToken) -> bool {
    let text = token.content.as_str();
    let written_as_mark = text.starts_with("<|") && text.ends_with("|>");
    !text.is_empty() && (token.special || written_as_mark || is_answer_marker(text))
}

/// Whether a token marks a call, its result or a thought.
fn is_answer_marker(text: &str) -> bool {
    let in_brackets = text.starts_with(['<', '[', '＜']) && text.ends_with(['>', ']', '＞']);
    in_brackets && ANSWER_MARKERS.iter().any(|marker| text.contains(marker))
}

fn after_letter(text: &str, start: usize) -> usize {
    start + text[start..].chars().next().map_or(0, char::len_utf8)
}

/// A separator that no text of the conversation and no template contains: `z`, a number, `q`. Templates do not change
/// letters and digits. No end of the separator is its beginning, so adjacent text cannot form another one.
fn separator(messages: &[Value], others: &[Value], template: &str) -> String {
    let mut taken = HashSet::new();
    numbers(template, &mut taken);
    each_text(messages, others, &mut |text, _| numbers(text, &mut taken));
    let free = (0..=taken.len()).find(|number| !taken.contains(number)).unwrap_or_default();
    format!("z{free}q")
}

/// The numbers between a `z` and a `q`.
fn numbers(text: &str, into: &mut HashSet<usize>) {
    for (at, _) in text.match_indices('z') {
        let rest = &text.as_bytes()[at + 1..];
        let digits = rest.iter().take(16).take_while(|byte| byte.is_ascii_digit()).count();
        // Longer numbers are larger than the number of texts can be.
        if rest.get(digits) == Some(&b'q') && digits <= 15 {
            into.extend(text[at + 1..at + 1 + digits].parse::<usize>());
        }
    }
}

/// The text without separators, and the offsets of the separators in ascending order.
fn without_separators(marked: &str, separator: &str) -> (String, Vec<usize>) {
    let mut text = String::with_capacity(marked.len());
    let mut cuts = Vec::new();
    for (at, part) in marked.split(separator).enumerate() {
        if at > 0 {
            cuts.push(text.len());
        }
        text.push_str(part);
    }
    (text, cuts)
}

fn is_answer(message: &Value) -> bool {
    message.get("role").and_then(Value::as_str) == Some("assistant")
}

/// The author of a message's field.
fn author(is_answer: bool, field: &str) -> Author {
    let said = matches!(field, "content" | "reasoning_content" | "reasoning" | "thinking");
    if is_answer && said { Author::Assistant } else { Author::Anyone }
}

fn each_text(messages: &[Value], others: &[Value], see: &mut impl FnMut(&str, Author)) {
    for message in messages {
        for (field, value) in message.as_object().into_iter().flatten() {
            see(field, Author::Anyone);
            each_string(value, author(is_answer(message), field), see);
        }
    }
    others.iter().for_each(|other| each_string(other, Author::Anyone, see));
}

fn each_string(value: &Value, author: Author, see: &mut impl FnMut(&str, Author)) {
    match value {
        Value::String(text) => see(text, author),
        Value::Array(items) => items.iter().for_each(|item| each_string(item, author, see)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            see(key, author);
            each_string(value, author, see);
        }),
        _ => {}
    }
}

type Mark<'a> = &'a dyn Fn(&str, Author) -> Option<String>;

fn mark_message(message: &mut Value, mark: Mark<'_>) {
    let is_answer = is_answer(message);
    let Some(map) = message.as_object_mut() else { return };
    for (field, mut value) in std::mem::take(map) {
        mark_strings(&mut value, author(is_answer, &field), mark);
        map.insert(mark(&field, Author::Anyone).unwrap_or(field), value);
    }
}

fn mark_strings(value: &mut Value, author: Author, mark: Mark<'_>) {
    match value {
        Value::String(text) => {
            if let Some(marked) = mark(text, author) {
                *text = marked;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mark_strings(item, author, mark)),
        Value::Object(map) => {
            let entries = std::mem::replace(map, Map::new());
            for (key, mut value) in entries {
                mark_strings(&mut value, author, mark);
                map.insert(mark(&key, author).unwrap_or(key), value);
            }
        }
        _ => {}
    }
}

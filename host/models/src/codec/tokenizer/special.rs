//! Special and added tokens of all files that may name them, by the precedence of transformers 5.24.
//!
//! `tokenizer_config.json` names them under keys such as `bos_token`, in `extra_special_tokens` (formerly
//! `additional_special_tokens`) and, with numbers, in `added_tokens_decoder`. If it has no `added_tokens_decoder`,
//! `special_tokens_map.json` is read as well and has priority, and `added_tokens.json` gives numbers. A token in none
//! of the vocabularies gets the next free number.

use std::collections::BTreeMap;

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// Names that every tokenizer may have a token for, in the order in which missing tokens get their numbers.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Whether a key is the name of a token. Keys such as `add_bos_token` are flags.
fn is_name(key: &str) -> bool {
    key.ends_with("_token") && !key.starts_with("add_")
}

/// The tokens that the files declare.
#[derive(Debug, Default)]
pub(super) struct SpecialTokens {
    /// Tokens with a name, in the order in which missing tokens get their numbers.
    named: Vec<(String, AddedToken)>,
    /// Special tokens without a name.
    extra: Vec<AddedToken>,
    /// Added tokens by the number that a file gives them.
    numbered: BTreeMap<u32, AddedToken>,
}

impl SpecialTokens {
    /// Reads the files. `defaults` are the default tokens of the tokenizer's class.
    ///
    /// # Errors
    /// `Config` for a token of the wrong type, and the errors of reading a file.
    pub(super) fn read(
        checkpoint: &Checkpoint,
        settings: Option<&JsonFile>,
        defaults: &[(&str, &str)],
    ) -> Result<Self, ModelError> {
        let mut declared = DeclaredTokens::default();
        defaults.iter().for_each(|(name, text)| declared.set(name, Some(special(text))));
        let numbers = match settings {
            Some(settings) => {
                declared.read(settings, TokenFile::Config)?;
                settings.get("added_tokens_decoder")
            }
            None => None,
        };
        if let (Some(settings), Some(numbers)) = (settings, numbers) {
            return Ok(declared.with(numbered_in_config(settings, numbers)?));
        }
        if let Some(map) = checkpoint.json("special_tokens_map.json")? {
            declared.read(&map, TokenFile::Map)?;
        }
        let numbered = match JsonFile::read_value(&checkpoint.source, "added_tokens.json")? {
            Some(value) => numbered_in_file(checkpoint, &value, &declared)?,
            None => BTreeMap::new(),
        };
        Ok(declared.with(numbered))
    }

    /// Adds the tokens that `tokenizer` does not have. A token that any file calls special is special.
    ///
    /// # Errors
    /// The library's error.
    pub(super) fn add_to(&self, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
        let special_texts: Vec<&str> = self.specials().map(|token| token.content.as_str()).collect();
        let known: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let mut added: Vec<AddedToken> =
            self.numbered.values().filter(|token| !known.contains(token)).cloned().collect();
        let missing = |added: &[AddedToken], token: &AddedToken| {
            !known.iter().chain(added).any(|other| other.content == token.content)
        };
        for token in self.specials() {
            if missing(&added, token) {
                added.push(token.clone());
            }
        }
        // Known tokens that are special only because of their name.
        let renewed = known.iter().filter(|token| !added.iter().any(|other| other.content == token.content));
        let renewed = renewed.filter(|token| !token.special && special_texts.contains(&token.content.as_str()));
        let renewed: Vec<AddedToken> = renewed.cloned().collect();
        added.extend(renewed);
        for token in &mut added {
            token.special |= special_texts.contains(&token.content.as_str());
        }
        tokenizer.add_tokens(added).map(|_| ())
    }

    /// Removes the flags of all special tokens, as some classes do.
    ///
    /// # Errors
    /// The library's error.
    pub(super) fn make_plain(&self, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
        tokenizer.add_tokens(self.specials().map(|token| special(&token.content))).map(|_| ())
    }

    /// The token called `name`.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(own, _)| own == name).map(|(_, token)| token.content.as_str())
    }

    /// Sets the token of `name` if no file names one.
    pub(super) fn set_default(&mut self, name: &str, text: &str) {
        if self.named(name).is_none() {
            self.named.push((name.to_owned(), special(text)));
        }
    }

    /// Names and texts, for chat templates.
    pub(super) fn texts(&self) -> Vec<(String, String)> {
        self.named.iter().map(|(name, token)| (name.clone(), token.content.clone())).collect()
    }

    /// Texts with the numbers that a file gives them.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (u32, &str)> {
        self.numbered.iter().map(|(id, token)| (*id, token.content.as_str()))
    }

    fn specials(&self) -> impl Iterator<Item = &AddedToken> {
        self.named.iter().map(|(_, token)| token).chain(&self.extra)
    }
}

/// The file that is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenFile {
    Config,
    Map,
}

/// The tokens read so far. A name with `None` was removed by a file.
#[derive(Default)]
struct DeclaredTokens {
    named: Vec<(String, Option<AddedToken>)>,
    extra: Option<Vec<AddedToken>>,
    /// `extra` is from `additional_special_tokens` of the map, which transformers reads last.
    extra_is_late: bool,
}

impl DeclaredTokens {
    fn set(&mut self, name: &str, token: Option<AddedToken>) {
        match self.named.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = token,
            None => self.named.push((name.to_owned(), token)),
        }
    }

    fn read(&mut self, file: &JsonFile, file_kind: TokenFile) -> Result<(), ModelError> {
        for key in file.keys().filter(|key| is_name(key)) {
            let Some(value) = file.given(key) else { continue };
            match token(value) {
                Some(token) => self.set(key, Some(token)),
                None if value.is_null() => self.set(key, None),
                None if !NAMES.contains(&key) => {}
                None => return Err(file.wrong(key, format!("is {}, expected a token", shorten(value)))),
            }
        }
        let extra = file.get("extra_special_tokens");
        for (name, value) in extra.and_then(Value::as_object).into_iter().flatten() {
            let wrong = || file.wrong("extra_special_tokens", format!("has {}, expected a token", shorten(value)));
            self.set(name, Some(token(value).ok_or_else(wrong)?));
        }
        if let Some(list) = extra.filter(|extra| !extra.is_object()) {
            let more = tokens(file, "extra_special_tokens", list)?;
            let all = self.extra.get_or_insert_default();
            more.into_iter().for_each(|token| {
                if !all.contains(&token) {
                    all.push(token)
                }
            });
        }
        if let Some(list) = file.get("additional_special_tokens") {
            let is_free = self.extra.as_ref().is_none_or(|extra| extra.is_empty() && file_kind == TokenFile::Config);
            if is_free {
                self.extra = Some(tokens(file, "additional_special_tokens", list)?);
                self.extra_is_late = file_kind == TokenFile::Map;
            }
        }
        Ok(())
    }

    /// Whether `text` is matched before normalization if `added_tokens.json` has it.
    fn is_special(&self, text: &str) -> bool {
        let named = self.named.iter().filter(|(name, _)| NAMES.contains(&name.as_str()));
        let named = named.filter_map(|(_, token)| token.as_ref());
        let extra = self.extra.iter().flatten().filter(|_| !self.extra_is_late);
        named.chain(extra).any(|token| token.content == text)
    }

    fn with(self, numbered: BTreeMap<u32, AddedToken>) -> SpecialTokens {
        let standard = |name: &str| NAMES.iter().position(|known| *known == name).unwrap_or(NAMES.len());
        let mut named: Vec<(String, AddedToken)> =
            self.named.into_iter().filter_map(|(name, token)| Some((name, token?))).collect();
        named.sort_by_key(|(name, _)| standard(name));
        // The flags of a numbered token have priority over those of the named one.
        for (_, token) in &mut named {
            if let Some(own) = numbered.values().find(|own| own.content == token.content) {
                *token = own.clone();
            }
        }
        SpecialTokens { named, extra: self.extra.unwrap_or_default(), numbered }
    }
}

/// A special token without adjacent spaces, matched before normalization.
fn special(text: &str) -> AddedToken {
    AddedToken::from(text, true)
}

/// A token: its text, or an object with the text as `content` and flags.
fn token(value: &Value) -> Option<AddedToken> {
    if let Some(text) = value.as_str() {
        return Some(special(text));
    }
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let is_special = flag("special").unwrap_or(true);
    Some(AddedToken {
        content: value.get("content")?.as_str()?.to_owned(),
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized").unwrap_or(!is_special),
        special: is_special,
    })
}

fn tokens(file: &JsonFile, key: &str, value: &Value) -> Result<Vec<AddedToken>, ModelError> {
    let wrong = |value: &Value| file.wrong(key, format!("is {}, expected a list of tokens", shorten(value)));
    let list = value.as_array().ok_or_else(|| wrong(value))?;
    list.iter().map(|value| token(value).ok_or_else(|| wrong(value))).collect()
}

/// `added_tokens_decoder`: numbers, as text, and a token each.
fn numbered_in_config(file: &JsonFile, value: &Value) -> Result<BTreeMap<u32, AddedToken>, ModelError> {
    let key = "added_tokens_decoder";
    let wrong = |found: String| file.wrong(key, format!("has {found}, expected numbers with a token each"));
    let map = value.as_object().ok_or_else(|| file.wrong(key, format!("is {}, expected an object", shorten(value))))?;
    let entry = |(number, value): (&String, &Value)| {
        let id = number.parse::<u32>().map_err(|_| wrong(shorten(&Value::from(number.as_str()))))?;
        let content = value.is_object().then(|| token(value)).flatten();
        let token = content.ok_or_else(|| wrong(shorten(value)))?;
        // Without the flag, a token in this file is not special.
        let is_special = value.get("special").and_then(Value::as_bool).unwrap_or(false);
        let normalized = value.get("normalized").and_then(Value::as_bool).unwrap_or(!is_special);
        Ok((id, AddedToken { special: is_special, normalized, ..token }))
    };
    map.iter().map(entry).collect()
}

/// `added_tokens.json`: texts, and a number each.
fn numbered_in_file(
    checkpoint: &Checkpoint,
    value: &Value,
    declared: &DeclaredTokens,
) -> Result<BTreeMap<u32, AddedToken>, ModelError> {
    let broken = |found: &Value| ModelError::Broken {
        file: checkpoint.source.path_of("added_tokens.json"),
        reason: format!("it holds {}, expected texts with a number each", shorten(found)),
    };
    let map = value.as_object().ok_or_else(|| broken(value))?;
    let entry = |(text, number): (&String, &Value)| {
        let id = number.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| broken(number))?;
        let is_special = declared.is_special(text);
        Ok((id, AddedToken { normalized: !is_special, ..AddedToken::from(text.as_str(), is_special) }))
    };
    map.iter().map(entry).collect()
}

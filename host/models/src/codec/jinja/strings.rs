//! Python's string methods.

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::arguments::{Arguments, pay, width, wrong};
use super::printing::is_printable;

/// Python's white space: Unicode's and the separators of ASCII.
pub(super) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// Calls the method `name` of `text`.
pub(super) fn call(state: &State<'_, '_>, text: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    if let Some(changed) = plain(text, name) {
        Arguments::of(given, &[])?;
        return Ok(changed);
    }
    match name {
        "strip" | "lstrip" | "rstrip" => strip(text, name, given),
        "removeprefix" => {
            let prefix = Arguments::of(given, &["prefix"])?.text(0, "prefix")?;
            Ok(Value::from(text.strip_prefix(prefix.as_str()).unwrap_or(text)))
        }
        "removesuffix" => {
            let suffix = Arguments::of(given, &["suffix"])?.text(0, "suffix")?;
            Ok(Value::from(text.strip_suffix(suffix.as_str()).unwrap_or(text)))
        }
        "split" | "rsplit" => split(text, name == "rsplit", given),
        "splitlines" => Ok(lines(text, Arguments::of(given, &["keepends"])?.flag(0, "keepends"))),
        "partition" | "rpartition" => partition(text, name == "rpartition", given),
        "center" | "ljust" | "rjust" => justify(state, text, name, given),
        "zfill" => {
            let asked = Arguments::of(given, &["width"])?.number(0, "width")?.unwrap_or_default();
            Ok(Value::from(zfill(text, width(state, asked)?)))
        }
        "expandtabs" => {
            let size = Arguments::of(given, &["tabsize"])?.number(0, "tabsize")?.unwrap_or(8);
            pay(state, width(state, size)?.saturating_mul(text.matches('\t').count()))?;
            Ok(Value::from(expand_tabs(text, usize::try_from(size).unwrap_or_default())))
        }
        "find" | "rfind" | "index" | "rindex" => find(text, name, given),
        "count" => {
            let arguments = Arguments::of(given, &["sub", "start", "end"])?;
            let (part, wanted) = (part(text, &arguments)?.1, arguments.text(0, "sub")?);
            let letters = || part.chars().count() + 1;
            Ok(Value::from(if wanted.is_empty() { letters() } else { part.matches(wanted.as_str()).count() }))
        }
        "startswith" | "endswith" => begins(text, name, given),
        "replace" => replace(state, text, given),
        "join" => join(state, text, given),
        "translate" => translate(text, &Arguments::of(given, &["table"])?.need(0, "table")?),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// Methods without arguments.
fn plain(text: &str, name: &str) -> Option<Value> {
    let all = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    Some(match name {
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        // Close to full case folding: a letter without a lower case, such as ß, is converted through its upper case.
        "casefold" => Value::from(text.replace('ß', "ss").to_lowercase()),
        "swapcase" => Value::from(text.chars().map(swapped).collect::<String>()),
        "title" => Value::from(title(text)),
        "capitalize" => Value::from(capitalize(text)),
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => Value::from(text.is_ascii()),
        "isdecimal" => all(|letter| letter.is_numeric() && is_decimal(letter)),
        "isdigit" => all(|letter| is_decimal(letter) || matches!(letter, '²' | '³' | '¹' | '⁰'..='⁹' | '₀'..='₉')),
        "isnumeric" => all(char::is_numeric),
        "isspace" => all(is_space),
        "isprintable" => Value::from(text.chars().all(is_printable)),
        "isidentifier" => {
            let starts = text.starts_with(|letter: char| letter.is_alphabetic() || letter == '_');
            Value::from(starts && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_'))
        }
        "islower" => Value::from(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)),
        "isupper" => Value::from(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)),
        "istitle" => Value::from(text.chars().any(char::is_alphabetic) && title(text) == text),
        _ => return None,
    })
}

/// Decimal digits of any script: characters in a row of ten that begins with a zero.
fn is_decimal(letter: char) -> bool {
    const ZEROS: [u32; 22] = [
        0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
        0xF20, 0x1040, 0x17E0, 0x1810, 0xA620, 0xFF10,
    ];
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&u32::from(letter)))
}

fn swapped(letter: char) -> String {
    if letter.is_uppercase() { letter.to_lowercase().to_string() } else { letter.to_uppercase().to_string() }
}

/// A letter after a non-letter in upper case, all others in lower case.
pub(super) fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if inside {
            out.extend(letter.to_lowercase())
        } else {
            out.extend(letter.to_uppercase())
        }
        inside = letter.is_lowercase() || letter.is_uppercase();
    }
    out
}

fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    first + &letters.as_str().to_lowercase()
}

fn strip(text: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let letters = Arguments::of(given, &["chars"])?.optional_text(0, "chars")?;
    let strips = |letter: char| letters.as_ref().map_or_else(|| is_space(letter), |letters| letters.contains(letter));
    let text = if name == "rstrip" { text } else { text.trim_start_matches(strips) };
    Ok(Value::from(if name == "lstrip" { text } else { text.trim_end_matches(strips) }))
}

fn split(text: &str, from_end: bool, given: &[Value]) -> Result<Value, Error> {
    let arguments = Arguments::of(given, &["sep", "maxsplit"])?;
    let most = arguments.number(1, "maxsplit")?.and_then(|most| usize::try_from(most).ok());
    let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let parts: Vec<&str> = match arguments.optional_text(0, "sep")? {
        Some(separator) if separator.is_empty() => return Err(wrong("empty separator")),
        Some(separator) if from_end => {
            let mut parts: Vec<&str> = text.rsplitn(pieces, separator.as_str()).collect();
            parts.reverse();
            parts
        }
        Some(separator) => text.splitn(pieces, separator.as_str()).collect(),
        None if from_end => split_spaces_from_end(text, pieces),
        None => split_spaces(text, pieces),
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn split_spaces(text: &str, pieces: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() + 1 == pieces {
            parts.push(rest);
            break;
        }
        let (part, after) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
        parts.push(part);
        rest = after.trim_start_matches(is_space);
    }
    parts
}

fn split_spaces_from_end(text: &str, pieces: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() + 1 == pieces {
            parts.push(rest);
            break;
        }
        let space = rest.char_indices().rev().find(|(_, letter)| is_space(*letter));
        let (before, part) = rest.split_at(space.map_or(0, |(at, letter)| at + letter.len_utf8()));
        parts.push(part);
        rest = before.trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// The lines of `text`, without their ends.
pub(super) fn lines_of(text: &str) -> Vec<&str> {
    ended_lines(text).into_iter().map(|(line, _)| line).collect()
}

fn lines(text: &str, keep_ends: bool) -> Value {
    ended_lines(text).into_iter().map(|(line, ended)| Value::from(if keep_ends { ended } else { line })).collect()
}

/// Each line without and with its end.
fn ended_lines(text: &str) -> Vec<(&str, &str)> {
    let is_end = |letter: char| {
        matches!(letter, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        let after = &rest[end..];
        let length = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        lines.push((&rest[..end], &rest[..end + length]));
        rest = &rest[end + length..];
    }
    lines
}

fn partition(text: &str, from_end: bool, given: &[Value]) -> Result<Value, Error> {
    let separator = Arguments::of(given, &["sep"])?.text(0, "sep")?;
    if separator.is_empty() {
        return Err(wrong("empty separator"));
    }
    let parts = match from_end {
        true => text.rsplit_once(separator.as_str()).map_or(["", "", text], |(one, two)| [one, &separator, two]),
        false => text.split_once(separator.as_str()).map_or([text, "", ""], |(one, two)| [one, &separator, two]),
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn justify(state: &State<'_, '_>, text: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let arguments = Arguments::of(given, &["width", "fillchar"])?;
    let asked = arguments.number(0, "width")?.ok_or_else(|| wrong("a width is needed"))?;
    let fill = arguments.optional_text(1, "fillchar")?.unwrap_or_else(|| " ".to_owned());
    if fill.chars().count() != 1 {
        return Err(wrong("the fill character must be exactly one character long"));
    }
    let asked = width(state, asked)?;
    let room = asked.saturating_sub(text.chars().count());
    let left = match name {
        "ljust" => 0,
        "rjust" => room,
        _ => room / 2 + (room & asked & 1),
    };
    Ok(Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(room - left))))
}

fn zfill(text: &str, width: usize) -> String {
    let room = width.saturating_sub(text.chars().count());
    let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
    format!("{sign}{}{digits}", "0".repeat(room))
}

fn expand_tabs(text: &str, size: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for letter in text.chars() {
        match letter {
            '\t' if size == 0 => {}
            '\t' => {
                let spaces = size - column % size;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            letter => {
                column = if matches!(letter, '\n' | '\r') { 0 } else { column + 1 };
                out.push(letter);
            }
        }
    }
    out
}

/// The positions of a slice as in Python: negative ones count from the end.
pub(super) fn bounds(length: usize, start: Option<i64>, end: Option<i64>) -> (usize, usize) {
    let index = |at: i64| {
        let at = if at < 0 { at.saturating_add_unsigned(length as u64) } else { at };
        usize::try_from(at.max(0)).unwrap_or(usize::MAX)
    };
    (start.map_or(0, index), end.map_or(length, index).min(length))
}

/// The part of `text` that the second and third argument select: the number of letters before it, and the part.
fn part<'a>(text: &'a str, arguments: &Arguments<'_>) -> Result<(usize, &'a str), Error> {
    let (start, end) = (arguments.number(1, "start")?, arguments.number(2, "end")?);
    if start.is_none() && end.is_none() {
        return Ok((0, text));
    }
    let (from, to) = bounds(text.chars().count(), start, end);
    let byte = |letters: usize| text.char_indices().nth(letters).map_or(text.len(), |(at, _)| at);
    Ok((from, text.get(byte(from)..byte(to)).unwrap_or_default()))
}

fn find(text: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let arguments = Arguments::of(given, &["sub", "start", "end"])?;
    let (wanted, (before, part)) = (arguments.text(0, "sub")?, part(text, &arguments)?);
    let found = if name.starts_with('r') { part.rfind(wanted.as_str()) } else { part.find(wanted.as_str()) };
    match found {
        Some(at) => Ok(Value::from(before + part[..at].chars().count())),
        None if name.ends_with("index") => Err(wrong("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

fn begins(text: &str, name: &str, given: &[Value]) -> Result<Value, Error> {
    let arguments = Arguments::of(given, &["prefix", "start", "end"])?;
    let (wanted, (_, part)) = (arguments.need(0, "prefix")?, part(text, &arguments)?);
    let begins = |wanted: &str| if name == "startswith" { part.starts_with(wanted) } else { part.ends_with(wanted) };
    match wanted.as_str() {
        Some(wanted) => Ok(Value::from(begins(wanted))),
        None if wanted.is_tuple() || wanted.kind() == ValueKind::Seq => {
            Ok(Value::from(wanted.try_iter()?.any(|one| one.as_str().is_some_and(begins))))
        }
        None => Err(wrong(format!("{name}: a text or a tuple of texts is needed"))),
    }
}

fn replace(state: &State<'_, '_>, text: &str, given: &[Value]) -> Result<Value, Error> {
    let arguments = Arguments::of(given, &["old", "new", "count"])?;
    let (old, new) = (arguments.text(0, "old")?, arguments.text(1, "new")?);
    let most = arguments.number(2, "count")?.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let matches = (text.len() / old.len().max(1) + 1).min(most);
    pay(state, matches.saturating_mul(new.len().saturating_sub(old.len())))?;
    Ok(Value::from(text.replacen(old.as_str(), &new, most)))
}

fn join(state: &State<'_, '_>, text: &str, given: &[Value]) -> Result<Value, Error> {
    let items = Arguments::of(given, &["iterable"])?.need(0, "iterable")?;
    let mut out = String::new();
    for (at, item) in items.try_iter()?.enumerate() {
        let item =
            item.as_str().ok_or_else(|| wrong(format!("sequence item {at}: a text is needed, not {}", item.kind())))?;
        if at > 0 {
            pay(state, text.len())?;
            out.push_str(text);
        }
        out.push_str(item);
    }
    Ok(Value::from(out))
}

fn translate(text: &str, table: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for letter in text.chars() {
        let new = table.get_item(&Value::from(u32::from(letter)))?;
        match new.kind() {
            ValueKind::Undefined => out.push(letter),
            ValueKind::None => {}
            ValueKind::Number => out.extend(u32::try_from(new).ok().and_then(char::from_u32)),
            _ => out.push_str(new.as_str().unwrap_or_default()),
        }
    }
    Ok(Value::from(out))
}

//! Filters of Jinja2 that minijinja lacks or defines differently.

mod wrap;

use minijinja::value::{Rest, Tuple, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State};

use super::arguments::{Arguments, pay, width, wrong};
use super::objects::pairs;
use super::printing::{self, text};
use super::sanitize::is_namespace;
use super::{json, strings, text_format};

type FilterArguments = Rest<ValueOrKwargs>;

/// Adds the filters to `environment`.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment
        .add_filter("tojson", |value: Value, given: FilterArguments| json::to_json(&value, &given.into_values()));
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |value: Value| text(&value).map(|text| words(&text)));
    environment.add_filter("center", |state: &State, value: Value, given: FilterArguments| {
        let asked = Arguments::of(&given.into_values(), &["width"])?.number(0, "width")?.unwrap_or(80);
        strings::call(state, &text(&value)?, "center", &[Value::from(asked)])
    });
    environment.add_filter("urlencode", url_encode);
    environment.add_filter("striptags", |value: Value| text(&value).map(|text| strip_tags(&text)));
    environment.add_filter("wordwrap", word_wrap);
    environment.add_filter("indent", indent);
    environment.add_filter("dictsort", dict_sort);
    environment.add_filter("attr", attribute);
    for name in ["escape", "e", "forceescape"] {
        environment.add_filter(name, |value: Value| text(&value).map(|text| escape(&text)));
    }
    environment.add_filter("format", |value: Value, given: FilterArguments| {
        let given = given.into_values();
        let named = given.last().filter(|last| last.is_kwargs());
        let values = named.cloned().unwrap_or_else(|| Value::from(Tuple::new(given.clone())));
        text_format::percent(&text(&value)?, &values)
    });
    environment.add_filter("pprint", |value: Value| {
        let mut out = String::new();
        printing::repr(&value, &mut out, 0).map(|()| out)
    });
    environment.add_filter(super::sanitize::PERCENT, |value: Value, given: Value| {
        text_format::percent(value.as_str().unwrap_or_default(), &given)
    });
}

fn truncate(value: Value, given: FilterArguments) -> Result<String, Error> {
    let given = given.into_values();
    let arguments = Arguments::of(&given, &["length", "killwords", "end", "leeway"])?;
    let text = text(&value)?;
    let end = arguments.optional_text(2, "end")?.unwrap_or_else(|| "...".to_owned());
    let size = |number: Option<i64>, default: usize| number.map_or(default, |n| usize::try_from(n).unwrap_or_default());
    let (length, leeway) = (size(arguments.number(0, "length")?, 255), size(arguments.number(3, "leeway")?, 5));
    let end_length = end.chars().count();
    if length < end_length {
        return Err(wrong(format!("expected length >= {end_length}, got {length}")));
    }
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let cut: String = text.chars().take(length - end_length).collect();
    let whole = if arguments.flag(1, "killwords") { None } else { cut.rsplit_once(' ').map(|(words, _)| words) };
    Ok(format!("{}{end}", whole.unwrap_or(&cut)))
}

fn words(text: &str) -> usize {
    text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).filter(|word| !word.is_empty()).count()
}

fn url_encode(value: Value) -> Result<String, Error> {
    if !matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        return Ok(quoted(&text(&value)?, "/"));
    }
    let pair = |(key, value): (Value, Value)| {
        let quoted = |value: &Value| Ok::<_, Error>(quoted(&text(value)?, "").replace("%20", "+"));
        Ok(format!("{}={}", quoted(&key)?, quoted(&value)?))
    };
    Ok(pairs(&value)?.into_iter().map(pair).collect::<Result<Vec<_>, Error>>()?.join("&"))
}

fn quoted(text: &str, safe: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let letter = char::from(byte);
        match letter.is_ascii_alphanumeric() || "_.-~".contains(letter) || (byte.is_ascii() && safe.contains(letter)) {
            true => out.push(letter),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Text without comments and tags, with single spaces, and without the commonest entities.
fn strip_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let (open, close) = if rest[start..].starts_with("<!--") { ("<!--", "-->") } else { ("<", ">") };
        let Some(end) = rest[start + open.len()..].find(close) else { break };
        out.push_str(&rest[..start]);
        rest = &rest[start + open.len() + end + close.len()..];
    }
    out.push_str(rest);
    let single = out.split(strings::is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&nbsp;", "\u{a0}")];
    entities.iter().fold(single, |text, (entity, letter)| text.replace(entity, letter)).replace("&amp;", "&")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}

fn word_wrap(state: &State<'_, '_>, value: Value, given: FilterArguments) -> Result<String, Error> {
    let given = given.into_values();
    let arguments = Arguments::of(&given, &["width", "break_long_words", "wrapstring", "break_on_hyphens"])?;
    let text = text(&value)?;
    let asked = arguments.number(0, "width")?.unwrap_or(79);
    let yes = |position, name| arguments.get(position, name).is_none_or(|value| value.is_true());
    let style = wrap::WrapStyle {
        width: usize::try_from(asked).unwrap_or_default().max(1),
        break_long_words: yes(1, "break_long_words"),
        break_on_hyphens: yes(3, "break_on_hyphens"),
    };
    let between = arguments.optional_text(2, "wrapstring")?.unwrap_or_else(|| "\n".to_owned());
    pay(state, text.len().saturating_mul(between.len()))?;
    let lines = strings::lines_of(&text).into_iter().map(|line| style.wrap(line).join(&between));
    Ok(lines.collect::<Vec<_>>().join(&between))
}

fn indent(state: &State<'_, '_>, value: Value, given: FilterArguments) -> Result<String, Error> {
    let given = given.into_values();
    let arguments = Arguments::of(&given, &["width", "first", "blank"])?;
    let text = text(&value)?;
    let indention = match arguments.some(0, "width") {
        Some(given) if given.kind() == ValueKind::String => given.as_str().unwrap_or_default().to_owned(),
        Some(given) => " ".repeat(width(state, i64::try_from(given)?)?),
        None => " ".repeat(4),
    };
    let (first, blank) = (arguments.flag(1, "first"), arguments.flag(2, "blank"));
    let text = text + "\n";
    let lines = strings::lines_of(&text);
    pay(state, lines.len().saturating_mul(indention.len()))?;
    let mut out = if first { indention.clone() } else { String::new() };
    for (at, line) in lines.into_iter().enumerate() {
        if at > 0 {
            out.push('\n');
            out.push_str(if line.is_empty() && !blank { "" } else { &indention });
        }
        out.push_str(line);
    }
    Ok(out)
}

fn dict_sort(value: Value, given: FilterArguments) -> Result<Value, Error> {
    let given = given.into_values();
    let arguments = Arguments::of(&given, &["case_sensitive", "by", "reverse"])?;
    let case_sensitive = arguments.flag(0, "case_sensitive");
    let by_value = match arguments.optional_text(1, "by")?.as_deref() {
        None | Some("key") => false,
        Some("value") => true,
        Some(_) => return Err(wrong("you can only sort by either \"key\" or \"value\"")),
    };
    if value.kind() != ValueKind::Map {
        return Err(wrong(format!("dictsort needs a mapping, not {}", value.kind())));
    }
    let rank = |pair: &(Value, Value)| {
        let value = if by_value { &pair.1 } else { &pair.0 };
        match value.as_str() {
            Some(text) if !case_sensitive => Value::from(text.to_lowercase()),
            _ => value.clone(),
        }
    };
    let mut pairs = pairs(&value)?;
    match arguments.flag(2, "reverse") {
        true => pairs.sort_by_key(|pair| std::cmp::Reverse(rank(pair))),
        false => pairs.sort_by_key(rank),
    }
    Ok(pairs.into_iter().map(|(key, value)| Value::from(Tuple::from([key, value]))).collect())
}

/// An attribute. The entries of a mapping are not attributes.
fn attribute(value: Value, name: String) -> Result<Value, Error> {
    let has_entries = value.kind() == ValueKind::Map && !is_namespace(&value);
    if has_entries { Ok(Value::UNDEFINED) } else { value.get_attr(&name) }
}

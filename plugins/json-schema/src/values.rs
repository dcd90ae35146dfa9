//! Patterns of JSON values.

use firebox_constrain::{Pattern, parse};

/// Levels of a value whose schema says nothing.
const ANY_DEPTH: usize = 3;

/// A string's character, as it is or as an escape that stands for one character.
const CHARACTER: &str = r#"([^"\\\x00-\x1f]|\\(["\\/bfnrt]|u([0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})))"#;
pub(crate) const INTEGER: &str = "-?(0|[1-9][0-9]{0,14})";
/// Exponents are small, so that the number is finite.
pub(crate) const NUMBER: &str = r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?";

/// Formats of strings, without the quotation marks.
pub(crate) const FORMATS: &[(&str, &str)] = &[
    ("date", DATE),
    ("time", TIME),
    ("date-time", DATE_TIME),
    ("uuid", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("ipv4", r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}"),
];
// Days that every month has, so that each date exists.
const DATE: &str = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])";
const TIME: &str = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-]([01]\d|2[0-3]):[0-5]\d)";
const DATE_TIME: &str =
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-]([01]\d|2[0-3]):[0-5]\d)";

/// A string of `min` to `max` characters.
pub(crate) fn string(min: u32, max: Option<u32>) -> Result<Pattern, String> {
    Ok(quoted(parse(CHARACTER)?.repeated(min, max)))
}

/// `inner` between quotation marks.
pub(crate) fn quoted(inner: Pattern) -> Pattern {
    Pattern::Sequence(vec![Pattern::text("\""), inner, Pattern::text("\"")])
}

/// A comma or colon, and a space if the model likes.
pub(crate) fn mark(mark: &str) -> Pattern {
    Pattern::Sequence(vec![Pattern::text(mark), Pattern::text(" ").optional()])
}

/// `items` between two brackets, separated by commas: `min` to `max` of them.
pub(crate) fn list(open: &str, item: Pattern, min: u32, max: Option<u32>, close: &str) -> Pattern {
    let further = Pattern::Sequence(vec![mark(","), item.clone()]);
    let items = further.repeated(min.saturating_sub(1), max.map(|max| max.saturating_sub(1)));
    let some = Pattern::Sequence(vec![item, items]);
    let inner = match (min, max) {
        (_, Some(0)) => Pattern::Sequence(Vec::new()),
        (0, _) => some.optional(),
        _ => some,
    };
    Pattern::Sequence(vec![Pattern::text(open), inner, Pattern::text(close)])
}

/// A member of an object with any name.
pub(crate) fn member(value: Pattern) -> Result<Pattern, String> {
    Ok(Pattern::Sequence(vec![string(1, None)?, mark(":"), value]))
}

/// Any value of a few levels.
pub(crate) fn any() -> Result<Pattern, String> {
    let mut any = scalar()?;
    for _ in 0..ANY_DEPTH {
        let (array, object) = (list("[", any.clone(), 0, None, "]"), list("{", member(any)?, 0, None, "}"));
        any = Pattern::Either(vec![scalar()?, array, object]);
    }
    Ok(any)
}

fn scalar() -> Result<Pattern, String> {
    Ok(Pattern::Either(vec![string(0, None)?, parse(NUMBER)?, parse("true|false|null")?]))
}

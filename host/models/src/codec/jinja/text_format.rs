//! Python's two ways of formatting text: `'%s' % value` and `'{}'.format(value)`. minijinja formats the numbers.

use minijinja::Error;
use minijinja::formatting::{self, FormatStyle};
use minijinja::value::{Kwargs, Value, ValueKind};

use super::arguments::wrong;
use super::printing::{repr, text};

/// Maximum width of a field.
const WIDTH_MAX: usize = 4_096;

/// `pattern % given`.
///
/// # Errors
/// As in Python: too few or too many values, or values of the wrong type.
pub(super) fn percent(pattern: &str, given: &Value) -> Result<String, Error> {
    let mut values = if given.is_tuple() { given.try_iter()?.collect() } else { vec![given.clone()] };
    values.reverse();
    let mut out = String::new();
    let mut rest = pattern;
    let (mut by_name, mut used) = (false, 0);
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let name = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let after = name.map_or(rest, |name| name.1);
        let end = after.find(|letter: char| letter.is_ascii_alphabetic() || letter == '%');
        let end = end.ok_or_else(|| wrong("incomplete format"))?;
        let (flags, kind) = (&after[..end], &after[end..=end]);
        rest = &after[end + 1..];
        if kind == "%" {
            out.push('%');
            continue;
        }
        let value = match name {
            Some((name, _)) => {
                by_name = true;
                let value = given.get_item(&Value::from(name))?;
                if value.is_undefined() {
                    return Err(wrong(format!("there is no value \"{name}\" for the format")));
                }
                value
            }
            None => values.pop().ok_or_else(|| wrong("not enough arguments for format string"))?,
        };
        used += 1;
        out.push_str(&field(flags, kind, &value)?);
    }
    out.push_str(rest);
    let left = !values.is_empty() && !by_name;
    if left && !(used == 0 && matches!(given.kind(), ValueKind::Map)) {
        return Err(wrong("not all arguments converted during string formatting"));
    }
    Ok(out)
}

/// One value after `%`.
fn field(flags: &str, kind: &str, value: &Value) -> Result<String, Error> {
    check_width(flags)?;
    let flags = flags.trim_matches(['l', 'h', 'L']);
    let shown = match kind {
        "s" => Value::from(text(value)?),
        "r" | "a" => {
            let mut out = String::new();
            repr(value, &mut out, 0)?;
            Value::from(out)
        }
        _ => value.clone(),
    };
    let kind = match kind {
        "r" | "a" => "s",
        "i" | "u" => "d",
        kind => kind,
    };
    formatting::format(FormatStyle::Printf, &format!("%{flags}{kind}"), &[shown])
}

fn check_width(flags: &str) -> Result<(), Error> {
    let numbers = flags.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let too_wide = |digits: &str| digits.parse::<usize>().map_or(true, |width| width > WIDTH_MAX);
    if flags.contains('*') || numbers.into_iter().any(too_wide) {
        return Err(wrong(format!("a format is at most {WIDTH_MAX} wide")));
    }
    Ok(())
}

/// `pattern.format(*given)`.
///
/// # Errors
/// As in Python: a missing value, a field that is not closed, or values of the wrong type.
pub(super) fn format(pattern: &str, given: &[Value]) -> Result<String, Error> {
    let (positional, named) = match given.split_last() {
        Some((last, positional)) if last.is_kwargs() => (positional, Some(Kwargs::try_from(last.clone())?)),
        _ => (given, None),
    };
    let mut out = String::new();
    let mut next = 0;
    let mut rest = pattern;
    while let Some(start) = rest.find(['{', '}']) {
        out.push_str(&rest[..start]);
        let (brace, after) = rest[start..].split_at(1);
        if after.starts_with(brace) {
            out.push_str(brace);
            rest = &after[1..];
            continue;
        }
        let close = after.find('}').filter(|_| brace == "{");
        let close = close.ok_or_else(|| wrong("a single brace in the format string"))?;
        let (inside, (target, spec)) =
            (&after[..close], after[..close].split_once(':').unwrap_or((&after[..close], "")));
        if inside.contains('{') {
            return Err(wrong("fields within a format's own description are not supported"));
        }
        let (path, conversion) = target.split_once('!').unwrap_or((target, ""));
        let value = resolve(path, positional, named.as_ref(), &mut next)?;
        out.push_str(&formatted(&value, conversion, spec)?);
        rest = &after[close + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The value of a field such as `0`, `name.key` or `[1]`.
fn resolve(path: &str, positional: &[Value], named: Option<&Kwargs>, next: &mut usize) -> Result<Value, Error> {
    let (first, mut rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
    let missing = || wrong(format!("there is no value \"{first}\" for the format"));
    let mut value = if first.is_empty() {
        *next += 1;
        positional.get(*next - 1).cloned().ok_or_else(missing)?
    } else if let Ok(index) = first.parse::<usize>() {
        positional.get(index).cloned().ok_or_else(missing)?
    } else {
        named.and_then(|named| named.peek::<Value>(first).ok()).ok_or_else(missing)?
    };
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']').ok_or_else(|| wrong("a bracket is not closed"))?,
            None => rest[1..].split_at(rest[1..].find(['.', '[']).unwrap_or(rest.len() - 1)),
        };
        value = match step.parse::<usize>() {
            Ok(index) => value.get_item(&Value::from(index))?,
            Err(_) => value.get_item(&Value::from(step))?,
        };
        rest = after;
    }
    Ok(value)
}

fn formatted(value: &Value, conversion: &str, spec: &str) -> Result<String, Error> {
    let mut shown = String::new();
    let value = match conversion {
        "" if spec.is_empty() => return text(value),
        "" => value.clone(),
        "s" => Value::from(text(value)?),
        _ => {
            repr(value, &mut shown, 0)?;
            Value::from(shown)
        }
    };
    check_width(spec)?;
    if let Some(spec) = spec.strip_suffix('%') {
        let percent = super::printing::number(&value) * 100.0;
        let percent = formatting::format(FormatStyle::StrFormat, &format!("{{:{spec}f}}"), &[Value::from(percent)])?;
        return Ok(percent + "%");
    }
    formatting::format(FormatStyle::StrFormat, &format!("{{:{spec}}}"), &[value])
}

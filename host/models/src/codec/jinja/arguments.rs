//! The arguments of a call as Python binds them: by position or by name.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// The arguments of one call.
pub(super) struct Arguments<'a> {
    positional: &'a [Value],
    named: Option<Kwargs>,
}

impl<'a> Arguments<'a> {
    /// The arguments for these parameters, in their order.
    ///
    /// # Errors
    /// Too many arguments, or an unknown name.
    pub(super) fn of(arguments: &'a [Value], parameters: &[&str]) -> Result<Self, Error> {
        let (positional, named) = match arguments.split_last() {
            Some((last, positional)) if last.is_kwargs() => (positional, Some(Kwargs::try_from(last.clone())?)),
            _ => (arguments, None),
        };
        if positional.len() > parameters.len() {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        if let Some(other) = named.as_ref().and_then(|named| named.args().find(|name| !parameters.contains(name))) {
            let detail = format!("\"{other}\" is not one of the arguments");
            return Err(Error::new(ErrorKind::TooManyArguments, detail));
        }
        Ok(Self { positional, named })
    }

    /// The argument at this position or of this name.
    pub(super) fn get(&self, position: usize, name: &str) -> Option<Value> {
        let named = || self.named.as_ref()?.peek::<Option<Value>>(name).ok()?;
        self.positional.get(position).cloned().or_else(named)
    }

    /// As [`Arguments::get`]; `None` counts as absent.
    pub(super) fn some(&self, position: usize, name: &str) -> Option<Value> {
        self.get(position, name).filter(|value| !matches!(value.kind(), ValueKind::None | ValueKind::Undefined))
    }

    pub(super) fn need(&self, position: usize, name: &str) -> Result<Value, Error> {
        self.get(position, name).ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("\"{name}\" is missing")))
    }

    pub(super) fn text(&self, position: usize, name: &str) -> Result<String, Error> {
        text_of(&self.need(position, name)?)
    }

    pub(super) fn optional_text(&self, position: usize, name: &str) -> Result<Option<String>, Error> {
        self.some(position, name).as_ref().map(text_of).transpose()
    }

    pub(super) fn number(&self, position: usize, name: &str) -> Result<Option<i64>, Error> {
        self.some(position, name).map(i64::try_from).transpose()
    }

    pub(super) fn flag(&self, position: usize, name: &str) -> bool {
        self.get(position, name).is_some_and(|value| value.is_true())
    }
}

fn text_of(value: &Value) -> Result<String, Error> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| wrong(format!("a text is needed, not {}", value.kind())))
}

pub(super) fn wrong(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

/// Charges fuel for `bytes` before they are made. The engine itself charges for values only afterwards.
pub(super) fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// A width, after charging fuel for it.
pub(super) fn width(state: &State<'_, '_>, width: i64) -> Result<usize, Error> {
    let width = usize::try_from(width).unwrap_or_default();
    pay(state, width)?;
    Ok(width)
}

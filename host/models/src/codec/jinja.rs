//! Jinja as transformers' `_compile_jinja_template` sets it up, on minijinja and under limits: a template is a program
//! from a downloaded file.
//!
//! It has `trim_blocks`, `lstrip_blocks`, loop controls, `{% generation %}`, transformers' own `tojson`,
//! `raise_exception` and `strftime_now`. As in Jinja2's immutable sandbox, values print as in Python and have Python's
//! methods.

mod arguments;
mod checks;
mod code;
mod dates;
mod filters;
mod json;
mod methods;
mod objects;
mod printing;
mod sanitize;
mod strings;
mod text_format;

use firebox_contract::limits;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

pub(super) use dates::LocalTime;
#[cfg(test)]
pub(super) use dates::strftime;
pub(super) use sanitize::sanitize;

/// Maximum depth of macro calls and recursive loops; a macro counts several times. It is minijinja's maximum, and less
/// than half of a thread's stack.
const RECURSION_MAX: usize = 500;

/// Marks an error that a template raised itself.
#[derive(Debug, thiserror::Error)]
#[error("raised by the chat template")]
pub(super) struct Raised;

/// The source of the local time.
pub(super) type Now = fn() -> LocalTime;

/// An environment without templates.
///
/// # Errors
/// A fault of these settings.
pub(super) fn environment(now: Now) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_fuel(Some(limits::CHAT_TEMPLATE_STEPS_MAX));
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(printing::python);
    environment.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, printing::text(&message)?).with_source(Raised))
    });
    environment.add_function("strftime_now", move |format: String| dates::strftime(&format, now()));
    environment.add_function("namespace", sanitize::namespace);
    environment.add_function("joiner", objects::joiner);
    environment.add_function("cycler", objects::cycler);
    environment.add_global("dict", Value::from_object(objects::Dict));
    environment.add_function(sanitize::VARIABLE, sanitize::variable);
    environment.add_function(sanitize::ATTRIBUTE, sanitize::attribute);
    environment.add_function(sanitize::ITEMS, sanitize::items);
    filters::add(&mut environment);
    checks::add(&mut environment);
    Ok(environment)
}

//! Errors and warnings of a configuration, with their locations.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use firebox_contract::Error;

use crate::error::CliError;

/// The location of a value: a line of a file, an environment variable, or an option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLocation {
    source: Arc<str>,
    line: usize,
}

impl SourceLocation {
    /// `line` of the file `source`, counted from 1.
    pub(super) fn line(source: &Arc<str>, line: usize) -> Self {
        Self { source: Arc::clone(source), line }
    }

    /// No location.
    pub(crate) fn nowhere() -> Self {
        Self { source: Arc::from(""), line: 0 }
    }

    /// The line, counted from 1; 0 if there is none.
    pub(crate) fn line_number(&self) -> usize {
        self.line
    }

    /// A whole file, a variable or an option.
    pub(super) fn whole(source: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), line: 0 }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.source),
            line => write!(f, "{}:{line}", self.source),
        }
    }
}

/// An error or a warning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The location.
    pub at: SourceLocation,
    /// The message, with a remedy.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// All errors of a configuration, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one error.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "{only}"),
            problems => {
                write!(f, "the configuration has {} errors:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Host(error.into())
    }
}

/// Collects errors and warnings while a configuration is read, so that all are reported in one run.
#[derive(Debug, Default)]
pub(super) struct Problems {
    forms: Option<RefCell<Vec<KeyForm>>>,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

/// The type of a key, as its reader asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyForm {
    /// Table and key, such as `server.listen`.
    pub(super) path: String,
    /// For people: `size`, `list of texts`.
    pub(super) kind: String,
    /// For people; empty if the type allows every value.
    pub(super) range: String,
}

impl Problems {
    /// Also records the form of every key that is read.
    pub(super) fn recording() -> Self {
        Self { forms: Some(RefCell::default()), ..Self::default() }
    }

    /// Records a form. Of several for one key the first counts.
    pub(super) fn note(&self, form: impl FnOnce() -> KeyForm) {
        if let Some(forms) = &self.forms {
            let form = form();
            let mut forms = forms.borrow_mut();
            if forms.iter().all(|known| known.path != form.path) {
                forms.push(form);
            }
        }
    }

    /// The recorded forms.
    pub(super) fn forms(&self) -> Vec<KeyForm> {
        self.forms.as_ref().map(|forms| forms.borrow().clone()).unwrap_or_default()
    }

    pub(super) fn error(&self, at: &SourceLocation, message: impl Into<String>) {
        self.errors.borrow_mut().push(Problem { at: at.clone(), message: message.into() });
    }

    pub(super) fn warning(&self, at: &SourceLocation, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem { at: at.clone(), message: message.into() });
    }

    /// The warnings; an error if there are errors.
    pub(super) fn finish(self) -> Result<Vec<Problem>, ConfigError> {
        let mut problems = self.errors.into_inner();
        let mut warnings = self.warnings.into_inner();
        warnings.sort();
        problems.sort();
        problems.dedup();
        if problems.is_empty() { Ok(warnings) } else { Err(ConfigError { problems }) }
    }
}

/// `; did you mean "…"?` if one of `known` is similar to `word`, else the list of `known`.
pub(super) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = known.clone().map(|name| (strsim::damerau_levenshtein(word, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + name.len() / 4 => format!("; did you mean \"{name}\"?"),
        Some(_) => format!("; known: {}", known.collect::<Vec<_>>().join(", ")),
        None => String::new(),
    }
}

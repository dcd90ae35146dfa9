//! The form that answers must have.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use firebox_contract::{Grammar, limits};

use crate::error::CliError;

/// The form that the answer must have.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Form of the answer")]
pub struct AnswerFormOptions {
    /// Answer with JSON that is valid against the JSON Schema in FILE (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grammar", "regex"])]
    json_schema: Option<PathBuf>,
    /// Answer with a text of the Lark grammar in FILE (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "regex")]
    grammar: Option<PathBuf>,
    /// Answer with a text that the regular expression matches as a whole
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    regex: Option<String>,
}

impl AnswerFormOptions {
    /// Whether standard input is the schema or the grammar.
    pub(in crate::cli) fn reads_stdin(&self) -> bool {
        [&self.json_schema, &self.grammar].into_iter().flatten().any(|path| path.as_os_str() == "-")
    }

    /// The grammar of the answer; `None` if no form is demanded.
    ///
    /// # Errors
    /// If the file cannot be read or is too long.
    pub(in crate::cli) fn read(&self) -> Result<Option<Grammar>, CliError> {
        let schema =
            self.json_schema.as_ref().map(|path| text(path, limits::SCHEMA_BYTES_MAX).map(Grammar::JsonSchema));
        let lark = self.grammar.as_ref().map(|path| text(path, limits::GRAMMAR_BYTES_MAX).map(Grammar::Lark));
        let regex = self.regex.clone().map(|regex| Ok(Grammar::Regex(regex)));
        schema.or(lark).or(regex).transpose()
    }
}

/// The text of a file of at most `max` bytes.
fn text(path: &PathBuf, max: usize) -> Result<String, CliError> {
    let failed = |source| CliError::File { action: "read", path: path.display().to_string(), source };
    let file: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    let mut text = String::new();
    file.take(max as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > max {
        return Err(CliError::usage(format!("\"{}\" is longer than {max} bytes; make it shorter", path.display())));
    }
    Ok(text)
}

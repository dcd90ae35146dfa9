//! `firebox plugins test`: the cases of a plugin, with the expected answer or fault of each.

mod answer;
mod canned_model;
mod case;
mod http;
mod mock;
mod snapshot;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use firebox_contract::{Error, limits};

use self::case::{Case, CaseAnswer, CaseFile};
use super::target::{self, PluginSettings, Target};
use crate::cli::Io;
use crate::cli::output::line;
use crate::error::CliError;

/// The file of the cases, beside plugin.toml.
pub(super) const FILE: &str = "cases.toml";

/// Run the cases of a plugin, and compare each answer or fault with the expected one.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The plugin: a NAME of `firebox plugins list`, the PATH of a component, or a folder with plugin.toml
    #[arg(value_name = "NAME|PATH", default_value = ".")]
    plugin: String,
    /// The file of the cases [default: cases.toml beside plugin.toml]
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// Write what the plugin answers now as the expected answers
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    settings: PluginSettings,
}

/// Runs the command.
///
/// # Errors
/// `Error::Plugin` if a case fails, a `CliError` of usage for a file that cannot be used.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let target = Target { plugin: args.plugin, settings: args.settings };
    let path = args.cases.unwrap_or_else(|| Path::new(&target.plugin).join(FILE));
    run_file(&path, args.update, &target, io)
}

/// Runs the cases of the built project in `folder`.
///
/// # Errors
/// As [`run`].
pub(super) fn run_project(folder: &Path, io: &mut Io) -> Result<(), CliError> {
    run_file(&folder.join(FILE), false, &Target::of(&folder.display().to_string()), io)
}

fn run_file(path: &Path, update: bool, target: &Target, io: &mut Io) -> Result<(), CliError> {
    let (shown, source) = (path.display().to_string(), read(path)?);
    let cases = parse(&source, &shown)?;
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let answers = target::interruptible(async {
        let (mut answers, mut last) = (Vec::new(), None);
        for case in &cases {
            // Buckets hold what the last case wrote, and a model and requests are counted, so each case with one has a new one.
            let mocked = match last.take() {
                Some((mock, mocked)) if mock == case.mock && !case.mock.has_state() => mocked,
                _ => mock::chain(&case.mock, target, &base, io).await?,
            };
            let answer = answer::answer(&mocked.chain, case, case.mock.random, io).await?;
            let difference = mocked.stand_in.as_ref().and_then(|stand_in| stand_in.difference());
            let answer = difference.map_or(answer, CaseAnswer::Unexpected);
            report(case, &answer, update, io)?;
            answers.push(answer);
            last = Some((case.mock.clone(), mocked));
        }
        Ok(answers)
    })?;
    if update {
        if let Some(why) = answers.iter().find_map(CaseAnswer::unexpected) {
            return Err(CliError::usage(format!(
                "nothing was written to \"{shown}\": a case has {}",
                line(why, limits::CHAT_SHOWN_CHARACTERS_MAX)
            )));
        }
        let text = snapshot::updated(&source, &answers).ok_or_else(|| {
            CliError::usage(format!(
                "the cases of \"{shown}\" cannot be told apart; write each [[case]] on a line of its own"
            ))
        })?;
        std::fs::write(path, text).map_err(|source| CliError::File { action: "write", path: shown.clone(), source })?;
        writeln!(io.out, "wrote the answers of {} cases to {shown}", cases.len())?;
        return Ok(());
    }
    let failed = cases.iter().zip(&answers).filter(|(case, answer)| !case.is_met(answer)).count();
    writeln!(io.out, "{} of {} cases passed", cases.len() - failed, cases.len())?;
    io.out.flush()?;
    if failed == 0 {
        return Ok(());
    }
    Err(Error::Plugin(format!("{failed} of {} cases failed", cases.len())).into())
}

fn read(path: &Path) -> Result<String, CliError> {
    let shown = path.display().to_string();
    let bytes = firebox_sandbox::read_file(path, limits::PLUGIN_CASES_BYTES_MAX).map_err(|error| {
        CliError::usage(format!("the cases \"{shown}\" cannot be read: {error}; name their file with --cases"))
    })?;
    String::from_utf8(bytes).map_err(|_| CliError::usage(format!("the cases \"{shown}\" are not UTF-8")))
}

fn parse(text: &str, shown: &str) -> Result<Vec<Case>, CliError> {
    let parsed: CaseFile = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let at = before.matches('\n').count() + 1;
        let reason = line(error.message(), limits::CHAT_SHOWN_CHARACTERS_MAX);
        CliError::usage(format!("\"{shown}\", line {at}: {reason}"))
    })?;
    if parsed.case.is_empty() {
        return Err(CliError::usage(format!("\"{shown}\" has no case; write [[case]] with name, stage and an input")));
    }
    let general = &parsed.mock;
    let whole = |case: Case| Case { mock: case.mock.clone().or(general), ..case };
    let cases: Vec<Case> = parsed.case.into_iter().map(whole).collect();
    for case in &cases {
        case.check().map_err(|reason| {
            let name = line(&case.name, limits::CHAT_SHOWN_CHARACTERS_MAX);
            CliError::usage(format!("\"{shown}\", case \"{name}\": {reason}"))
        })?;
    }
    Ok(cases)
}

fn report(case: &Case, answer: &CaseAnswer, update: bool, io: &mut Io) -> Result<(), CliError> {
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    let name = line(&case.name, max);
    if (update && answer.unexpected().is_none()) || case.is_met(answer) {
        return Ok(writeln!(io.out, "ok      {name}")?);
    }
    writeln!(io.out, "FAILED  {name}")?;
    let expected = match (&case.expect, &case.fault) {
        (Some(text), _) => format!("the answer {text:?}"),
        (None, Some(code)) => format!("the fault {code}"),
        (None, None) => "nothing yet; write expect or fault, or run with --update".to_owned(),
    };
    let got = match answer {
        CaseAnswer::Text(text) => format!("the answer {text:?}"),
        CaseAnswer::Fault(code, message) => format!("the fault {code}: {message}"),
        CaseAnswer::Unexpected(why) => why.clone(),
    };
    Ok(writeln!(io.out, "        expected {}\n        got      {}", line(&expected, max), line(&got, max))?)
}

#[cfg(test)]
mod tests;

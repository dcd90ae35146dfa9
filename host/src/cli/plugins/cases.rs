//! `firebox plugins test`: the cases of a plugin, with the expected answer or fault of each.

mod snapshot;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use firebox_contract::{Error, Message, PromptVerdict, Role, limits};
use firebox_sandbox::PluginChain;
use serde::Deserialize;

use super::call::{bind, text, tool};
use super::target::{self, Target};
use crate::cli::Io;
use crate::cli::output::line;
use crate::error::CliError;

/// The file of the cases, beside plugin.toml.
pub(super) const FILE: &str = "cases.toml";

/// Run the cases of a plugin, and compare each answer or fault with the expected one.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// The file of the cases [default: cases.toml beside plugin.toml]
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,
    /// Write what the plugin answers now as the expected answers
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    target: Target,
}

/// The content of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(default)]
    case: Vec<Case>,
}

/// One case. The stage decides which of the inputs it has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    stage: String,
    /// For `prompt`: the message of the user.
    input: Option<String>,
    /// For `text`: the answer in chunks.
    chunks: Option<Vec<String>>,
    /// For `tool`: the tool and its arguments.
    tool: Option<String>,
    arguments: Option<String>,
    /// The expected answer.
    expect: Option<String>,
    /// The code of the expected fault, or `tool_error` for a result that is an error.
    fault: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// `Error::Plugin` if a case fails, a `CliError` of usage for a file that cannot be used.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let path = args.cases.clone().unwrap_or_else(|| Path::new(&args.target.plugin).join(FILE));
    run_file(&path, args.update, &args.target, io)
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
    let answers = target.with_chain(io, async |chain, io| {
        let mut answers = Vec::new();
        for case in &cases {
            let answer = answer(chain, case, io).await?;
            report(case, &answer, update, io)?;
            answers.push(answer);
        }
        Ok(answers)
    })?;
    if update {
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
    let bytes = firebox_sandbox::read_file(path, limits::PLUGIN_CASES_BYTES_MAX)
        .map_err(|error| CliError::usage(format!("the cases \"{shown}\" cannot be read: {error}")))?;
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
    for case in &parsed.case {
        case.check().map_err(|reason| {
            let name = line(&case.name, limits::CHAT_SHOWN_CHARACTERS_MAX);
            CliError::usage(format!("\"{shown}\", case \"{name}\": {reason}"))
        })?;
    }
    Ok(parsed.case)
}

/// What a plugin did in a case.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CaseAnswer {
    /// Its answer.
    Text(String),
    /// The code of its fault, and the whole message.
    Fault(String, String),
}

impl Case {
    /// # Errors
    /// What the case lacks, or has too much.
    fn check(&self) -> Result<(), String> {
        let given = [self.input.is_some(), self.chunks.is_some(), self.tool.is_some()];
        let wanted = match self.stage.as_str() {
            "prompt" => [true, false, false],
            "text" => [false, true, false],
            "tool" => [false, false, true],
            other => return Err(format!("there is no stage \"{}\"; write prompt, text or tool", line(other, 64))),
        };
        if given != wanted {
            return Err(
                "prompt has an input, text has chunks, tool has a tool and arguments; write exactly these".to_owned()
            );
        }
        if self.expect.is_some() && self.fault.is_some() {
            return Err("it has both expect and fault; write one of them".to_owned());
        }
        Ok(())
    }

    fn is_met(&self, answer: &CaseAnswer) -> bool {
        match (answer, &self.expect, &self.fault) {
            (CaseAnswer::Text(text), Some(expected), None) => text == expected,
            (CaseAnswer::Fault(code, _), None, Some(expected)) => code == expected,
            // A case without an expectation shows the answer, and fails until there is one.
            _ => false,
        }
    }
}

/// Runs one case in instances of its own.
async fn answer(chain: &PluginChain, case: &Case, io: &mut Io) -> Result<CaseAnswer, CliError> {
    let ran = match case.stage.as_str() {
        "prompt" => of_prompt(chain, case, io).await,
        "text" => of_text(chain, case, io).await,
        _ => of_tool(chain, case, io).await,
    };
    match ran {
        Err(CliError::Host(Error::Fault(fault))) => {
            Ok(CaseAnswer::Fault(fault.cause.code().to_owned(), Error::Fault(fault).to_string()))
        }
        other => other,
    }
}

async fn of_prompt(chain: &PluginChain, case: &Case, io: &mut Io) -> Result<CaseAnswer, CliError> {
    let mut hooks = bind(chain).await?;
    let given = vec![Message::text(Role::User, case.input.as_deref().unwrap_or_default())];
    let verdict = hooks.process(given.clone()).await;
    target::print_log(&hooks.take_log(), io)?;
    Ok(CaseAnswer::Text(match verdict? {
        PromptVerdict::Continue(messages) if messages == given => "unchanged".to_owned(),
        PromptVerdict::Continue(messages) => {
            let message = |message: &Message| format!("{}: {}", message.role.as_str(), message.content);
            format!("replace: {}", messages.iter().map(message).collect::<Vec<_>>().join("\n"))
        }
        PromptVerdict::Refuse { message, .. } => format!("refuse: {message}"),
        PromptVerdict::Respond(text) => format!("respond: {text}"),
    }))
}

async fn of_text(chain: &PluginChain, case: &Case, io: &mut Io) -> Result<CaseAnswer, CliError> {
    let mut hooks = bind(chain).await?;
    let passed = text::pass(hooks.as_mut(), case.chunks.clone().unwrap_or_default()).await;
    target::print_log(&hooks.take_log(), io)?;
    Ok(CaseAnswer::Text(passed?.text()))
}

async fn of_tool(chain: &PluginChain, case: &Case, io: &mut Io) -> Result<CaseAnswer, CliError> {
    let arguments = case.arguments.as_deref().unwrap_or("{}");
    let run = tool::call(chain, case.tool.as_deref().unwrap_or_default(), arguments).await?;
    target::print_log(&run.log, io)?;
    let outcome = run.outcome?;
    if outcome.is_error {
        return Ok(CaseAnswer::Fault("tool_error".to_owned(), outcome.content));
    }
    Ok(CaseAnswer::Text(outcome.content))
}

fn report(case: &Case, answer: &CaseAnswer, update: bool, io: &mut Io) -> Result<(), CliError> {
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    let name = line(&case.name, max);
    if update || case.is_met(answer) {
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
    };
    Ok(writeln!(io.out, "        expected {}\n        got      {}", line(&expected, max), line(&got, max))?)
}

#[cfg(test)]
mod tests;

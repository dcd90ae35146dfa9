//! `firebox audit`: checks the audit log.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use super::Io;
use crate::audit::verify::{VerifiedLog, VerifyError, verify};
use crate::error::CliError;

/// Check the audit log.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: AuditCommand,
}

#[derive(Subcommand, Debug)]
enum AuditCommand {
    /// Say whether lines of the log were changed, moved or taken out, and which is the first.
    Verify {
        /// The files of one log, the oldest first
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// `CliError::Usage`-kind for a log that is not whole; `CliError::File` for a file that cannot be read.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let AuditCommand::Verify { files, json } = args.verb;
    match verify(&files) {
        Ok(found) => show(&found, json, io),
        Err(VerifyError::Broken(broken)) => {
            if json {
                let path = broken.path.display().to_string();
                writeln!(
                    io.out,
                    "{}",
                    json!({"whole": false, "file": path, "line": broken.line, "what": broken.what})
                )?;
            }
            let message = format!("the audit log is not whole: {broken}; compare it with a copy");
            Err(CliError::usage(message))
        }
        Err(VerifyError::Io(path, source)) => {
            Err(CliError::File { action: "read", path: path.display().to_string(), source })
        }
    }
}

fn show(found: &VerifiedLog, as_json: bool, io: &mut Io) -> Result<(), CliError> {
    let VerifiedLog { lines, first, last, unchained, torn, lost, unfinished } = *found;
    if as_json {
        let line = json!({
            "whole": true, "lines": lines, "first": first, "last": last, "unchained": unchained, "torn": torn,
            "lost": lost, "unfinished": unfinished,
        });
        return Ok(writeln!(io.out, "{line}")?);
    }
    if lines == 0 {
        writeln!(io.out, "no line of these files has a place in a chain")?;
    } else {
        writeln!(io.out, "whole: {lines} lines, number {first} to {last}")?;
    }
    let notes = [
        (first > 1, format!("lines 1 to {} are in older files", first.saturating_sub(1))),
        (unchained > 0, format!("{unchained} lines are from before the chain")),
        (torn > 0, format!("{torn} pieces of lines are what a crash or a full disk left")),
        (lost > 0, format!("{lost} lines could not be written, and the log says where")),
        (unfinished, "the last line is not finished".to_owned()),
    ];
    for (_, note) in notes.iter().filter(|note| note.0) {
        writeln!(io.err, "firebox: {note}")?;
    }
    Ok(())
}

//! `firebox audit`: verifies the audit log.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use crate::audit::verify::{VerifiedLog, VerifyError, verify};
use crate::cli::Io;
use crate::error::CliError;

/// Verify the audit log.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: AuditCommand,
}

#[derive(Subcommand, Debug)]
enum AuditCommand {
    /// Verify that no line of the log was changed, moved or removed; report the first that was.
    Verify {
        /// Files of one log, the oldest first
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// A `CliError` of usage for a log that was changed; `CliError::File` for a file that cannot be read.
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
            let message = format!("the audit log was changed: {broken}; compare it with a copy");
            Err(CliError::usage(message))
        }
        Err(VerifyError::Io(path, source)) => {
            Err(CliError::File { action: "read", path: path.display().to_string(), source })
        }
    }
}

fn show(found: &VerifiedLog, as_json: bool, io: &mut Io) -> Result<(), CliError> {
    let VerifiedLog { lines, first, last, unchained, torn, lost, unfinished } = *found;
    // An empty log is whole. A file of something else must not pass a check.
    if lines == 0 && (unchained + torn + lost > 0 || unfinished) {
        let message =
            "no line of these files belongs to a hash chain; give the files of an audit log, the oldest first";
        return Err(CliError::usage(message));
    }
    if as_json {
        let line = json!({
            "whole": true, "lines": lines, "first": first, "last": last, "unchained": unchained, "torn": torn,
            "lost": lost, "unfinished": unfinished,
        });
        return Ok(writeln!(io.out, "{line}")?);
    }
    if lines == 0 {
        writeln!(io.out, "OK: 0 lines")?;
    } else {
        writeln!(io.out, "OK: {lines} lines, numbers {first} to {last}")?;
    }
    let notes = [
        (first > 1, format!("lines 1 to {} are in older files", first.saturating_sub(1))),
        (unchained > 0, format!("{unchained} lines were written before the hash chain and cannot be verified")),
        (torn > 0, format!("{torn} incomplete lines were left by a crash or a full disk")),
        (lost > 0, format!("{lost} lines could not be written; records of the event \"gap\" show where")),
        (unfinished, "the last line is incomplete".to_owned()),
    ];
    for (_, note) in notes.iter().filter(|note| note.0) {
        writeln!(io.err, "firebox: {note}")?;
    }
    Ok(())
}

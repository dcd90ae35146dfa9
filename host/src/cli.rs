//! The command line: a table of commands, and the one place where errors become messages and exit codes.

pub mod bench;
pub mod chat;
pub mod embed;
pub mod mcp;
pub mod models;
pub mod operator;
pub mod options;
pub mod output;
pub mod plugins;
pub mod run;
pub mod serve;
mod termination;

use std::error::Error as _;
use std::io::Write as _;
use std::num::{ParseFloatError, ParseIntError};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use firebox_sandbox::Notice;

use crate::error::CliError;
use embed::rerank;
use operator::{audit, config, devices, lock, tenants};
pub use output::Io;

/// Run language models and sandboxed WebAssembly plugins.
#[derive(Parser)]
#[command(name = "firebox", version, about, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Makes the subcommands and their dispatch from one table: a command is a file and a line here.
macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident => $module:ident::$run:ident($args:ident),)*) => {
        #[derive(Subcommand)]
        #[allow(clippy::large_enum_variant, reason = "one value a process, parsed once")]
        enum Command {
            $($(#[$meta])* $name($module::$args),)*
        }

        fn dispatch(command: Command, io: &mut Io) -> Result<(), CliError> {
            match command {
                $(Command::$name(args) => $module::$run(args, io),)*
            }
        }
    };
}

commands! {
    /// Answer one prompt, with tools and plugins.
    Run => run::run(Args),
    /// Chat with a model; conversations are saved as sessions.
    Chat => chat::run(Args),
    /// Compute embeddings of the lines of a file; writes a Parquet or JSONL file.
    Embed => embed::run(Args),
    /// Sort documents by their relevance to a query, with a cross-encoder.
    Rerank => rerank::run(Args),
    /// Serve models, plugins and tools over an OpenAI-compatible HTTP API.
    Serve => serve::run(Args),
    /// Call tools of MCP servers, and serve plugin tools to MCP clients.
    Mcp => mcp::run(Args),
    /// Make, build, test, check, measure and install plugins.
    Plugins => plugins::run(Args),
    /// Download, list, inspect, verify and remove models.
    Models => models::run(Args),
    /// Measure how many tokens per second a model reads and writes, as llama-bench does.
    Bench => bench::run(Args),
    /// List the devices that models can run on, and show which one is used and why.
    Devices => devices::run(Args),
    /// Check, print or create a configuration file.
    Config => config::run(Args),
    /// Write or check firebox.lock: the accepted plugins and the accepted tools of MCP servers.
    Lock => lock::run(Args),
    /// Add tenants, and create, rotate or revoke their API keys.
    Tenants => tenants::run(Args),
    /// Verify the audit log.
    Audit => audit::run(Args),
    /// Test one device in this process. Firebox runs this command as a child process, because a driver may crash.
    #[command(hide = true)]
    DeviceTest => devices::run_test(TestArgs),
}

/// Prints slow steps on standard error.
pub(crate) fn notice() -> Notice {
    // Nobody is left to tell when standard error itself is gone.
    Notice::new(|line| {
        let line = output::line(line, firebox_contract::limits::CHAT_SHOWN_CHARACTERS_MAX);
        let _ignored = writeln!(output::stderr(), "firebox: {line}");
    })
}

/// The parser of the command line with all verbs and options.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments, runs the command, prints its error and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = crate::plugins::compiler::init() {
        return code;
    }
    let parsed = Cli::try_parse_from(bench::with_long_options(std::env::args_os()));
    let cli = parsed.unwrap_or_else(|error| in_plain_words(error).exit());
    let mut io = Io::of_process();
    match dispatch(cli.command, &mut io).and_then(|()| io.out.flush().map_err(CliError::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the exit code still reports the error.
            let _ignored = writeln!(io.err, "firebox: {}", output::bounded(&error.to_string()));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// The error of a value that is no number, in other words than those of Rust's library.
fn in_plain_words(error: clap::Error) -> clap::Error {
    let Some(source) = error.source() else { return error };
    let words = if source.is::<ParseIntError>() {
        "it is not a whole number from 0 on, or it is too large"
    } else if source.is::<ParseFloatError>() {
        "it is not a number"
    } else {
        return error;
    };
    let text = error.render().to_string().replace(&source.to_string(), words);
    clap::Error::raw(error.kind(), text.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn clap_accepts_the_command_line() {
        super::command().debug_assert();
    }
}

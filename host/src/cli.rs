//! The command line: a table of verbs, and one place where errors become words and exit codes.

pub mod audit;
pub mod chat;
pub mod config;
pub mod devices;
pub mod embed;
pub mod mcp;
pub mod options;
pub mod output;
pub mod run;
pub mod serve;
pub mod tenants;
mod termination;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use firebox_sandbox::Notice;

use crate::error::CliError;
pub use output::Io;

/// Runs language models and sandboxed WebAssembly plugins in one binary.
#[derive(Parser)]
#[command(name = "firebox", version, about, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Command,
}

/// Makes the subcommands and their dispatch from one table: a verb is a file and a line.
macro_rules! verbs {
    ($($(#[$meta:meta])* $name:ident => $module:ident::$run:ident($args:ident),)*) => {
        #[derive(Subcommand)]
        #[allow(clippy::large_enum_variant, reason = "one value a process, parsed once")]
        enum Command {
            $($(#[$meta])* $name($module::$args),)*
        }

        fn dispatch(verb: Command, io: &mut Io) -> Result<(), CliError> {
            match verb {
                $(Command::$name(args) => $module::$run(args, io),)*
            }
        }
    };
}

verbs! {
    /// Answer a prompt, with tools and plugins.
    Run => run::run(Args),
    /// Talk with a model; the conversation is kept.
    Chat => chat::run(Args),
    /// Embed the lines of a file into a Parquet or JSONL file.
    Embed => embed::run(Args),
    /// Serve models, plugins and tools over HTTP, in the shape of the OpenAI API.
    Serve => serve::run(Args),
    /// Use the tools of MCP servers, and offer tools to MCP clients.
    Mcp => mcp::run(Args),
    /// List the devices models can run on, and say which is chosen and why.
    Devices => devices::run(Args),
    /// Check, show or begin a configuration.
    Config => config::run(Args),
    /// Add tenants, give them keys and take keys back.
    Tenants => tenants::run(Args),
    /// Check the audit log.
    Audit => audit::run(Args),
    /// Test one device in this process; run by the host as a child, since a driver may crash it.
    #[command(hide = true)]
    DeviceTest => devices::run_test(TestArgs),
}

/// Says on standard error what takes long.
pub(crate) fn notice() -> Notice {
    // Nobody is left to tell when standard error itself is gone.
    Notice::new(|line| {
        let line = output::line(line, firebox_contract::limits::CHAT_SHOWN_CHARACTERS_MAX);
        let _unheard = writeln!(output::stderr(), "firebox: {line}");
    })
}

/// Parses the process arguments, runs the verb and reports how it ended.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = crate::plugins::compiler::init() {
        return code;
    }
    let cli = Cli::parse();
    let mut io = Io::of_process();
    match dispatch(cli.verb, &mut io).and_then(|()| io.out.flush().map_err(CliError::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error itself is gone; the exit code still does.
            let _unheard = writeln!(io.err, "firebox: {}", output::bounded(&error.to_string()));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

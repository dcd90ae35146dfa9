//! `firebox mcp`: the Model Context Protocol from the command line.

pub mod serve;

mod listen;

use clap::{Args as ClapArgs, Subcommand};

use super::Io;
use crate::error::CliError;

/// The verb's own verbs.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Offer the tools of plugins to an MCP client, over standard input and output or HTTP.
    Serve(serve::Args),
}

/// Runs the verb.
///
/// # Errors
/// As the action.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    match args.action {
        Action::Serve(args) => serve::run(args, io),
    }
}

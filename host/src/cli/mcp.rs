//! `firebox mcp`: the Model Context Protocol from the command line.

pub mod call;
pub mod check;
pub mod serve;
pub mod tools;

mod listen;

use clap::{Args as ClapArgs, Subcommand};
use firebox_mcp::client::ClientPool;

use super::Io;
use super::options::McpOptions;
use crate::cli::options::mcp_servers;
use crate::cli::termination::Termination;
use crate::error::CliError;
use crate::system::threads;

/// Call tools of MCP servers, and serve plugin tools to MCP clients.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Subcommand, Debug)]
enum McpCommand {
    /// List the tools of MCP servers, with the names that models see.
    Tools(tools::Args),
    /// Call one tool of an MCP server.
    Call(call::Args),
    /// Check the connection to MCP servers.
    Check(check::Args),
    /// Serve the tools of plugins to an MCP client, over standard input and output or HTTP.
    Serve(serve::Args),
}

/// Runs the command.
///
/// # Errors
/// The error of the subcommand.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    match args.command {
        McpCommand::Tools(args) => tools::run(args, io),
        McpCommand::Call(args) => call::run(args, io),
        McpCommand::Check(args) => check::run(args, io),
        McpCommand::Serve(args) => serve::run(args, io),
    }
}

/// Runs `work` with the servers of these options, then stops the servers, also after an error or Ctrl-C.
fn with_pool<T>(
    options: &McpOptions,
    work: impl AsyncFnOnce(&ClientPool) -> Result<T, CliError>,
) -> Result<T, CliError> {
    if options.mcp.is_empty() {
        return Err(CliError::usage("no MCP server given; write --mcp 'NAME=COMMAND ARGUMENTS' or --mcp NAME=URL"));
    }
    let pool = mcp_servers::pool(&options.mcp, &options.mcp_header)?;
    let runtime = threads::runtime(Some(2))?;
    Termination::default().listen(&runtime)?;
    runtime.block_on(async {
        let result = tokio::select! {
            result = work(&pool) => result,
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
        };
        pool.close().await;
        result
    })
}

//! `firebox mcp check`: checks the connection to MCP servers.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{Caller, Error, limits};
use firebox_mcp::client::ServerReport;
use serde_json::{Value, json};

use super::super::options::McpOptions;
use super::super::{Io, output};
use super::with_pool;
use crate::cli::options::mcp_servers;
use crate::error::CliError;

/// Check the connection to MCP servers.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    servers: McpOptions,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command and prints a line about each server.
///
/// # Errors
/// `Error::Unavailable` if one of the servers cannot be used.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let reports = with_pool(&args.servers, async |pool| Ok(pool.connect(&Caller::local()).await))?;
    if args.json {
        let servers: Vec<Value> = reports.iter().map(object).collect();
        writeln!(io.out, "{:#}", json!({ "servers": servers }))?;
    } else {
        for report in &reports {
            writeln!(io.out, "{}", line(report))?;
            for left_out in mcp_servers::left_out(report) {
                writeln!(io.out, "{}: {left_out}", report.name)?;
            }
        }
    }
    io.out.flush()?;
    let failed = reports.iter().filter(|report| report.result.is_err()).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Error::Unavailable(format!("{failed} of {} MCP servers cannot be used", reports.len())).into())
}

fn line(report: &ServerReport) -> String {
    let time = report.elapsed.as_millis();
    match &report.result {
        Ok((about, tools)) => {
            let software = about.software.as_deref().unwrap_or("(unnamed)");
            let software = output::line(software, limits::CHAT_SHOWN_CHARACTERS_MAX);
            format!("{}: ok, revision {}, {software}, {} tools, {time} ms", report.name, about.revision, tools.len())
        }
        Err(error) => {
            let error = output::line(&error.to_string(), limits::CHAT_SHOWN_CHARACTERS_MAX);
            format!("{}: failed after {time} ms: {error}", report.name)
        }
    }
}

fn object(report: &ServerReport) -> Value {
    let elapsed = u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX);
    match &report.result {
        Ok((about, tools)) => json!({
            "name": report.name,
            "reachable": true,
            "revision": about.revision,
            "software": about.software,
            "tools": tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(),
            "left_out": report.rejected.iter().map(|tool| json!({ "name": tool.name, "why": tool.reason })).collect::<Vec<_>>(),
            "elapsed_ms": elapsed,
        }),
        Err(error) => {
            json!({ "name": report.name, "reachable": false, "error": error.to_string(), "elapsed_ms": elapsed })
        }
    }
}

//! `firebox mcp tools`: lists the tools of MCP servers.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{Caller, Error, ToolEffects, limits};
use firebox_mcp::client::ListedTool;
use serde_json::{Value, json};

use super::super::options::McpOptions;
use super::super::{Io, output};
use super::with_pool;
use crate::cli::options::mcp_servers;
use crate::error::CliError;

/// List the tools of MCP servers, with the names that models see.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    servers: McpOptions,
    /// Print one JSON object, with the schema of each tool
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// `Error::Unavailable` if no server can be used.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let caller = Caller::local();
    let (reports, tools) = with_pool(&args.servers, async |pool| {
        let reports = pool.connect(&caller).await;
        Ok((reports, pool.listing(&caller)))
    })?;
    for failure in mcp_servers::failures(&reports) {
        writeln!(io.err, "firebox: {failure}")?;
    }
    for report in &reports {
        for left_out in mcp_servers::left_out(report) {
            writeln!(io.err, "firebox: MCP server \"{}\": {left_out}", report.name)?;
        }
    }
    if reports.iter().all(|report| report.result.is_err()) {
        return Err(Error::Unavailable("no MCP server can be used".to_owned()).into());
    }
    if args.json {
        let tools = tools.iter().map(object).collect::<Result<Vec<Value>, _>>()?;
        writeln!(io.out, "{:#}", json!({ "tools": tools }))?;
        return Ok(());
    }
    let width = tools.iter().map(|tool| tool.shown.name.len()).max().unwrap_or(0);
    for tool in &tools {
        let about = tool.shown.description.lines().next().unwrap_or_default();
        let about = output::line(about, limits::CHAT_SHOWN_CHARACTERS_MAX);
        let effects = effects(tool.shown.effects);
        writeln!(io.out, "{:width$}  {} ({effects})  {about}", tool.shown.name, tool.server)?;
    }
    Ok(())
}

fn effects(effects: ToolEffects) -> &'static str {
    match effects {
        ToolEffects { read_only: true, .. } => "reads",
        ToolEffects { destructive: true, .. } => "may destroy",
        _ => "writes",
    }
}

fn object(tool: &ListedTool) -> Result<Value, CliError> {
    let schema = |text: &str| {
        serde_json::from_str::<Value>(text).map_err(|error| CliError::Host(Error::Internal(error.to_string())))
    };
    let effects = tool.shown.effects;
    Ok(json!({
        "name": tool.shown.name,
        "server": tool.server,
        "own_name": tool.own_name,
        "title": tool.shown.title,
        "description": tool.shown.description,
        "input_schema": schema(&tool.shown.input_schema_json)?,
        "output_schema": tool.shown.output_schema_json.as_deref().map(schema).transpose()?,
        "effects": {
            "read_only": effects.read_only,
            "destructive": effects.destructive,
            "idempotent": effects.idempotent,
            "open_world": effects.open_world,
        },
    }))
}

//! `firebox mcp call`: calls one tool.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args as ClapArgs;
use firebox_contract::{Caller, Error, Progress, ToolContent, ToolOutcome, limits};
use serde_json::{Value, json};

use super::super::options::McpOptions;
use super::super::{Io, output};
use super::with_pool;
use crate::error::CliError;

/// Call one tool of an MCP server.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Name of the server, as in --mcp
    server: String,
    /// Name of the tool on its server
    tool: String,
    /// Arguments: a JSON object
    #[arg(default_value = "{}", value_name = "JSON")]
    arguments: String,
    #[command(flatten)]
    servers: McpOptions,
    /// Print the whole result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Errors of the server; `CliError::Tool` if the result of the tool is an error.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let outcome = with_pool(&args.servers, async |pool| {
        let caller = Caller::local();
        let called = pool.call_server(&caller, &args.server, &args.tool, &args.arguments, &ProgressPrinter).await;
        Ok(called.map_err(Error::from)?)
    })?;
    if args.json {
        writeln!(io.out, "{:#}", object(&outcome)?)?;
    } else {
        writeln!(io.out, "{}", outcome.content)?;
    }
    io.out.flush()?;
    if outcome.is_error {
        return Err(CliError::Tool(format!("tool \"{}\" returned an error", args.tool)));
    }
    Ok(())
}

/// The result of a tool as a JSON object.
///
/// # Errors
/// `Error::Internal`, if a structured result is not JSON.
pub(in crate::cli) fn object(outcome: &ToolOutcome) -> Result<Value, CliError> {
    let block = |block: &ToolContent| {
        Ok::<Value, CliError>(match block {
            ToolContent::Text(text) => json!({ "type": "text", "text": text }),
            ToolContent::Json(text) => {
                let value: Value = serde_json::from_str(text).map_err(|error| Error::Internal(error.to_string()))?;
                json!({ "type": "json", "value": value })
            }
            ToolContent::Media { mime, data } => {
                json!({ "type": "media", "mime": mime, "data": STANDARD.encode(data) })
            }
        })
    };
    Ok(json!({
        "content": outcome.content,
        "blocks": outcome.blocks.iter().map(block).collect::<Result<Vec<_>, _>>()?,
        "is_error": outcome.is_error,
        "server": outcome.provider,
        "elapsed_ms": u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
    }))
}

/// Prints the progress of a call, if standard error is a terminal.
pub(in crate::cli) struct ProgressPrinter;

impl Progress for ProgressPrinter {
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        if output::stderr_is_terminal() {
            let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
            // A message that cannot be printed must not fail the call.
            let message = output::line(message.unwrap_or_default(), limits::CHAT_SHOWN_CHARACTERS_MAX);
            drop(writeln!(output::stderr(), "{done}{total} {message}"));
        }
    }
}

//! `firebox plugins call tool`: one tool by itself, also one that no model knows.

use std::io::Write as _;
use std::sync::Arc;

use clap::Args as ClapArgs;
use firebox_contract::{Stage, ToolCall, ToolDefinition};
use firebox_engine::ArgumentCheck;
use firebox_sandbox::{PluginChain, ToolRun};
use serde_json::Value;

use super::super::target::{self, CalledModel, Target};
use super::{Shown, require};
use crate::cli::Io;
use crate::cli::mcp::call::{ProgressPrinter, object};
use crate::cli::output::stats;
use crate::error::CliError;
use crate::system::clock::MachineClock;

/// Call a tool.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Name of the tool
    tool: String,
    /// Arguments: a JSON object
    #[arg(default_value = "{}", value_name = "JSON")]
    arguments: String,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    model: CalledModel,
    #[command(flatten)]
    shown: Shown,
}

/// Runs the command.
///
/// # Errors
/// Errors of loading the plugin, its fault, a `CliError` of usage for arguments that do not fit the schema, and
/// `CliError::Tool` if the result of the tool is an error.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    args.target.with_model(&args.model, io, async |chain, io| {
        require(chain, Stage::Tool)?;
        let ToolRun { outcome, uses, log } = call(chain, &args.tool, &args.arguments).await?;
        target::print_log(&log, io)?;
        if args.shown.stats && !args.shown.json {
            target::print_uses(&uses, io)?;
        }
        let outcome = outcome?;
        if args.shown.json {
            let mut shown = object(&outcome)?;
            if let Value::Object(members) = &mut shown {
                let uses: Vec<Value> = uses.iter().map(stats::plugin_json).collect();
                members.insert("plugins".to_owned(), Value::Array(uses));
            }
            writeln!(io.out, "{shown:#}")?;
        } else {
            writeln!(io.out, "{}", outcome.content)?;
        }
        io.out.flush()?;
        if outcome.is_error {
            return Err(CliError::Tool(format!("tool \"{}\" returned an error", args.tool)));
        }
        Ok(())
    })
}

/// Runs one tool of `chain`, if the arguments fit its schema.
///
/// # Errors
/// A `CliError` of usage for an unknown tool, or for arguments that do not fit.
pub(in crate::cli::plugins) async fn call(
    chain: &PluginChain,
    tool: &str,
    arguments: &str,
) -> Result<ToolRun, CliError> {
    let definition = find(chain, tool)?;
    let check = ArgumentCheck::new(Arc::new(MachineClock::default()));
    check.check(definition, arguments).await.map_err(|reason| {
        CliError::usage(format!("the arguments do not fit: {reason}; the schema is {}", definition.input_schema_json))
    })?;
    let call = ToolCall { id: "1".to_owned(), name: tool.to_owned(), arguments_json: arguments.to_owned() };
    Ok(chain.call_tool(&call, &ProgressPrinter).await?)
}

fn find<'a>(chain: &'a PluginChain, tool: &str) -> Result<&'a ToolDefinition, CliError> {
    let found = chain.tools().iter().find(|definition| definition.name == tool);
    found.ok_or_else(|| {
        let names: Vec<&str> = chain.tools().iter().map(|definition| definition.name.as_str()).collect();
        CliError::usage(format!("the plugin has no tool \"{tool}\"; its tools are: {}", names.join(", ")))
    })
}

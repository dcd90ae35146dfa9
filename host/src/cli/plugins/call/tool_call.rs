//! `firebox plugins call tool-call`: the stage that sees the calls of any tool, by itself.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{CallVerdict, Error, Hooks, Stage, ToolCall, ToolOutcome};
use serde_json::{Value, json};

use super::super::target::{CalledModel, Target};
use super::{Shown, bind, report, require};
use crate::cli::Io;
use crate::error::CliError;

/// Give the tool-call stage a call of any tool, or its result, and show what it decides.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Name of the tool
    tool: String,
    /// Arguments: a JSON object
    #[arg(default_value = "{}", value_name = "JSON")]
    arguments: String,
    /// The result of the call; without it the stage sees the call before it runs
    #[arg(long, value_name = "TEXT")]
    result: Option<String>,
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
/// Errors of loading the plugin, or its fault.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    serde_json::from_str::<serde_json::Map<String, Value>>(&args.arguments)
        .map_err(|error| CliError::usage(format!("the arguments are not a JSON object: {error}")))?;
    args.target.with_model(&args.model, io, async |chain, io| {
        require(chain, Stage::ToolCall)?;
        let mut hooks = bind(chain).await?;
        let call = ToolCall { id: "1".to_owned(), name: args.tool.clone(), arguments_json: args.arguments.clone() };
        let answer = match &args.result {
            Some(text) => after(hooks.as_mut(), &call, ToolOutcome::ok("none", text.as_str())).await,
            None => before(hooks.as_mut(), &call).await,
        };
        report(hooks.as_mut(), &args.shown, io)?;
        let answer = answer?;
        Ok(if args.shown.json { writeln!(io.out, "{answer:#}") } else { writeln!(io.out, "{answer}") }?)
    })
}

/// What the stage decides about a call, as a JSON object.
///
/// # Errors
/// The fault of a plugin.
pub(in crate::cli::plugins) async fn before(hooks: &mut dyn Hooks, call: &ToolCall) -> Result<Value, Error> {
    Ok(match hooks.before_call(call).await? {
        CallVerdict::Run(None) => json!({ "verdict": "unchanged" }),
        CallVerdict::Run(Some(arguments)) => json!({ "verdict": "rewrite", "arguments": arguments }),
        CallVerdict::Refuse { message, .. } => json!({ "verdict": "refuse", "text": message }),
    })
}

/// What the stage makes of a result, as a JSON object.
///
/// # Errors
/// The fault of a plugin.
pub(in crate::cli::plugins) async fn after(
    hooks: &mut dyn Hooks,
    call: &ToolCall,
    outcome: ToolOutcome,
) -> Result<Value, Error> {
    let outcome = hooks.after_call(call, outcome).await?;
    Ok(json!({ "result": outcome.content, "is_error": outcome.is_error }))
}
